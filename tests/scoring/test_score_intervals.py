"""Intervals of a scored model, from the functional core and from what they must not depend on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.functional import bootstrap_scores, dmd, interval, ridge_cv
from nfas_lightning.functional.dmd import center_depths, combine_depths
from nfas_lightning.results import LIMITS, reported
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.encoder import Encoder
from tests.helpers.scoring import CARD, NUISANCES, brain, pick, trajectory

FAST = ScoringSettings(n_permutations=0, n_bootstrap=100)
KNOWN = {"nuisances": NUISANCES, "nuisance_names": ("a", "b")}


@pytest.fixture(scope="module")
def track():
    return trajectory(60)


@pytest.fixture(scope="module")
def scored(track):
    """Four subjects, beyond two nuisances."""
    return score_trajectory(track, brain(track, n_subjects=4, **KNOWN), CARD, FAST)


def test_limits_are_those_of_the_functional_core(track, scored):
    responses = brain(track, n_subjects=4, **KNOWN)
    H = track.stack()
    dynamics = dmd(H)
    features = combine_depths(center_depths(H, dynamics), dynamics, centered=True)
    fit = ridge_cv(features, responses.group_mean, nuisances=NUISANCES, selection="loo")
    targets = Encoder(responses, FAST).subject_targets("partial")
    torch.testing.assert_close(  # what a subject has left of its nuisances, and the group's fit of its mean
        torch.nn.functional.normalize(targets.mean(0) - _fold_means(targets.mean(0), fit.fold), dim=0),
        torch.nn.functional.normalize(
            (fit.target - _fold_means(fit.target, fit.fold)).double() * _scale(targets.mean(0), fit), dim=0
        ),
        rtol=1e-3,
        atol=1e-4,
    )
    drawn = bootstrap_scores(fit.preds[None], targets, fit.fold, n_draws=100)
    found = interval(fit.r, drawn.map(lambda scores: scores[:, 0]), correlation=True)
    for place, roi in enumerate(("signal", "noise")):
        row = pick(scored, "stable_mode", roi)
        assert row["r_low"] == pytest.approx(float(found.low[place]), abs=1e-3)
        assert row["r_high"] == pytest.approx(float(found.high[place]), abs=1e-3)
        assert row["r2_low"] == pytest.approx(max(row["r_low"], 0) ** 2)
        assert row["r2_high"] == pytest.approx(max(row["r_high"], 0) ** 2)
        assert row["r_low"] < row["r_partial"] < row["r_high"]
    shown = reported(scored.scores)
    assert shown["above_ceiling"].tolist() == (shown["r"] > shown["ceiling"]).tolist()
    assert scored.scores["above_ceiling"].equals(shown["above_ceiling"])
    assert shown["above_ceiling"].any()  # of the noise, whose ceiling is 0
    alone = reported(scored.scores, "alone")  # limits of another number are not known; its flag is
    assert alone["r_low"].notna().tolist() == (alone["feature"] == "nuisance").tolist()
    assert alone["above_ceiling"].tolist() == (scored.scores["r"] > scored.scores["ceiling"]).tolist()


def _fold_means(values, fold):
    return torch.stack([values[fold == f].mean(0) for f in range(5)])[fold]


def _scale(values, fit):
    """Units that each fold's training rows gave the target."""
    ratio = [values[fit.fold == f].std(0) / fit.target[fit.fold == f].std(0) for f in range(5)]
    return torch.stack(ratio)[fit.fold].double()


def test_draws_of_means_are_paired_over_features_and_models(track, scored):
    draws = scored.draws
    assert draws.groupby("score")["paired"].nunique().eq(1).all()
    assert set(draws.loc[draws["feature"] == "nuisance", "score"]) == {"alone"}
    own = draws[(draws["feature"] == "stable_mode") & (draws["value"] == "r")].set_index("resampled")
    assert list(own.index) == ["stimuli", "subjects", "both"]
    rows = scored.scores[scored.scores["feature"] == "stable_mode"]
    assert own["mean"].to_numpy(float) == pytest.approx(rows["r_partial"].mean(), abs=1e-6)
    assert (own["n_rois"] == 2).all()
    # the same network under another name: not a draw differs, though it was scored on its own
    again = score_trajectory(track, brain(track, n_subjects=4, **KNOWN), {**CARD, "name": "other"}, FAST)
    assert again.draws["paired"].tolist() == draws["paired"].tolist()
    np.testing.assert_allclose(np.stack(again.draws["draws"]), np.stack(draws["draws"]), atol=1e-6)
    for change in ({"seed": 1}, {"n_bootstrap": 50}, {"block_length": 3}, {"block_length": "fold"}):
        other = score_trajectory(
            track, brain(track, n_subjects=4, **KNOWN), CARD, replace(FAST, baselines=False, **change)
        )
        assert not set(other.draws["paired"]) & set(draws["paired"]), change


def test_single_subjects_few_subjects_and_none(track):
    each = score_trajectory(track, brain(track), CARD, replace(FAST, subjects="both", baselines=False))
    assert set(each.draws["subject"]) == {"group", "s0", "s1", "s2"}
    assert set(each.draws.query("subject == 's0'")["resampled"]) == {"stimuli"}
    assert each.scores[list(LIMITS)].notna().all(axis=None)
    noise = torch.randn(2, 60, 2, generator=torch.Generator().manual_seed(0))
    gone = noise.index_fill(2, torch.tensor(1), float("nan"))  # such as a bad channel
    with pytest.warns(UserWarning, match="1 without any response"):
        beyond = score_trajectory(
            track, brain(track, n_subjects=2, values=gone, **KNOWN), CARD, replace(FAST, baselines=False)
        )
    assert np.isfinite(pick(beyond, "stable_mode", "signal")["r_low"])
    assert np.isnan(pick(beyond, "stable_mode", "noise")["r_low"])
    two = score_trajectory(track, brain(track, n_subjects=2), CARD, replace(FAST, baselines=False))
    assert set(two.draws["resampled"]) == {"stimuli"}  # two subjects say nothing of others
    none = score_trajectory(track, brain(track), CARD, replace(FAST, n_bootstrap=0, baselines=False))
    assert none.draws.empty
    assert none.scores[list(LIMITS)].isna().all(axis=None)
    assert none.scores["r"].equals(each.scores.query("subject == 'group'")["r"].reset_index(drop=True))


def test_regions_formed_after_the_fit_and_large_responses(track):
    rois = pd.DataFrame({"roi": ["signal", "noise"], "parcel": ["p", "p"]})
    settings = replace(FAST, regions="parcel", baselines=False)
    made = score_trajectory(track, brain(track, rois=rois), CARD, settings).scores.iloc[0]
    assert made["r_low"] < made["r"] < made["r_high"]
    assert made["r2_low"] < made["r2"] < made["r2_high"]
    assert made["r2_high"] != pytest.approx(made["r_high"] ** 2, rel=1e-3)  # of the mean r2
    large = brain(track, values=torch.zeros(1, 60, 1).expand(1, 60, 40_000),
                  rois=pd.DataFrame({"roi": [f"v{i}" for i in range(40_000)]}), subjects=("s",))  # fmt: skip
    assert ScoringSettings().draws(large) == 0
    assert ScoringSettings(n_bootstrap=30).draws(large) == 30
    with pytest.raises(ValueError, match="block_length must be at least 1, got 0"):
        ScoringSettings(block_length=0)
