"""One encoding model for every feature: its precision, nuisances and noise ceilings."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.functional import noise_ceiling, ridge_cv
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.scoring import CARD, NUISANCES, QUICK, brain, pick, trajectory


def test_a_table_of_nuisances_without_columns_is_none():
    track = trajectory()
    responses = brain(track)
    empty = dataclasses.replace(responses, nuisances=torch.zeros(len(responses.runs), 0))
    found = score_trajectory(track, empty, CARD, QUICK).scores
    pd.testing.assert_frame_equal(found, score_trajectory(track, responses, CARD, QUICK).scores)


def test_ceilings_of_group_and_subjects_differ():
    track = trajectory()
    responses = brain(track)
    result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, subjects="both"))
    fold = torch.arange(120) // 24
    group = noise_ceiling(responses.values, method="split_half", seed=0, fold=fold)
    alone = noise_ceiling(responses.values, method="loo_subject", fold=fold)
    assert pick(result, "stable_mode", "signal")["ceiling"] == pytest.approx(float(group[0]))
    assert pick(result, "stable_mode", "signal", "s1")["ceiling"] == pytest.approx(float(alone[0]))
    assert group[0] > alone[0]
    assert set(result.scores["subject"]) == {"group", "s0", "s1", "s2"}


def test_the_nuisance_row_is_the_nuisances_on_their_own_volumes():
    track = trajectory(n=60)
    responses = brain(track, nuisances=NUISANCES, nuisance_names=("a", "b"), tr=2.0, gap=2)
    result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    plain = ridge_cv(NUISANCES, responses.group_mean, gap=2)
    assert pick(result, "nuisance", "noise")["r"] == pytest.approx(float(plain.r[1]), abs=1e-6)


def test_ceilings_that_the_responses_know_come_first_and_split_halves_are_seeded():
    track = trajectory()
    responses = brain(track, n_subjects=4)
    settings = ScoringSettings(subjects="both", n_permutations=0, baselines=False, seed=7)
    result = score_trajectory(track, responses, CARD, settings)
    fold = torch.arange(120) // 24
    seeded = noise_ceiling(responses.values, method="split_half", seed=7, fold=fold)
    assert pick(result, "stable_mode", "signal")["ceiling"] == pytest.approx(float(seeded[0]), abs=1e-7)
    assert seeded[0] != noise_ceiling(responses.values, method="split_half", seed=0, fold=fold)[0]
    own = {
        "noise_ceiling": torch.tensor([0.5, 0.4]),
        "subject_ceilings": torch.arange(8).view(4, 2) / 10,
    }
    result = score_trajectory(track, dataclasses.replace(responses, **own), CARD, settings)
    assert pick(result, "stable_mode", "noise")["ceiling"] == pytest.approx(0.4)
    assert pick(result, "stable_mode", "noise", "s2")["ceiling"] == pytest.approx(0.5)


def test_what_all_subjects_share_between_runs_is_in_neither_score_nor_ceiling():
    track = trajectory()
    runs = torch.arange(120) // 24
    responses = brain(track, runs=runs)
    offsets = 20 * torch.arange(5.0)[runs][:, None]
    values = torch.cat([responses.values[..., :1], responses.values[..., 1:] + offsets], dim=2)
    result = score_trajectory(track, dataclasses.replace(responses, values=values), CARD, QUICK)
    assert noise_ceiling(values, method="split_half")[1] > 0.99
    assert pick(result, "stable_mode", "noise")["ceiling"] < 0.5
    assert pick(result, "stable_mode", "signal")["ceiling"] > 0.8


def test_a_ceiling_is_estimated_once_for_all_models_of_a_benchmark(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "nfas_lightning.data.responses.noise_ceiling",
        lambda *args, **options: asked.append(options["method"]) or noise_ceiling(*args, **options),
    )
    track = trajectory()
    responses = brain(track)
    settings = ScoringSettings(subjects="both", n_permutations=0, baselines=False)
    first, again = (score_trajectory(track, responses, CARD, settings).scores for _ in range(2))
    assert asked == ["split_half", "loo_subject"]
    pd.testing.assert_frame_equal(first, again)
    score_trajectory(track, responses, CARD, dataclasses.replace(settings, seed=3))
    score_trajectory(track, responses, CARD, dataclasses.replace(settings, n_folds=4))
    assert asked[2:] == ["split_half", "split_half", "loo_subject"]
    # other values are another benchmark
    score_trajectory(track, dataclasses.replace(responses, values=responses.values + 1), CARD, settings)
    assert len(asked) == 7


def test_without_nuisances_the_three_numbers_are_one_and_nothing_is_fitted_twice(monkeypatch):
    track = trajectory()
    fitted = []
    monkeypatch.setattr(
        "nfas_lightning.scoring.encoder.ridge_cv",
        lambda *args, **options: fitted.append(options) or ridge_cv(*args, **options),
    )
    scores = score_trajectory(track, brain(track), CARD, QUICK).scores
    assert len(fitted) == 8  # the stable mode, five blocks, their mean and all of them
    for value in ("r", "r2"):
        for score in ("joint", "partial"):
            np.testing.assert_array_equal(scores[value], scores[f"{value}_{score}"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_features_set_the_precision(dtype):
    track = trajectory()
    responses = brain(track)
    states = tuple(state.to(dtype) for state in track.states)
    result = score_trajectory(dataclasses.replace(track, states=states), responses, CARD, QUICK)
    X = states[-1].float() if dtype == torch.float16 else states[-1]
    plain = ridge_cv(X, responses.group_mean.to(X.dtype), selection="loo")
    rows = result.scores.query("feature == 'last_block'")
    assert rows["r"].dtype == str(plain.r.dtype).removeprefix("torch.")
    np.testing.assert_allclose(rows["r"], plain.r, rtol=1e-4)
