"""One feature of a network: its rows, the best block, and what is said of ROIs without a number."""

import dataclasses
import math
import warnings

import pandas as pd
import pytest
import torch

from nfas_lightning.functional import ridge_cv
from nfas_lightning.hooks import Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.encoder import Fits
from nfas_lightning.scoring.feature_scores import best_block
from tests.helpers.scoring import CARD, QUICK, brain, pick, trajectory


def test_an_roi_that_a_run_lacks_is_averaged_over_the_others_in_every_feature():
    track = trajectory()
    twins = dataclasses.replace(track, states=(track.states[0],) * len(track.states))
    responses = brain(track, runs=torch.arange(120) // 40)
    responses.values[:, :40, 0] = float("nan")
    result = score_trajectory(twins, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    # blocks that are all the same: whichever is the best of them is the last one too
    last, best = (pick(result, feature, "signal")["r"] for feature in ("last_block", "best_block"))
    assert best == pytest.approx(last)
    assert best > 0.1


def test_best_block_is_chosen_in_training_folds_only():
    track = trajectory()
    responses = brain(track, noise=3.0)
    result = score_trajectory(track, responses, CARD, QUICK)
    blocks = [ridge_cv(state, responses.group_mean, selection="loo") for state in track.states]
    expected = torch.zeros(2)
    for fold in range(5):
        for roi in range(2):
            top = max(block.inner_score[fold, roi] for block in blocks)
            best = next(block for block in blocks if block.inner_score[fold, roi] >= top - 1e-5)
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
    alone = score_trajectory(track, with_nuisance, CARD, dataclasses.replace(QUICK, score="alone"))
    own = pick(alone, "nuisance", "signal")
    assert own["r"] == own["r_joint"] > 0.99
    assert pd.isna(own["r_partial"])
    with pytest.warns(UserWarning, match="score NaN"):  # the nuisance explains the ROI, nothing is left
        result = score_trajectory(track, with_nuisance, CARD, QUICK)
    row = pick(result, "stable_mode", "signal")
    assert pd.isna(row["r_partial"])
    assert row["r_joint"] > 0.99
    assert row["r"] == pytest.approx(pick(alone, "stable_mode", "signal")["r"])


def test_volumes_are_counted_by_roi_and_feature():
    track = trajectory()
    responses = brain(track, n_subjects=2, runs=torch.arange(120) // 40)
    responses.values[:, 5:12, 0] = float("nan")
    responses.values[0, 80:, 1] = float("nan")
    settings = ScoringSettings(subjects="both", n_permutations=0)
    result = score_trajectory(track, responses, CARD, settings)
    for feature in ("stable_mode", "last_block", "best_block", "mean_depth", "all_blocks"):
        counts = [
            pick(result, feature, roi, who)["n_volumes"]
            for who in ("group", "s0", "s1")
            for roi in ("signal", "noise")
        ]
        assert counts == [113, 120, 113, 80, 113, 120]


def chosen(blocks, targets, score="alone"):
    best = best_block([Fits(block, block) for block in blocks], score)
    return best.scores[score].r


def test_each_number_of_the_best_block_has_a_choice_of_its_own():
    X, Y = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.randn(100, 2)
    first, second = ridge_cv(X, Y), ridge_cv(X.flip(1), Y)
    better = dataclasses.replace(second, inner_score=first.inner_score + 1e-3, fold_r=first.fold_r + 1)
    best = best_block([Fits(first, better), Fits(better, first)], "partial").scores
    torch.testing.assert_close(best["alone"].r, first.r + 1)  # of the second block's fit alone
    torch.testing.assert_close(best["partial"].r, first.r + 1)  # of the first block's beside nuisances
    torch.testing.assert_close(best["joint"].r, second.r_joint)


def test_blocks_tied_but_for_rounding_go_to_the_earliest():
    X, Y = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.randn(100, 2)
    first, second = ridge_cv(X, Y), ridge_cv(X.flip(1), Y)
    nudged = dataclasses.replace(second, inner_score=first.inner_score + 1e-6, fold_r=first.fold_r + 1)
    assert torch.equal(chosen([first, nudged], Y), first.r)
    better = dataclasses.replace(nudged, inner_score=first.inner_score + 1e-3)
    assert (chosen([first, better], Y) > first.r).all()


def test_an_roi_without_p_is_said():
    track = trajectory(n=60)
    values = torch.zeros(1, 60, 2)
    values[..., 0] = torch.randn(60, generator=torch.Generator().manual_seed(0))
    values[0, ::12, 1] = 1.0  # five events, one a fold; permuted, some fold has none
    with pytest.warns(UserWarning, match="1 of 2 ROIs have r but no p for 'net' under 'stable_mode'"):
        result = score_trajectory(track, brain(track, n_subjects=1, values=values), CARD, QUICK)
    rows = result.scores.query("feature == 'stable_mode'")
    assert rows["r"].notna().all()
    assert rows["p"].isna().tolist() == [False, True]


def test_best_block_counts_the_volumes_of_the_blocks_that_won():
    generator = torch.Generator().manual_seed(0)
    X = [torch.randn(100, 4, generator=generator) for _ in range(3)]
    Y = torch.stack([X[0][:, 0], X[2][:, 0]], dim=1) + 0.3 * torch.randn(100, 2, generator=generator)
    Y[:7, 1] = float("nan")
    X[1][20:] = 1.0  # untrained in the first fold
    blocks = [ridge_cv(x, Y, warn=False) for x in X]
    fits = [Fits(block, block) for block in blocks]
    assert best_block(fits, "alone").n_volumes.tolist() == [100, 93]
    torch.testing.assert_close(chosen(blocks, Y), torch.stack([blocks[0].r[0], blocks[2].r[1]]))
    assert best_block(fits[1:2], "alone").n_volumes.tolist() == [80, 80]


def test_a_block_that_is_constant_in_training_is_never_the_best():
    track = trajectory()
    states = list(track.states)
    states[3] = states[3].clone()
    states[3][24:] = 1.0  # all that the first fold trains on
    track = dataclasses.replace(track, states=tuple(states))
    responses = brain(trajectory())
    with pytest.warns(UserWarning, match="score NaN"):  # the block alone, and the depth table's row of it
        result = score_trajectory(track, responses, CARD, dataclasses.replace(QUICK, n_permutations=0))
    blocks = [
        ridge_cv(state, responses.group_mean, selection="loo") for i, state in enumerate(states) if i != 3
    ]
    best = max(blocks, key=lambda block: block.inner_score[0, 0])
    assert pick(result, "best_block", "signal")["r"] > 0.3
    assert best.inner_score[0, 0] > 0.3


NO_NULL = ScoringSettings(n_permutations=0)


def warned(track, responses, settings=NO_NULL, **card):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        score_trajectory(track, responses, {**CARD, **card}, settings)
    return [str(item.message) for item in caught if "score NaN" in str(item.message)]


def with_missing(track, n_subjects=3):
    responses = brain(track, n_subjects=n_subjects)
    responses.values[..., 1] = math.nan
    return responses


def test_rois_without_responses_are_said_once_for_all_features_and_blocks():
    track = trajectory()
    assert warned(track, brain(track)) == []
    (said,) = warned(track, with_missing(track))
    assert said == "1 of 2 ROIs score NaN for 'net': 1 without any response."


def test_a_twin_does_not_repeat_them_but_tells_what_is_new():
    track = trajectory()
    twin = {"name": "net_random", "twin_of": "net"}
    assert warned(track, with_missing(track), **twin) == []
    responses = with_missing(track)
    responses.values[..., 0] = 2.0
    (said,) = warned(track, responses, **twin)
    assert said.startswith("2 of 2 ROIs score NaN for 'net_random': 1 without any response and 1 whose ")


def test_rois_count_once_over_subjects():
    track = trajectory()
    responses = brain(track)
    responses.values[1, :, 1] = math.nan
    (said,) = warned(track, responses, ScoringSettings(n_permutations=0, subjects="each"))
    assert said.startswith("1 of 2 ROIs score NaN for 'net' in one of 3 sets of subjects or more: 1 without")


def test_what_a_single_block_adds_is_said_too():
    track = trajectory()
    states = (torch.ones_like(track.states[0]), *track.states[1:])
    constant = Trajectory(states, track.layers, track.stimulus_ids)
    said = warned(constant, with_missing(track), ScoringSettings(n_permutations=0, centering="none"))
    assert len(said) == 2
    assert said[0].startswith("1 of 2 ROIs score NaN for 'net': 1 without")
    assert "1 under 'block.0'" in said[1]
    assert "'stable_mode'" not in said[1]


@pytest.mark.parametrize("baselines", [True, False])
def test_a_constant_roi_has_its_reason(baselines):
    track = trajectory()
    responses = brain(track)
    responses.values[..., 1] = 2.0
    (said,) = warned(track, responses, ScoringSettings(n_permutations=0, baselines=baselines))
    assert said.startswith("1 of 2 ROIs score NaN for 'net': 1 whose responses, features or predictions are")


@pytest.mark.parametrize(
    ("dead", "named", "advice"),
    [
        (range(5), "5 of 5 blocks", "look whether the stimuli differ"),
        ([1], "('block.1')", "leave these blocks out"),
    ],
)
def test_blocks_at_which_no_stimulus_differs_are_named_once_and_score_nan(dead, named, advice):
    track = trajectory()
    states = tuple(
        torch.ones_like(state) if depth in dead else state for depth, state in enumerate(track.states)
    )
    still = Trajectory(states, track.layers, track.stimulus_ids)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = score_trajectory(still, brain(track), CARD, NO_NULL)
    (said,) = (str(item.message) for item in caught)
    assert named in said
    assert advice in said
    rows = result.scores.set_index("feature")["r"]
    assert rows["stable_mode"].isna().all()
    assert rows["last_block"].isna().all() == (len(dead) == 5)
    assert result.spectra["modulus"].isna().all()
    assert math.isnan(result.card["stable_real"])


def test_such_a_block_among_blocks_of_several_widths_is_an_error():
    track = trajectory()
    states = (torch.ones(len(track.states[0]), 3), *track.states[1:])
    with pytest.raises(ValueError, match="Layer 0 is the same for all 120"):
        score_trajectory(Trajectory(states, track.layers, track.stimulus_ids), brain(track), CARD, NO_NULL)
