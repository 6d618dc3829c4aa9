"""Candidates for the weights of bands, and the inner products that any of them have."""

import pytest
import torch

from nfas_lightning.functional.bands import TrainingBands, draw_band_weights


def test_candidates_are_points_of_the_simplex():
    weights = draw_band_weights(4, 30)
    assert weights.shape == (30, 4)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(30).double())
    assert torch.equal(weights, draw_band_weights(4, 30, seed=0))
    assert not torch.equal(weights, draw_band_weights(4, 30, seed=1))


@pytest.mark.parametrize("widths", [(3, 4), (20, 30)])
def test_weighted_inner_products_are_those_of_weighted_features(widths):
    X = torch.randn(30, sum(widths), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, test = torch.arange(20), torch.arange(20, 30)
    bands = TrainingBands(X, widths, rows, test, None, ["unit", "common"])
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    basis = bands.basis(weights)
    scale = weights.sqrt().repeat_interleave(torch.tensor(widths))
    scaled = bands.train * scale
    torch.testing.assert_close(basis.gram, scaled @ scaled.T if basis.is_wide else scaled.T @ scaled)
    torch.testing.assert_close(basis.features, scaled)
    unit, common = bands.train.split(widths, 1)
    torch.testing.assert_close(unit.std(0, correction=0), torch.ones(widths[0]).double())
    torch.testing.assert_close(common.square().mean(), torch.tensor(1.0).double())
    none = bands.basis(torch.tensor([1.0, 0.0]).double())  # a band without weight has no part
    torch.testing.assert_close(none.features[:, widths[0] :], torch.zeros(20, widths[1]).double())
