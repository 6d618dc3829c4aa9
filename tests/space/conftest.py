"""Forty-five models: the scale at which every statistic meets an independent oracle."""

import pytest

from nfas_lightning.space import NFAS
from tests.helpers.results import make_zoo


@pytest.fixture(scope="session")
def results():
    return make_zoo(n_rois=60)


@pytest.fixture(scope="session")
def space(results):
    return NFAS.from_scores(results)


@pytest.fixture(scope="session")
def statistics(space):
    return space.statistics(n_permutations=999)


@pytest.fixture(scope="session")
def plain(results):
    """(M, R) scores and M labels, pivoted without the package."""
    rows = results.scores.query("feature == 'stable_mode'")
    wide = rows.pivot_table(index="model", columns="roi", values="r2")
    labels = rows.drop_duplicates("model").set_index("model")["modality"].reindex(wide.index)
    return wide, labels
