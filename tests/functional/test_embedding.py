"""PCA, classical scaling and distances against scikit-learn, scikit-bio and scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA

from nfas_lightning.functional.embedding import distances, mds, pca


def rows(n, r, seed=0):
    return torch.randn(n, r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "cosine"])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(n=st.integers(1, 8), r=st.integers(2, 9), seed=st.integers(0, 99))
def test_distances_equal_scipy(metric, n, r, seed):
    V = rows(n, r, seed)
    np.testing.assert_allclose(distances(V, metric), squareform(pdist(V.numpy(), metric)), atol=1e-10)


def test_close_rows_far_from_zero_keep_their_distance():
    V = torch.tensor([[1e4, 0.0], [1e4 + 1e-3, 0.0]], dtype=torch.float64)
    assert distances(V)[0, 1] == pytest.approx(1e-3, rel=1e-6)


def test_pca_equals_scikit_learn_up_to_sign():
    V = rows(9, 5)
    result, expected = pca(V), PCA().fit(V.numpy())
    np.testing.assert_allclose(result.explained, expected.explained_variance_ratio_, atol=1e-10)
    np.testing.assert_allclose(result.coordinates.abs(), np.abs(expected.transform(V.numpy())), atol=1e-10)
    torch.testing.assert_close(result.coordinates @ result.components, V - V.mean(0))


def test_pca_signs_do_not_depend_on_the_order_of_models():
    V = rows(8, 6)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pca(V[order], 3).coordinates, pca(V, 3).coordinates[order])
    largest = pca(V, 3).components.abs().argmax(1)
    assert (pca(V, 3).components[torch.arange(3), largest] > 0).all()


def test_mds_of_euclidean_distances_is_pca():
    V = rows(8, 3)
    coordinates = mds(distances(V), 3).coordinates
    torch.testing.assert_close(coordinates.abs(), pca(V, 3).coordinates.abs())
    torch.testing.assert_close(distances(coordinates), distances(V))


def test_mds_shows_how_far_from_euclidean():
    D = torch.ones(4, 4) - torch.eye(4)
    D[0, 1] = D[1, 0] = 5  # breaks the triangle inequality
    assert mds(D).eigenvalues.min() < -1
    assert mds(distances(rows(5, 2))).eigenvalues.min() > -1e-8


@pytest.mark.parametrize(
    ("D", "message"),
    [
        (rows(4, 4), "negative|symmetric|diagonal"),
        (torch.tensor([[0.0, -1.0], [-1.0, 0.0]]), "must not be negative, got -1"),
        (torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "must be symmetric, got 1 between"),
        (torch.eye(3), "must be zero on the diagonal, got up to 1"),
        (torch.tensor([[0.0, torch.nan], [torch.nan, 0.0]]), "must be finite"),
        (rows(3, 2), r"\(M=3, M=3\), got \(3, 2\)"),
        (torch.zeros(0, 0), "at least one model"),
    ],
)
def test_mds_refuses_what_is_no_distance_matrix(D, message):
    with pytest.raises(ValueError, match=message):
        mds(D, 1)


def test_degenerate_input():
    V = torch.tensor([[1.0, 1.0], [1.0, 2.0], [0.0, 0.0]])
    with pytest.warns(UserWarning, match=r"Rows \[0, 2\] of V are constant"):
        D = distances(V, "correlation")
    assert D[0, 1].isnan()
    with pytest.warns(UserWarning, match=r"Rows \[2\]"):
        distances(V, "cosine")
    with pytest.warns(UserWarning, match="do not differ"):
        assert pca(torch.ones(3, 2)).explained.isnan().all()
    with pytest.raises(ValueError, match="between 1 and min"):
        pca(V, 3)
    with pytest.raises(ValueError, match="one of 'euclidean'"):
        distances(V, "manhattan")
    with pytest.raises(ValueError, match="finite"):
        pca(V.log())
