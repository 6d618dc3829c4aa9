"""What a user reads about ROIs that score NaN: once a model, with the number and the reason."""

import math
import warnings

import pytest
import torch

from nfas_lightning.hooks import Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.scoring.test_score_settings import CARD, brain, trajectory

QUICK = ScoringSettings(n_permutations=0)


def warned(track, responses, settings=QUICK, **card):
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
        result = score_trajectory(still, brain(track), CARD, QUICK)
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
        score_trajectory(Trajectory(states, track.layers, track.stimulus_ids), brain(track), CARD, QUICK)
