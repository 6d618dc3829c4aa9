"""The tables of a space of models."""

from dataclasses import replace

import pandas as pd
import pytest

from nfas_lightning.results import few_models, group_words
from tests.helpers.results import make_results, make_statistics


@pytest.fixture(scope="module")
def statistics():
    return make_statistics(make_results(("vision", "audio"), n_models=3, n_rois=6))


def test_tests_are_one_table_beside_the_others(statistics):
    tables = statistics.tables()
    tests = tables["tests"].set_index("test")
    assert list(tests.index) == ["permanova", "permdisp", "silhouette"]
    assert tests.loc["permdisp"].dropna().to_dict() == statistics.permdisp
    pd.testing.assert_frame_equal(tables["snci"], statistics.snci)
    assert set(tables) == {
        "tests", "coordinates", "pairwise", "silhouette_samples", "anova", "snci", "convergence", "nearest",
        "stability", "controls",
    }  # fmt: skip


def test_a_test_that_was_not_made_has_no_row(statistics):
    partly = replace(statistics, permdisp={}, silhouette={})
    assert partly.tables()["tests"]["test"].tolist() == ["permanova"]
    assert replace(partly, permanova={}).tables()["tests"].columns.tolist() == [
        "test",
        "statistic",
        "p_value",
        "p_moved",
    ]


def test_a_space_is_small_where_no_group_has_three_models(statistics):
    assert not statistics.is_small
    two = statistics.coordinates.groupby("group").head(2)
    assert replace(statistics, coordinates=two).is_small
    assert replace(statistics, coordinates=two.assign(group="all")).is_small is False


def test_groups_are_called_by_their_column():
    assert group_words("modality") == ("modality", "modalities")
    assert group_words("family") == ("group by family", "groups by family")
    assert "three models or more of one family" in few_models("family")
