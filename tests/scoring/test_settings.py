"""What no scoring can do is refused before anything runs."""

import dataclasses

import pytest
import torch

from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.scoring import CARD, QUICK, brain, trajectory


def test_a_choice_of_subjects_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="subjects must be one of 'group', 'each', 'both', got 'all'"):
        ScoringSettings(subjects="all")


def test_too_few_rows_for_a_correlation_are_refused_before_anything_runs():
    track = trajectory(n=9)
    with pytest.raises(ValueError, match=r"takes 3 rows, got 2 at most \(9 rows in 5 folds\)"):
        QUICK.check(brain(track))
    dataclasses.replace(QUICK, n_folds=3).check(brain(track))


def test_a_gap_that_leaves_an_inner_fold_nothing_is_refused_before_anything_runs():
    track = trajectory(n=20)
    settings = dataclasses.replace(QUICK, gap=5, selection="folds")
    with pytest.raises(ValueError, match="gap of 5 rows around inner blocks leaves nothing"):
        settings.check(brain(track))


def test_a_run_that_can_not_be_shuffled_is_refused_before_anything_runs():
    track = trajectory(n=31)
    responses = brain(track, runs=torch.tensor([0] * 15 + [1] * 15 + [2]))
    with pytest.raises(ValueError, match="a run of one row does not allow"):
        QUICK.check(responses)
    dataclasses.replace(QUICK, n_permutations=0).check(responses)


def test_a_whole_svd_rank_is_an_int_whatever_a_parser_makes_of_it():
    settings = ScoringSettings(svd_rank=3.0)
    assert isinstance(settings.svd_rank, int)
    assert settings == ScoringSettings(svd_rank=3)
    assert ScoringSettings(svd_rank=0.5).svd_rank == 0.5


def test_settings_are_scoring_settings():
    with pytest.raises(TypeError, match=r"got \{'n_folds': 3\}. .* ScoringSettings\(\*\*settings\)"):
        score_trajectory(trajectory(), brain(trajectory()), CARD, {"n_folds": 3})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"operator": "joint2"}, "operator must be one of 'joint'"),
        ({"state_space": "pca"}, "state_space must be one of"),
        ({"selection": "aic"}, "selection must be one of 'folds', 'loo'"),
        ({"svd_rank": -3}, "svd_rank must be a positive int"),
        ({"n_folds": 1}, "n_folds must be at least 2, got 1"),
        ({"n_permutations": -3}, "n_permutations must be at least 0, got -3"),
        ({"n_bootstrap": 3}, "n_bootstrap must be 0, for no intervals, or 20 draws at least, .* got 3"),
    ],
)
def test_settings_refuse_what_no_scoring_can_do(choice, message):
    with pytest.raises(ValueError, match=message):
        ScoringSettings(**choice)
