"""Decomposition of Grams: ranks, the stable mode, closed forms."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from pydmd.utils import compute_rank

from nfas_lightning.functional.dmd import (
    combine_depths,
    dmd,
)
from nfas_lightning.functional.gram_spectrum import choose_mode, effective_rank, eigen_parts, jump_rate
from nfas_lightning.functional.ridge import ridge_cv
from tests.helpers.dynamics import random_walk, same_set

planted = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "features_planted.py"))["planted"]


SPECTRUM = torch.tensor([[0.5, 1.3, -0.97, 0.3 + 0.93j, 0.3 - 0.93j]], dtype=torch.complex128)
AMPLITUDES = torch.tensor([[9.0, 1.0, 1.0, 2.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("criterion", "index"), [("unit_circle", 3), ("unit", 1), ("dominant", 1), ("amplitude", 0)]
)
def test_criteria(criterion, index):
    assert choose_mode(SPECTRUM, AMPLITUDES, criterion).item() == index


def test_ties_go_to_the_larger_amplitude():
    spectrum = torch.tensor([[1.0, -1.0, 1j, -1j]], dtype=torch.complex128)
    assert choose_mode(spectrum, torch.tensor([[1.0, 3.0, 2.0, 2.0]]).double(), "unit_circle").item() == 1
    assert choose_mode(spectrum, torch.tensor([[1.0, 3.0, 4.0, 4.0]]).double(), "unit_circle").item() == 2


def test_unit_looks_at_the_angle_too():
    spectrum = torch.tensor([[1 + 0.9j, 1 - 0.9j, 0.8]], dtype=torch.complex128)
    assert choose_mode(spectrum, torch.ones(1, 3).double(), "unit").item() == 2


def test_rounding_breaks_no_tie():
    spectrum = torch.tensor([[1.0, -1.0 + 1e-12]], dtype=torch.complex128)
    assert choose_mode(spectrum, torch.tensor([[1.0, 3.0]]).double(), "unit_circle").item() == 1


def test_a_mode_without_amplitude_is_never_chosen():
    spectrum = torch.tensor([[1.0, 0.2]], dtype=torch.complex128)
    assert choose_mode(spectrum, torch.tensor([[0.0, 1.0]]).double(), "unit_circle").item() == 1


def test_jump_rate():
    eigenvalues = torch.tensor([[0.95, 0.4], [0.94, 0.5], [0.96, 0.3], [0.6, 0.93]]).to(torch.complex128)
    assert jump_rate(eigenvalues, torch.tensor([0, 0, 0, 1])) == 0
    assert jump_rate(eigenvalues, torch.tensor([0, 0, 0, 0])) == 0.25  # the last one's mode is elsewhere
    eigenvalues[3] = torch.tensor([0.95 + 0.01j, 0.95 - 0.01j])
    assert jump_rate(eigenvalues, torch.tensor([0, 0, 0, 0])) == 0.25  # a pair among real modes


def test_closed_form_equals_eig():
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(50, 2, 2, generator=generator, dtype=torch.float64)
    start = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    eigenvalues, parts = eigen_parts(A, start)
    AP = A.to(parts.dtype) @ parts
    np.testing.assert_allclose(AP, parts * eigenvalues[:, None], atol=1e-10)
    np.testing.assert_allclose(parts.sum(dim=2).real, start, atol=1e-10)
    for row, block in zip(eigenvalues, A, strict=True):
        same_set(row, torch.linalg.eigvals(block), 1e-10)
    # of equal eigenvalues the first takes all
    _, parts = eigen_parts(0.5 * torch.eye(2, dtype=torch.float64).expand(50, 2, 2), start)
    np.testing.assert_array_equal(parts[:, :, 0].real, start)
    assert not parts[:, :, 1].any()


@pytest.mark.parametrize("shape", [(20, 200), (200, 50), (60, 60)])
def test_optimal_hard_threshold_is_that_of_the_marchenko_pastur_law(shape):
    # Gavish and Donoho's exact threshold over the root of the law's median; their cubic is within 0.02
    beta = min(shape) / max(shape)
    low, high = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2
    x = np.linspace(low, high, 200_001)[1:-1]
    mass = np.cumsum(np.sqrt((high - x) * (x - low)) / x)
    median = x[np.searchsorted(mass, mass[-1] / 2)]
    exact = (2 * (beta + 1) + 8 * beta / (beta + 1 + (beta**2 + 14 * beta + 1) ** 0.5)) ** 0.5 / median**0.5
    s = torch.ones(1, min(shape), dtype=torch.float64)
    s[0, :5] = exact + torch.tensor([3.0, 1.0, 0.04, -0.04, -0.2])
    assert int(effective_rank(s, *shape, 0)) == 3
    assert int(effective_rank(torch.ones(1, min(shape)).double(), *shape, 0)) == 1  # never none


def test_threads_share_a_large_batch(monkeypatch):
    H = random_walk(n=350)
    alone = dmd(H, operator="per_stimulus")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = dmd(H, operator="per_stimulus")
    assert torch.equal(shared.eigenvalues, alone.eigenvalues)
    assert torch.equal(shared.coefficients, alone.coefficients)


@pytest.mark.parametrize("shape", [(40, 7), (5, 7), (300, 20)])
@pytest.mark.parametrize("svd_rank", [0, 1, 3, 100, 0.3, 0.9, 0.999, -1])
def test_svd_rank_convention(shape, svd_rank):
    X = np.random.default_rng(0).standard_normal(shape) * np.logspace(0, -2, shape[1])
    s = torch.from_numpy(np.linalg.svd(X, compute_uv=False))
    got = effective_rank(torch.nn.functional.pad(s, (0, shape[1] - len(s)))[None], *shape, svd_rank)
    assert int(got) == compute_rank(X, svd_rank)


@pytest.mark.parametrize(("depth", "rank"), [(3, 1), (4, 1), (5, 2), (6, 2), (12, 2), (40, 2)])
@pytest.mark.parametrize("operator", ["joint", "per_stimulus"])
def test_every_direction_has_two_transitions(depth, rank, operator):
    H = torch.randn(20, depth, 8, generator=torch.Generator().manual_seed(depth), dtype=torch.float64)
    result = dmd(H, operator=operator)
    assert result.svd_rank == rank
    chosen = dmd(H, operator=operator, svd_rank=rank)
    assert torch.equal(result.mode_coefficients, chosen.mode_coefficients)
    assert dmd(H, operator=operator, svd_rank=2).svd_rank == 2  # who names a rank gets it
    # one operator on the transitions of all stimuli carries more
    assert dmd(H, operator="pooled").svd_rank == 2


def mean_r(depth, driver, svd_rank, n_brains=6):
    scores = []
    for seed in range(n_brains):
        H, Y = planted(seed, depth, driver, n=120, width=32, units=4, n_rois=6)
        features = combine_depths(H, dmd(H, svd_rank=svd_rank))
        scores.append(ridge_cv(features, Y, selection="loo", scaling="common").r.mean())
    return float(torch.stack(scores).mean())


@pytest.mark.parametrize("driver", ["lasting", "turning", "fading"])
def test_four_blocks_carry_one_direction(driver):
    assert mean_r(4, driver, None) > mean_r(4, driver, 2) - 0.01
    assert driver != "fading" or mean_r(4, driver, None) > mean_r(4, driver, 2) + 0.05


def test_deeper_networks_need_two_directions_to_turn():
    assert mean_r(9, "turning", None) > mean_r(9, "turning", 1) + 0.1
    assert mean_r(9, "lasting", None) > mean_r(9, "lasting", 1) - 0.05
    # a third splits what lasts from what turns, and the mode that is chosen has one of them
    assert mean_r(9, "lasting", None) + mean_r(9, "turning", None) > mean_r(9, "lasting", 3) + mean_r(
        9, "turning", 3
    )
