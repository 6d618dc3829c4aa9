"""Dynamic Mode Decomposition: against PyDMD, planted dynamics, invariances, degenerate input."""

import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydmd import DMD
from pydmd.utils import compute_rank

from nfas_lightning.functional.dmd import (
    combine_depths,
    dmd,
    stable_mode,
)
from tests.helpers.dynamics import linear, random_walk, same_set

OPERATORS = ("joint", "per_stimulus", "pooled")
CENTERINGS = ("none", "center", "scale", "zscore")


def conditioned(n, depth, width, exponent, seed):
    """Trajectory whose stacked snapshots have singular values from 1 down to 10^-exponent."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((n * width, depth)))[0]
    right = np.linalg.qr(rng.standard_normal((depth, depth)))[0]
    S = left * np.logspace(0, -exponent, left.shape[1]) @ right[: left.shape[1]]
    return torch.from_numpy(S.reshape(n, width, depth).transpose(0, 2, 1).copy())


def stacked(H):
    """(N D, L): the snapshots that `joint` means, for an implementation that takes a matrix."""
    return H.double().permute(0, 2, 1).reshape(-1, H.shape[1]).numpy()


def plain_dmd(S, svd_rank):
    """Exact DMD from an SVD of the snapshots (features, L), in float64."""
    X, Y = S[:, :-1], S[:, 1:]
    U, s, Vh = np.linalg.svd(X, full_matrices=False)
    U, s, V = U[:, :svd_rank], s[:svd_rank], Vh[:svd_rank].T
    eigenvalues, W = np.linalg.eig(U.T @ Y @ V / s)
    modes = (Y @ V / s) @ W / eigenvalues
    b = np.linalg.lstsq(modes, S[:, 0].astype(complex), rcond=None)[0]
    error = np.linalg.norm(Y - Y @ V @ V.T) / np.linalg.norm(Y)
    return eigenvalues, modes * b, error


class TestAgainstPyDMD:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(
        n=st.integers(1, 5),
        depth=st.integers(4, 9),
        width=st.integers(3, 9),
        svd_rank=st.integers(1, 5),
        exponent=st.floats(0.1, 3),
        seed=st.integers(0, 2**16),
        exact=st.booleans(),
        single=st.booleans(),
    )
    def test_joint(self, n, depth, width, svd_rank, exponent, seed, exact, single):
        assume(n * width > depth)
        H = conditioned(n, depth, width, exponent, seed)
        tolerance = 1e-4 if single else 1e-6
        H = H.float() if single else H
        S = stacked(H)
        peer = DMD(svd_rank=svd_rank, exact=exact).fit(S)
        s = np.linalg.svd(S[:, :-1], compute_uv=False)
        r = len(peer.eigs)
        # Where the cut or an eigenvector is not determined by the data, two right answers may differ.
        assume(r == len(s) or s[r - 1] > 1.05 * s[r])
        assume(np.linalg.cond(peer.operator.eigenvectors) < 30 and np.linalg.cond(peer.modes) < 1e3)
        result = dmd(H, svd_rank=svd_rank, centering="none", exact=exact)
        order = same_set(result.eigenvalues, torch.from_numpy(peer.eigs).to(torch.complex128), tolerance)
        wanted = (peer.modes * peer.amplitudes)[:, order]
        got = torch.einsum("jl,nld->ndj", result.mode_coefficients, H.to(torch.complex128)).reshape(-1, r)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(got.numpy(), wanted, atol=tolerance * scale, rtol=0)
        norms = np.linalg.norm(wanted, axis=0)
        np.testing.assert_allclose(result.amplitudes.numpy(), norms, atol=tolerance * norms.max())

    @pytest.mark.parametrize("svd_rank", [1, 2, 3, 0.9, -1])
    def test_per_stimulus_is_a_loop(self, svd_rank):
        H = random_walk(n=9, depth=6, width=11)
        result = dmd(H, operator="per_stimulus", svd_rank=svd_rank, centering="none")
        ranks = []
        for n, states in enumerate(H):
            peer = DMD(svd_rank=svd_rank, exact=True).fit(states.T.numpy())
            ranks.append(len(peer.eigs))
            row = result.eigenvalues[n]
            order = same_set(torch.from_numpy(peer.eigs).to(row.dtype), row[row.abs() > 1e-9], 1e-8)
            used = row.abs() > 1e-9
            got = result.mode_coefficients[n][used][torch.from_numpy(order)] @ states.to(torch.complex128)
            np.testing.assert_allclose(got.numpy(), (peer.modes * peer.amplitudes).T, atol=1e-7)
        assert result.svd_rank == max(ranks)

    def test_pooled(self):
        H = random_walk(n=20, depth=6, width=5)
        X, Y = H[:, :-1].reshape(-1, 5).T.numpy(), H[:, 1:].reshape(-1, 5).T.numpy()
        for svd_rank in (1, 3, 5):
            peer = DMD(svd_rank=svd_rank).fit(X, Y)
            result = dmd(H, operator="pooled", svd_rank=svd_rank, centering="none")
            same_set(result.eigenvalues, torch.from_numpy(peer.eigs).to(torch.complex128), 1e-9)


@pytest.mark.parametrize("centering", ["center", "zscore"])
def test_the_threshold_knows_how_long_a_joint_snapshot_is(centering):
    H = random_walk(n=40, depth=12, width=3, seed=2)
    H = H + 0.3 * torch.randn(H.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    Z = H - H.mean(dim=0)
    Z = Z / H.std(dim=0, correction=0) if centering == "zscore" else Z
    wanted = compute_rank(stacked(Z)[:, :-1], 0)
    assert 1 < wanted < 11
    assert dmd(H, svd_rank=0, centering=centering).svd_rank == wanted


def test_the_threshold_knows_how_many_transitions_are_pooled():
    generator = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0] for _ in range(2))
    X = U * torch.tensor([2.6, 2.6, 1, 1, 1, 1]).double() @ V  # 6 units, 3 stimuli x 2 transitions
    H = torch.cat([X.T.view(3, 2, 6), torch.randn(3, 1, 6, generator=generator).double()], dim=1)
    # the threshold is 2.86 medians for a square matrix, 2.4 for one of nine columns
    assert dmd(H, operator="pooled", svd_rank=0, centering="none").svd_rank == 1


@pytest.mark.parametrize("svd_rank", [1, 2, 3])
def test_projected_error_is_what_the_operator_in_the_subspace_leaves(svd_rank):
    H = random_walk()
    S = stacked(H)
    X, Y = S[:, :-1], S[:, 1:]
    U, _, Vh = np.linalg.svd(X, full_matrices=False)
    U, V = U[:, :svd_rank], Vh[:svd_rank].T
    error = np.linalg.norm(Y - U @ U.T @ Y @ V @ V.T) / np.linalg.norm(Y)
    result = dmd(H, svd_rank=svd_rank, centering="none", exact=False)
    assert result.reconstruction_error.item() == pytest.approx(error, abs=1e-9)


@pytest.mark.parametrize("exact", [True, False])
def test_pooled_equals_a_plain_operator(exact):
    H = random_walk(n=20, depth=6, width=5, seed=4)
    X, Y = H[:, :-1].reshape(-1, 5).T.numpy(), H[:, 1:].reshape(-1, 5).T.numpy()
    U, s, Vh = np.linalg.svd(X, full_matrices=False)
    U, s, V = U[:, :3], s[:3], Vh[:3].T
    eigenvalues, W = np.linalg.eig(U.T @ Y @ V / s)
    assert (eigenvalues.imag != 0).any()
    projections = np.einsum("jd,nld->nlj", np.linalg.inv(W) @ U.T, H.numpy())
    coordinates = np.mean([projections[:, k] / eigenvalues**k for k in range(6)], axis=0)
    result = dmd(H, operator="pooled", svd_rank=3, centering="none", exact=exact)
    order = same_set(torch.from_numpy(eigenvalues), result.eigenvalues, 1e-9)
    rms = np.sqrt((np.abs(coordinates) ** 2).mean(axis=0))
    np.testing.assert_allclose(result.amplitudes[order].numpy(), rms, rtol=1e-8)
    kept = Y @ V if exact else U.T @ Y @ V
    error = (1 - np.linalg.norm(kept) ** 2 / np.linalg.norm(Y) ** 2) ** 0.5
    assert result.reconstruction_error.item() == pytest.approx(error, abs=1e-9)
    # an eigenvector's phase is free: a mode's modulus is not
    columns = combine_depths(H, result)
    upper = result.eigenvalues[result.eigenvalues.imag >= 0]
    moduli, place = [], 0
    for eigenvalue in upper:
        width = 2 if eigenvalue.imag > 0 else 1
        moduli.append(columns[:, place : place + width].norm(dim=1))
        place += width
    wanted = np.abs(coordinates)[:, [int(np.argmin(np.abs(eigenvalues - e.item()))) for e in upper]]
    np.testing.assert_allclose(torch.stack(moduli, 1).numpy(), wanted, rtol=1e-8)
    both = combine_depths(H, result, phase="real")
    places = np.cumsum([0] + [2 if e.imag > 0 else 1 for e in upper])[:-1]
    twice = columns[:, places] * torch.where(upper.imag > 0, 2, 1)
    np.testing.assert_allclose(both.numpy(), twice.numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("svd_rank", [1, 2, 4])
def test_plain_svd(svd_rank, dtype):
    H = random_walk(dtype=dtype)
    eigenvalues, modes, error = plain_dmd(stacked(H), svd_rank)
    result = dmd(H, svd_rank=svd_rank, centering="none")
    order = same_set(result.eigenvalues, torch.from_numpy(eigenvalues).to(torch.complex128), 1e-9)
    got = torch.einsum("jl,nld->ndj", result.mode_coefficients, H.to(torch.complex128))
    np.testing.assert_allclose(got.reshape(-1, svd_rank).numpy(), modes[:, order], atol=1e-8)
    assert result.reconstruction_error.item() == pytest.approx(error, abs=1e-9)


class TestPlantedDynamics:
    def test_eigenvalues_return(self):
        wanted = torch.tensor([0.9, 0.5, -0.7], dtype=torch.float64)
        basis = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        A = basis @ torch.diag(wanted) @ torch.linalg.inv(basis)
        x0 = torch.randn(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        H = linear(A, x0, 8)
        for operator in OPERATORS:
            result = dmd(H, operator=operator, svd_rank=3, centering="none")
            for row in result.eigenvalues.reshape(-1, 3):
                same_set(row, wanted.to(row.dtype), 1e-6)
            assert float(result.reconstruction_error.max()) < 1e-6

    @pytest.mark.parametrize("modulus", [0.8, 1.25])
    def test_distance_to_the_unit_circle_has_no_sign(self, modulus):
        x0 = torch.randn(10, 2, generator=torch.Generator().manual_seed(0)).double()
        result = dmd(linear(modulus * torch.eye(2).double(), x0, 5), svd_rank=1, centering="center")
        assert result.distance_to_unit_circle.item() == pytest.approx(abs(modulus - 1))

    def test_rotation_is_a_unit_pair(self):
        turn = torch.tensor([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
        H = linear(turn, torch.randn(15, 2, generator=torch.Generator().manual_seed(0)).double(), 6)
        for centering in ("none", "center", "scale"):
            result = dmd(H, centering=centering)
            assert bool(result.is_pair)
            assert result.distance_to_unit_circle.item() < 1e-9
            assert abs(result.stable_eigenvalue.angle().item()) == pytest.approx(0.4, abs=1e-9)

    def test_the_decaying_mode_is_not_chosen(self):
        kept, fading = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
        generator = torch.Generator().manual_seed(0)
        a, b = torch.randn(2, 30, 1, generator=generator, dtype=torch.float64)
        H = torch.stack([a * kept * 0.98**power + 5 * b * fading * 0.4**power for power in range(6)], dim=1)
        features = stable_mode(H, centering="center")
        assert features.shape == (30, 3)
        # x_0's part along the surviving mode, and none of the larger fading one
        np.testing.assert_allclose(features, (a - a.mean()) * kept, atol=1e-9)
        fading_first = dmd(H, centering="center", criterion="amplitude")
        assert fading_first.stable_eigenvalue.real.item() == pytest.approx(0.4, abs=1e-9)

    def test_pooled_coordinates(self):
        generator = torch.Generator().manual_seed(3)
        basis = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        wanted = torch.tensor([0.9, 1e-4, -0.6], dtype=torch.float64)
        x0 = torch.randn(25, 3, generator=generator, dtype=torch.float64)
        H = linear(basis @ torch.diag(wanted) @ torch.linalg.inv(basis), x0, 9)
        noisy = H + 1e-7 * torch.randn(H.shape, generator=generator, dtype=torch.float64)
        coordinates = stable_mode(noisy, operator="pooled", svd_rank=3, centering="none")
        truth = x0 @ basis
        # 1e-4 to the power 8 would blow the noise up by 1e32: such depths must not enter the mean
        correlation = np.corrcoef(coordinates.T.numpy(), truth.T.numpy())[:3, 3:]
        assert np.sort(np.abs(correlation).max(axis=0)).min() > 0.999

    def test_a_pooled_mode_that_has_faded_keeps_its_size(self):
        x0 = torch.randn(25, 3, generator=torch.Generator().manual_seed(3)).double()
        H = linear(torch.diag(torch.tensor([0.9, 1e-4, -0.6]).double()), x0, 9)
        coordinates = stable_mode(H, operator="pooled", svd_rank=3, centering="none").abs()
        # along the axes, in some order: the mean runs over the depths that count, not over all nine
        distance = (coordinates[:, :, None] - x0.abs()[:, None]).norm(dim=0)
        assert float(distance.amin(dim=0).max()) < 1e-5

    def test_pooled_from_the_smaller_side(self):
        H = random_walk(n=3, depth=4, width=20)
        wide = dmd(H, operator="pooled", svd_rank=3, centering="none")
        rotation = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0][:, :20]
        tall = dmd(
            (H @ rotation).repeat(5, 1, 1), operator="pooled", svd_rank=3, centering="none"
        )  # 45 transitions
        same_set(wide.eigenvalues, tall.eigenvalues, 1e-9)


class TestInvariances:
    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("centering", CENTERINGS)
    def test_order_of_stimuli(self, operator, centering):
        H = random_walk()
        order = torch.randperm(len(H), generator=torch.Generator().manual_seed(0))
        one = stable_mode(H, operator=operator, centering=centering)
        other = stable_mode(H[order], operator=operator, centering=centering)
        np.testing.assert_allclose(other, one[order], atol=1e-8)

    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("centering", ["none", "center", "scale"])
    def test_rotation_of_units(self, operator, centering):
        H = random_walk()
        rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double())[0]
        one = stable_mode(H, operator=operator, centering=centering)
        turned = stable_mode(H @ rotation, operator=operator, centering=centering)
        halves = [half if operator == "pooled" else half @ rotation for half in one.split(5, dim=1)]
        np.testing.assert_allclose(turned, torch.cat(halves, dim=1), atol=1e-8)

    @pytest.mark.parametrize("operator", ["joint", "per_stimulus"])
    def test_sign_and_scale_travel_through(self, operator):
        H = random_walk()
        one = stable_mode(H, operator=operator, centering="center")
        np.testing.assert_allclose(
            stable_mode(-3 * H, operator=operator, centering="center"), -3 * one, atol=1e-8
        )

    @pytest.mark.parametrize("centering", ["center", "scale", "zscore"])
    @pytest.mark.parametrize("operator", ["joint", "per_stimulus"])
    def test_common_vector_drops_out(self, operator, centering):
        H = random_walk()
        offset = 30 * torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        one = stable_mode(H, operator=operator, centering=centering)
        np.testing.assert_allclose(
            stable_mode(H + offset, operator=operator, centering=centering), one, atol=1e-7
        )


class TestCentering:
    @pytest.mark.parametrize("operator", OPERATORS)
    def test_is_done_before_everything(self, operator):
        H = random_walk()
        centered = H - H.mean(dim=0)
        by_hand = {
            "none": H,
            "center": centered,
            "scale": centered / centered.norm(dim=(0, 2), keepdim=True),
            "zscore": centered / H.std(dim=0, correction=0),
        }
        for centering, Z in by_hand.items():
            got = stable_mode(H, operator=operator, centering=centering)
            wanted = stable_mode(Z, operator=operator, centering="none")
            np.testing.assert_allclose(got, wanted, atol=1e-8)

    def test_a_unit_that_is_rounding_counts_for_nothing(self):
        H = random_walk(n=30, dtype=torch.float32)
        # about 1e7 the last place of float32 is 1: a deviation of one half, blown up or not, is no signal
        rounding = 1e7 + (torch.arange(30) % 2).float()[:, None, None].expand(30, 7, 1)
        for operator in ("joint", "per_stimulus"):
            alone = combine_depths(H, dmd(H, centering="zscore", operator=operator), phase="real")
            both = torch.cat([H, rounding], dim=2)
            beside = combine_depths(both, dmd(both, centering="zscore", operator=operator), phase="real")
            np.testing.assert_allclose(beside[:, :5], alone, atol=1e-5)
            assert not beside[:, 5].any()

    def test_a_depth_that_is_rounding_is_dead_however_many_stimuli(self):
        H = random_walk(n=3000, depth=4, width=2, dtype=torch.float32)
        H[:, 1] = 1e7 + (torch.arange(3000) % 2).float()[:, None]
        with pytest.warns(RuntimeWarning, match=r"same state at depth \[1\]"):
            dmd(H, centering="center")

    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("centering", CENTERINGS)
    def test_chunks_change_nothing(self, operator, centering, monkeypatch):
        H = random_walk(n=13)
        whole = stable_mode(H, operator=operator, centering=centering)
        # 4, 4, 4 and 1 stimuli
        monkeypatch.setattr(sys.modules["nfas_lightning.functional.depth_gram"], "_CHUNK_CPU", 4 * 35)
        parts = stable_mode(H, operator=operator, centering=centering)
        np.testing.assert_allclose(parts, whole, atol=1e-8)


class TestDegenerate:
    def test_too_few_depths(self):
        with pytest.raises(ValueError, match=r"L >= 3 depths .* got L = 2"):
            dmd(torch.randn(5, 2, 4))

    def test_one_stimulus(self):
        with pytest.raises(ValueError, match="centering='scale' needs N >= 2 stimuli, got N = 1"):
            dmd(torch.randn(1, 5, 4))
        assert stable_mode(random_walk(n=1), centering="none").shape[0] == 1
        with pytest.raises(ValueError, match="got N = 0"):
            dmd(torch.randn(0, 5, 4), centering="none")

    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("centering", ["center", "scale", "zscore"])
    def test_a_constant_depth_gives_nan(self, operator, centering):
        H = random_walk(dtype=torch.float32)
        H[:, 2] = torch.randn(5)
        with pytest.warns(RuntimeWarning, match=r"same state at depth \[2\]"):
            result = dmd(H, operator=operator, centering=centering)
        assert bool(result.eigenvalues.isnan().all())
        assert bool(result.reconstruction_error.isnan().all())
        assert bool(combine_depths(H, result).isnan().all())

    @pytest.mark.parametrize("operator", ["joint", "per_stimulus"])
    def test_zeros_give_nan(self, operator):
        with pytest.warns(RuntimeWarning, match="no part in any mode"):
            features = stable_mode(torch.zeros(4, 5, 3), operator=operator, centering="none")
        assert bool(features.isnan().all())

    def test_one_empty_stimulus_loses_nobody_else(self):
        H = random_walk()
        H[3] = 0
        with pytest.warns(RuntimeWarning, match="1 of 12 trajectories"):
            features = stable_mode(H, operator="per_stimulus", centering="none")
        assert features.isnan().any(dim=1).nonzero().flatten().tolist() == [3]
        H = random_walk(n=60, depth=5, width=3)
        H[:25] = 0
        with pytest.warns(RuntimeWarning, match="25 of 60 trajectories"):
            rate = dmd(H, operator="per_stimulus", centering="none").jump_rate
        assert rate == dmd(H[25:], operator="per_stimulus", centering="none").jump_rate
        assert 0 < rate < 1

    def test_a_constant_trajectory_has_one_mode_at_one(self):
        state = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0))
        result = dmd(state.expand(6, 5, 4), svd_rank=3)
        assert result.svd_rank == 1
        assert result.stable_eigenvalue.item() == pytest.approx(1)
        assert result.reconstruction_error.item() < 1e-6

    def test_rank_deficiency_is_dropped(self):
        H = linear(torch.diag(torch.tensor([0.9, 0.5])), torch.randn(8, 2), 7)
        for operator in OPERATORS:
            result = dmd(H, operator=operator, svd_rank=-1, centering="none")
            assert result.svd_rank == 2

    def test_repeated_eigenvalues_stay_finite(self):
        drift = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)  # x_l = a + l b: a Jordan block
        H = linear(drift, torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double(), 6)
        for operator in OPERATORS:
            result = dmd(H, operator=operator, centering="none")
            np.testing.assert_allclose(result.eigenvalues.abs(), 1, atol=1e-4)
            assert bool(torch.isfinite(combine_depths(H, result)).all())

    @pytest.mark.parametrize("operator", OPERATORS)
    @pytest.mark.parametrize("centering", CENTERINGS)
    def test_nan_is_an_error_that_says_where(self, operator, centering):
        H = random_walk()
        H[4, 2, 1] = torch.nan
        with pytest.raises(ValueError, match=r"H must be finite.*\(4, 2, 1\)"):
            dmd(H, operator=operator, centering=centering)


class TestContract:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("operator", OPERATORS)
    def test_dtypes_and_no_side_effect(self, dtype, operator):
        H = random_walk(dtype=dtype)
        before = H.clone()
        features = stable_mode(H, operator=operator)
        assert features.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.equal(H, before)
        wanted = stable_mode(H.double(), operator=operator)
        np.testing.assert_allclose(features, wanted, atol=1e-6 * float(wanted.abs().max()))

    def test_shapes(self):
        H = random_walk()
        for operator, lead in (("joint", ()), ("per_stimulus", (12,))):
            result = dmd(H, operator=operator, svd_rank=3)
            assert result.eigenvalues.shape == (*lead, 3)
            assert result.amplitudes.shape == (*lead, 3)
            assert result.mode_coefficients.shape == (*lead, 3, 7)
            assert result.coefficients.shape == (*lead, 7)
            assert result.reconstruction_error.shape == lead
        assert dmd(H).jump_rate is None
        assert 0 <= dmd(H, operator="per_stimulus").jump_rate <= 1
        assert dmd(H, operator="pooled").left_vectors.shape == (5, 2)

    def test_no_warning_on_good_input(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for operator in OPERATORS:
                stable_mode(random_walk(), operator=operator)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"operator": "each"}, "operator must be one of 'joint'"),
            ({"centering": "demean"}, "centering must be one of 'none'"),
            ({"criterion": "largest"}, "criterion must be one of 'unit_circle'"),
            ({"phase": "both"}, "phase must be one of 'quadrature'"),
            ({"svd_rank": 1.5}, "svd_rank must be a positive int"),
            ({"svd_rank": -2}, "svd_rank must be a positive int"),
            ({"svd_rank": True}, "svd_rank must be a positive int"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            stable_mode(random_walk(), **options)
