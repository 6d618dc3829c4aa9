"""Weights over depth applied to stimuli."""

import numpy as np
import pytest
import torch

from nfas_lightning.functional.dmd import (
    center_depths,
    combine_depths,
    dmd,
    stable_mode,
)
from tests.helpers.dynamics import linear, random_walk

CENTERINGS = ("none", "center", "scale", "zscore")


def test_real_is_the_sum_of_both_conjugates():
    H = random_walk()
    result = dmd(H, centering="none")
    assert bool(result.is_pair)
    both = combine_depths(H, result)
    modes = torch.einsum("jl,nld->jnd", result.mode_coefficients, H.to(torch.complex128))
    np.testing.assert_allclose(combine_depths(H, result, phase="real"), modes.sum(dim=0).real, atol=1e-9)
    np.testing.assert_allclose(both[:, :5], modes[0].real, atol=1e-9)
    np.testing.assert_allclose(both[:, 5:], modes[0].imag, atol=1e-9)


def test_a_real_mode_has_one_width():
    H = random_walk()
    for phase in ("quadrature", "real"):
        assert stable_mode(H, svd_rank=1, phase=phase).shape == (12, 5)
        assert stable_mode(H, svd_rank=1, phase=phase, operator="per_stimulus").shape == (12, 5)


def test_mixed_kinds_share_the_wide_layout():
    H = random_walk(n=60, depth=5, width=3)
    result = dmd(H, operator="per_stimulus")
    pair = result.is_pair
    assert bool(pair.any())
    assert not bool(pair.all())
    features = combine_depths(H, result)
    assert features.shape == (60, 6)
    assert bool((features[~pair, 3:] == 0).all())
    assert bool((features[pair, 3:].abs().sum(dim=1) > 0).all())
    real = combine_depths(H, result, phase="real")
    np.testing.assert_allclose(real, features[:, :3] * (1 + pair.double())[:, None], atol=1e-12)


def test_the_phase_of_a_pooled_pair_is_settled_by_the_stimuli():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    x0 = torch.randn(30, 2, generator=torch.Generator().manual_seed(1)).double()
    x0[:, 0] *= 3
    real, imaginary = stable_mode(linear(turn, x0, 6), operator="pooled", centering="none").T
    # along the stimuli's own principal axes, whatever phase the eigenvectors came with
    s = torch.linalg.svdvals(x0)
    np.testing.assert_allclose([real.norm(), imaginary.norm()], s / 2**0.5, rtol=1e-9)
    assert float(real @ imaginary) == pytest.approx(0, abs=1e-9)
    assert real[real.abs().argmax()] > 0


def test_pooled_coordinates_have_a_sign_of_their_own():
    H = random_walk(width=4)
    one, other = (stable_mode(states, operator="pooled", svd_rank=4) for states in (H, -H))
    np.testing.assert_allclose(other, one, atol=1e-8)


def test_pooled_columns():
    H = random_walk(width=4)
    result = dmd(H, operator="pooled", svd_rank=4)
    pairs = int((result.eigenvalues.imag > 0).sum())
    assert combine_depths(H, result).shape == (12, 4)
    assert combine_depths(H, result, phase="real").shape == (12, 4 - pairs)


@pytest.mark.parametrize("operator", ["joint", "per_stimulus", "pooled"])
@pytest.mark.parametrize("centering", ["none", "center", "scale", "zscore"])
def test_modes_are_combined_from_the_centered_depths(operator, centering):
    H = torch.randn(12, 5, 4, generator=torch.Generator().manual_seed(0)).double() + 3
    result = dmd(H, operator=operator, centering=centering, svd_rank=3)
    Z = center_depths(H, result)
    torch.testing.assert_close(combine_depths(Z, result, centered=True), combine_depths(H, result))
    if centering in ("center", "scale"):
        expected = H - H.mean(0)
        if centering == "scale":
            expected = expected / torch.linalg.matrix_norm(expected.movedim(1, 0))[:, None]
        torch.testing.assert_close(Z, expected)


def test_what_rounding_leaves_of_a_constant_unit_is_zero():
    H = torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0))
    H[:, 2, 1] = 0.1 + 1e-9 * torch.randn(50)
    Z = center_depths(H, dmd(H))
    assert (Z[:, 2, 1] == 0).all()
    assert (Z.abs().amax(0) > 0).sum() == 11


def test_other_stimuli_for_per_stimulus():
    H = random_walk()
    with pytest.raises(ValueError, match="each of the 12 fitted stimuli, got 5"):
        combine_depths(H[:5], dmd(H, operator="per_stimulus"))
    with pytest.raises(ValueError, match=r"\(N, L=7, D=5\), got \(12, 6, 5\)"):
        combine_depths(H[:, :6], dmd(H))
    with pytest.raises(ValueError, match=r"H must have shape \(N, L, D\)"):
        dmd(H[0])


def test_new_stimuli_use_the_fitted_centering():
    H = random_walk(n=20)
    for centering in CENTERINGS:
        result = dmd(H[:15], centering=centering)
        seen, new = combine_depths(H[:15], result), combine_depths(H[15:], result)
        np.testing.assert_allclose(seen, stable_mode(H[:15], centering=centering), atol=1e-12)
        # an affine map of the states: a mixture of stimuli has the mixture of their features
        mixed = combine_depths(0.3 * H[:1] + 0.7 * H[15:16], result)
        np.testing.assert_allclose(mixed, 0.3 * seen[:1] + 0.7 * new[:1], atol=1e-10)
