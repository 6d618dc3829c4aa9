import dataclasses

import pandas as pd
import pytest
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional import noise_ceiling, ridge_cv, stable_mode
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory

CARD = {
    "name": "net", "modality": "vision", "family": "toy", "source": "", "licence": "", "parameters": 0,
    "weights_sha256": "", "note": "", "pooling": "mean", "weights": "pretrained", "twin_of": "",
    "seconds_capture": 0.0,
}  # fmt: skip
QUICK = ScoringSettings(n_permutations=99)


def trajectory(n=120, depths=5, width=6, seed=0):
    """A slow rotation over depth, another for every stimulus, in noise."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    x = torch.randn(n, width, generator=generator)
    states = []
    for _ in range(depths):
        states.append(x + 0.1 * torch.randn(n, width, generator=generator))
        x = x @ turn
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (width,), width, "torch.float32") for i in range(depths)
    )
    return Trajectory(tuple(states), layers, torch.arange(n))


def brain(track, n_subjects=3, noise=1.0, seed=1, **changes):
    """ROI "signal" follows the stable mode, ROI "noise" nothing."""
    generator = torch.Generator().manual_seed(seed)
    signal = stable_mode(track.stack())[:, :2].sum(1)
    clean = torch.stack([signal / signal.std(), torch.zeros(len(signal))], dim=1)
    shape = (n_subjects, *clean.shape)
    values = clean + noise * torch.randn(shape, generator=generator)
    fields = {
        "values": values,
        "rois": pd.DataFrame({"roi": ["signal", "noise"], "network": ["a", "b"]}),
        "stimulus_ids": tuple(map(str, range(len(signal)))),
        "dataset": "toy",
        "modality": "vision",
        "subjects": tuple(f"s{i}" for i in range(n_subjects)),
        "runs": torch.zeros(len(signal), dtype=torch.long),
        **changes,
    }
    return Responses(**fields)


def pick(result, feature, roi, subject="group"):
    rows = result.scores.query("feature == @feature and roi == @roi and subject == @subject")
    assert len(rows) == 1
    return rows.iloc[0]


def test_planted_roi_is_found_and_noise_is_not():
    track = trajectory()
    result = score_trajectory(track, brain(track), CARD, QUICK)
    found = pick(result, "stable_mode", "signal")
    assert found["r"] > 0.7
    assert found["p"] == pytest.approx(0.01)  # the least that 99 permutations can show


def test_noise_rois_pass_at_the_nominal_rate():
    track = trajectory()
    noise = torch.randn(1, 120, 60, generator=torch.Generator().manual_seed(5))
    rois = pd.DataFrame({"roi": [f"n{i}" for i in range(60)]})
    result = score_trajectory(track, brain(track, n_subjects=1, values=noise, rois=rois), CARD, QUICK)
    stable = result.scores.query("feature == 'stable_mode'")
    assert abs(stable["r"].mean()) < 0.1
    assert (stable["p"] <= 0.05).sum() <= 8  # binomial(60, .05): 8 or more in 1 of 100 draws
    assert stable["q"].min() > 0.05


def test_stable_mode_row_is_ridge_on_the_stable_mode():
    track = trajectory()
    responses = brain(track)
    result = score_trajectory(track, responses, CARD, QUICK)
    plain = ridge_cv(stable_mode(track.stack()), responses.group_mean, selection="loo")
    got = result.scores.query("feature == 'stable_mode'")["r"].to_numpy()
    torch.testing.assert_close(torch.tensor(got), plain.r.to(torch.tensor(got).dtype))


def test_best_block_is_chosen_in_training_folds_only():
    track = trajectory()
    responses = brain(track, noise=3.0)
    result = score_trajectory(track, responses, CARD, QUICK)
    blocks = [ridge_cv(state, responses.group_mean, selection="loo") for state in track.states]
    expected = torch.zeros(2)
    for fold in range(5):
        for roi in range(2):
            best = max(blocks, key=lambda block: block.inner_score[fold, roi])
            expected[roi] += best.fold_r[fold, roi] / 5
    got = torch.tensor([pick(result, "best_block", roi)["r"] for roi in ("signal", "noise")])
    torch.testing.assert_close(got, expected, check_dtype=False)
    # choosing by the test score instead would be optimistic, and is not what is reported
    peeked = torch.stack([block.r for block in blocks]).amax(0)
    assert bool((peeked >= got - 1e-6).all())
    assert bool((peeked > got + 1e-3).any())


def test_twin_scores_one_feature():
    track = trajectory()
    result = score_trajectory(track, brain(track), {**CARD, "name": "net_random", "twin_of": "net"}, QUICK)
    assert set(result.scores["feature"]) == {"random_weights"}
    assert set(result.scores["model"]) == {"net"}


def test_nuisances_alone_and_partialled_out():
    track = trajectory()
    responses = brain(track, noise=0.3)
    signal = responses.group_mean[:, :1]
    with_nuisance = dataclasses.replace(responses, nuisances=signal, nuisance_names=("leak",))
    alone = score_trajectory(track, with_nuisance, CARD, QUICK)
    assert pick(alone, "nuisance", "signal")["r"] > 0.99
    with pytest.warns(UserWarning, match="score NaN"):  # the nuisance explains the ROI, nothing is left
        partial = score_trajectory(
            track, with_nuisance, CARD, dataclasses.replace(QUICK, partial_nuisances=True)
        )
    assert pd.isna(pick(partial, "stable_mode", "signal")["r"])
    assert "nuisance" not in set(partial.scores["feature"])


def test_ceilings_of_group_and_subjects_differ():
    track = trajectory()
    responses = brain(track)
    result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, subjects="both"))
    group = noise_ceiling(responses.values, method="split_half", seed=0)
    alone = noise_ceiling(responses.values, method="loo_subject")
    assert pick(result, "stable_mode", "signal")["ceiling"] == pytest.approx(float(group[0]))
    assert pick(result, "stable_mode", "signal", "s1")["ceiling"] == pytest.approx(float(alone[0]))
    assert group[0] > alone[0]
    assert set(result.scores["subject"]) == {"group", "s0", "s1", "s2"}


def test_trajectory_must_hold_every_stimulus_in_order():
    track = trajectory()
    shuffled = dataclasses.replace(track, stimulus_ids=track.stimulus_ids.flip(0))
    with pytest.raises(ValueError, match="must hold stimuli 0 to 119"):
        score_trajectory(shuffled, brain(track), CARD, QUICK)


@pytest.mark.parametrize("operator", ["joint", "per_stimulus", "pooled"])
def test_every_operator_gives_complete_tables(operator):
    track = trajectory()
    settings = dataclasses.replace(QUICK, operator=operator, baselines=False, n_permutations=0)
    result = score_trajectory(track, brain(track), CARD, settings)
    assert result.scores["r"].notna().all()
    assert result.scores["p"].isna().all()
    assert result.spectra["stable"].sum() == 1
    assert len(result.depth) == 5
    assert 0 <= result.card["reconstruction_error"] <= 1.5
