"""Which of the three numbers of a feature is shown."""

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.results.numbers import column_of, report_as, reported, tells_apart, three_numbers
from tests.helpers.results import make_results


@pytest.fixture(scope="module")
def scores():
    return make_results(("vision",), n_models=3, n_rois=6, score="partial").scores


def test_the_number_that_was_tested_is_shown_with_its_p(scores):
    shown = reported(scores)
    of_network = shown["feature"] != "nuisance"
    for value in ("r", "r2"):
        np.testing.assert_array_equal(shown[value][of_network], scores[f"{value}_partial"][of_network])
        np.testing.assert_array_equal(shown[value][~of_network], scores[value][~of_network])
    assert not {"r_partial", "r_joint", "r2_partial", "r2_joint"} & set(shown)
    pd.testing.assert_series_equal(shown["p"], scores["p"])


@pytest.mark.parametrize("score", ["alone", "joint"])
def test_p_and_q_go_where_they_test_another_number(scores, score):
    shown = reported(scores, score)
    rows = shown["feature"] != "nuisance"
    np.testing.assert_array_equal(shown["r"][rows], scores[column_of("r", score)][rows])
    assert set(shown["score"][rows]) == {score}
    assert shown.loc[rows, ["p", "q"]].isna().all(axis=None)
    kept = report_as(scores, score)
    np.testing.assert_array_equal(kept["r_partial"], scores["r_partial"])
    np.testing.assert_array_equal(reported(kept)["r"], shown["r"])


def test_numbers_that_can_not_be_compared_are_refused(scores):
    other = report_as(scores, "joint")
    with pytest.raises(ValueError, match=r"different numbers, \['joint', 'partial'\]: say which"):
        reported(pd.concat([scores, other]))
    with pytest.raises(ValueError, match=r"'score' must hold one of .*got \['best'\]"):
        reported(scores.assign(score="best"))


def test_a_table_without_three_numbers_is_taken_as_it_is(scores):
    plain = scores.drop(columns=["r_partial", "score"])
    assert reported(plain, "joint") is plain
    assert report_as(plain, "joint") is plain
    assert not tells_apart(plain)
    assert tells_apart(scores)
    assert not tells_apart(scores.assign(r_partial=scores["r"]))


def test_means_over_rois_are_those_of_the_columns(scores):
    table = three_numbers(scores)
    key = ("vision", scores["model"].iloc[0], "stable_mode")
    rows = scores[(scores["model"] == key[1]) & (scores["feature"] == key[2])]
    for number, column in (("alone", "r"), ("joint", "r_joint"), ("partial", "r_partial")):
        assert table.loc[key, number] == pytest.approx(rows[column].mean())
