"""Variance partitioning: analytic cases, a null, and intervals that are those of the parts."""

import pytest
import torch

from nfas_lightning.functional.banded_ridge import banded_ridge_cv
from nfas_lightning.functional.partition import partition_parts, partition_subsets, variance_partition

GRID = torch.logspace(-1, 4, 6, dtype=torch.float64)
OPTIONS = {"alphas": GRID, "weights": 7, "n_inner_folds": 3}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_parts_of_a_venn_diagram_add_up_to_any_union():
    # parts that are planted, unions as sums of all parts that touch them
    for n_sets in (2, 3, 4):
        subsets = partition_subsets(n_sets)
        planted = draw(len(subsets), 3, seed=n_sets)
        unions = torch.stack(
            [
                sum(part for some, part in zip(subsets, planted, strict=True) if set(some) & set(union))
                for union in subsets
            ]
        )
        torch.testing.assert_close(partition_parts(unions), planted)
    with pytest.raises(ValueError, match="2\\^K - 1 unions, got 4"):
        partition_parts(planted[:4])


def test_orthogonal_sets_are_unique_and_identical_ones_shared():
    A, B, noise = draw(400, 3), draw(400, 3, seed=1), draw(400, 4, seed=2)
    Y = torch.stack([A.sum(1), B.sum(1), A.sum(1) + B.sum(1), 0 * A.sum(1)], 1) + noise
    found = variance_partition({"a": A, "b": B}, Y, **OPTIONS)
    assert found.subsets == (("a",), ("b",), ("a", "b"))
    a, b, shared = found.r2_parts
    # signal of 3 in variance, noise of 1: r2 is .75, and 6 / 7 in two halves where both have a part
    expected = torch.tensor([[0.75, 0, 3 / 7, 0], [0, 0.75, 3 / 7, 0], [0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(found.r2_parts, expected, atol=0.06, rtol=0)
    torch.testing.assert_close(a + b + shared, found.r2_unions[2])
    torch.testing.assert_close(
        found.r2_unions[2], banded_ridge_cv(torch.cat([A, B], 1), Y, (3, 3), **OPTIONS).r2
    )
    limits = found.interval(Y[None], n_draws=200)
    assert (limits.low < found.r2_parts).all()
    assert (limits.low[[0, 1], [0, 1]] > 0.5).all()
    assert (limits.low[[0, 1], [1, 0]] < 0).all()  # nothing unique where nothing was planted
    assert (limits.low[:, 3] < 0).all()
    assert (limits.high[:2, 3] < 0.05).all()
    same = variance_partition({"a": A, "b": A.clone()}, Y[:, :1], **OPTIONS)
    torch.testing.assert_close(same.r2_parts[:2], torch.zeros(2, 1).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(same.r2_parts[2], same.r2_unions[0])


def test_unique_parts_of_noise_lie_inside_their_intervals():
    outside = 0
    for seed in range(2):
        A, B, C, Y = (draw(90, n, seed=10 * seed + n) for n in (2, 3, 4, 30))
        found = variance_partition({"a": A, "b": B, "c": C}, Y, n_folds=3, **OPTIONS)
        limits = found.interval(Y[None], n_draws=60)
        outside += int(((limits.low > 0) | (limits.high < 0))[:3].sum())
    assert outside <= 18  # of 180: 9 expected at 95 %


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="two to 5 named feature sets, got 1"):
        variance_partition({"a": draw(20, 2)}, draw(20, 1))
    with pytest.raises(ValueError, match=r"sets\['b'\] must have shape \(T=20, P\), got \(19, 2\)"):
        variance_partition({"a": draw(20, 2), "b": draw(19, 2)}, draw(20, 1))
