"""Results to draw: of 15 models, and of 45."""

import pytest

from nfas_lightning.space import NFAS
from tests.helpers.results import make_results, make_statistics, make_zoo


@pytest.fixture(scope="session")
def results():
    return make_results()


@pytest.fixture(scope="session")
def statistics(results):
    return make_statistics(results)


@pytest.fixture(scope="session")
def zoo():
    return make_zoo(n_rois=40)


@pytest.fixture(scope="session")
def zoo_statistics(zoo):
    return NFAS.from_scores(zoo).statistics(n_permutations=99)
