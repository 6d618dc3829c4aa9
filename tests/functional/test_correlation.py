"""Correlation of predicted and observed responses."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from nfas_lightning.functional import (
    pearson,
    squared_correlation,
)

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_pearson_matches_scipy_in_any_units(scale, offset):
    x, y = normal(50, 4), normal(50, 4, seed=1) + 0.5 * normal(50, 4)
    expected = [pearsonr(x[:, k], y[:, k])[0] for k in range(4)]
    np.testing.assert_allclose(pearson(scale * (x + offset), scale * (y + offset)), expected, atol=1e-12)


def test_pearson_of_tiny_float32_values():
    x = normal(50, 3).float()
    torch.testing.assert_close(pearson(1e-30 * x, -1e-30 * x), -torch.ones(3))
    torch.testing.assert_close(pearson(x.half(), x.half()), torch.ones(3))


def test_pearson_leaves_out_missing_pairs():
    x, y = normal(30, 2), normal(30, 2, seed=1)
    x[3, 0], y[7, 0] = nan, nan
    kept = [t for t in range(30) if t not in (3, 7)]
    assert pearson(x, y)[0].item() == pytest.approx(pearsonr(x[kept, 0], y[kept, 0])[0])
    assert pearson(x, y)[1].item() == pytest.approx(pearsonr(x[:, 1], y[:, 1])[0])


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pearson_of_a_constant_is_nan_with_a_warning(constant, dtype):
    x = normal(20, 3).to(dtype)
    flat = x.clone()
    flat[:, 1] = constant
    for pair in ((x, flat), (flat, x)):
        with pytest.warns(UserWarning, match="1 of 3 ROIs have a constant"):
            assert pearson(*pair).isnan().tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="fewer than two"):
        assert pearson(x.fill_(nan), flat).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pearson_of_rounding_is_nan(dtype):
    x = normal(20, 1).to(dtype)
    last_place = torch.full_like(x, 0.1) * (1 + (x > 0).to(dtype) * torch.finfo(dtype).eps)
    assert last_place.unique().numel() == 2
    with pytest.warns(UserWarning, match="1 of 1 ROIs have a constant"):
        assert pearson(x, last_place).isnan().all()


def test_squared_correlation():
    r = torch.tensor([0.5, -0.5, nan])
    torch.testing.assert_close(squared_correlation(r), torch.tensor([0.25, 0, nan]), equal_nan=True)
    torch.testing.assert_close(
        squared_correlation(r, "square"), torch.tensor([0.25, 0.25, nan]), equal_nan=True
    )
    with pytest.raises(ValueError, match="negative must be one of"):
        squared_correlation(r, "abs")
