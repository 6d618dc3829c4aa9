"""What a user reads about ROIs that score NaN: once a model, with the number and the reason."""

import math
import warnings

import pytest
import torch

from nfas_lightning.hooks import Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.test_scoring import CARD, brain, trajectory

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
