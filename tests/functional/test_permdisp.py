"""PERMDISP: its F, and that both of its tests keep their level."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permdisp as skbio_permdisp

from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permdisp import _to_median, permdisp
from tests.helpers.groups import models


def test_permdisp_drops_negative_directions_as_scikit_bio_does():
    generator = np.random.default_rng(0)
    D = generator.uniform(1, 2, (12, 12))  # random dissimilarities: far from Euclidean
    D = np.triu(D, 1) + np.triu(D, 1).T
    labels = list("aaaabbbbcccc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = skbio_permdisp(DistanceMatrix(D), labels, test="centroid", permutations=0, dimensions=12)
    got = permdisp(torch.from_numpy(D), labels, n_permutations=1).statistic
    assert got == pytest.approx(expected["test statistic"], rel=1e-8)


def test_permdisp_stays_calibrated_for_skewed_scores():
    # r2 of models that have a level each: the contrasts alone reject in 11 of 100
    labels, rejected = [label for label in "abc" for _ in range(6)], 0
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        r = torch.randn(18, 20, generator=generator) + torch.randn(18, 1, generator=generator)
        D = distances((0.25 + 0.07 * r).clamp(min=0) ** 2)
        rejected += int(permdisp(D, labels, n_permutations=99, seed=seed).p_value <= 0.05 + 1e-9)
    assert 0.02 <= rejected / 300 <= 0.075


def test_permdisp_does_not_see_where_a_group_sits():
    V, labels = models((5, 6, 4), seed=2)
    apart = V + 4 * torch.tensor([0.0] * 5 + [1.0] * 6 + [-2.0] * 4, dtype=V.dtype)[:, None]
    here, there = (permdisp(distances(scores), labels, n_permutations=199) for scores in (V, apart))
    assert there.statistic == pytest.approx(float(here.statistic), rel=1e-9)
    assert there.p_value == here.p_value


@pytest.mark.parametrize("n", [2, 3, 7])
def test_distances_to_the_spatial_median_equal_an_optimizer(n):
    X = np.random.default_rng(n).standard_normal((n, 5)) ** 3
    best = minimize(lambda c: np.linalg.norm(X - c, axis=1).sum(), X.mean(0), options={"gtol": 1e-9})
    adjusted = _to_median(torch.from_numpy(X @ X.T)) / (n / (n - 1)) ** 0.5
    assert float(adjusted.sum()) == pytest.approx(best.fun, rel=1e-8)
    if n > 2:  # any point between two models is their median; ours is the middle
        expected = np.linalg.norm(X - best.x, axis=1)
        np.testing.assert_allclose(adjusted.numpy(), expected, atol=2e-4 * expected.max())


def test_models_on_one_point_have_no_distance_to_their_median():
    X = torch.tensor([[2.0, 1.0]] * 4, dtype=torch.float64)
    assert float(_to_median(X @ X.T).max()) < 1e-6
    assert float(_to_median(torch.zeros(4, 4, dtype=torch.float64)).max()) == 0


def test_permdisp_stays_calibrated_where_groups_sit_apart():
    # shuffling models would put them between the groups: scikit-bio's p rejects four of five such sets
    labels = models((3, 20))[1]
    data = [distances(models((3, 20), n_rois=50, shift=3.0, seed=seed)[0]) for seed in range(100)]
    p = torch.stack([permdisp(D, labels, n_permutations=39, seed=i).p_value for i, D in enumerate(data)])
    assert (p <= 0.05).double().mean() < 0.13
