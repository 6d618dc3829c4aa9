"""A space beside its control: do statistics differ between trained networks and their untrained twins?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_finite, check_shape, seeded_generator
from nfas_lightning.functional.embedding import DistanceMetric, distances
from nfas_lightning.functional.relabeling import (
    BLOCK,
    TIE,
    Labels,
    check_permutations,
    encode_labels,
    group_sizes,
)
from nfas_lightning.functional.silhouette import silhouette_samples

__all__ = ["STATISTICS", "ControlResult", "MovedResult", "compare_spaces", "exchange_test", "moved_responses"]

STATISTICS = ("permanova", "silhouette", "anova", "snci", "convergence")
"""Pseudo-F; mean silhouette; eta squared, bounded SNCI and convergence as means over ROIs."""


class ControlResult(NamedTuple):
    """K statistics of two spaces of the same models.

    Attributes:
        first: (K,) of the space itself.
        second: (K,) of its control.
        difference: (K,) first minus second.
        p_value: (K,) two-sided p of the difference, in (0, 1].
        n_permutations: exchanges beside the observed one; all of them where there are no more.
    """

    first: Tensor
    second: Tensor
    difference: Tensor
    p_value: Tensor
    n_permutations: int


def exchange_test(
    statistics: Callable[[Tensor], Tensor], n_pairs: int, *, n_permutations: int = 999, seed: int = 0
) -> ControlResult:
    r"""Test whether statistics of M models differ from those of M controls, one control for each model.

    .. math:: p_k = \frac{1 + \#\{|d_k^*| \ge |d_k|\}}{1 + P}, \quad
        d_k = s_k(\text{space}) - s_k(\text{control})

    If training made no difference, a model and its control could be exchanged. Each draw exchanges each pair
    with probability one half and computes both spaces' statistics again.

    Args:
        statistics: takes rows (P, M) of models and controls stacked, where column m is m or M + m, and
            returns (P, K) numbers.
        n_pairs: M.
        n_permutations: draws; if there are no more than this many exchanges, each is computed once.
        seed: seed of the draws; the global generator is untouched.

    Returns:
        `ControlResult`. A statistic that is undefined in either space has p NaN; one that is undefined after
        an exchange counts against significance.

    Raises:
        ValueError: fewer than one pair or draw.

    Reference:
        Fisher (1935), The Design of Experiments, section 21.

    Example:
        >>> values = torch.tensor([3.0, 4.0, 5.0, 6.0, 1.0, 1.0, 2.0, 2.0])
        >>> result = exchange_test(lambda rows: values[rows].mean(1, keepdim=True), 4)
        >>> result.difference.item(), result.p_value.item()
        (3.0, 0.125)
    """
    check_permutations(n_permutations)
    if n_pairs < 1:
        raise InputError(f"n_pairs must be at least 1, got {n_pairs}.")
    # exchanging all pairs changes the sign alone: the first stays, and half of the exchanges are left
    exhaustive = n_pairs <= 40 and 2 ** (n_pairs - 1) <= n_permutations + 1
    if exhaustive:
        drawn = (torch.arange(1, 2 ** (n_pairs - 1))[:, None] >> torch.arange(n_pairs)) & 1
    else:
        drawn = torch.randint(2, (n_permutations, n_pairs), generator=seeded_generator(seed))
    exchanged = torch.cat([torch.zeros(1, n_pairs, dtype=torch.int64), drawn])
    rows = torch.arange(n_pairs) + n_pairs * exchanged
    first, second = (
        statistics(rows).double(),
        statistics(torch.arange(n_pairs) + n_pairs * (1 - exchanged)).double(),
    )
    difference = first - second
    reached = difference[1:].abs() >= difference[0].abs() * (1 - TIE)
    exceed = (reached | difference[1:].isnan()).sum(0).double()
    p_value = ((1 + exceed) / len(rows)).masked_fill(difference[0].isnan(), torch.nan)
    return ControlResult(first[0], second[0], difference[0], p_value, len(rows) - 1)


def compare_spaces(
    scores: Tensor,
    control: Tensor,
    groups: Labels,
    *,
    vectors: tuple[Tensor, Tensor] | None = None,
    metric: DistanceMetric = "euclidean",
    n_permutations: int = 999,
    seed: int = 0,
) -> ControlResult:
    """Compare the statistics of a space with those of its control, such as the untrained twins.

    Where untrained networks cluster as trained ones do, a cluster says nothing about what training gives.

    Args:
        scores: (M, R) scores of the models.
        control: (M, R) scores of their controls.
        groups: M strings or integers, the group of each model; groups of one count in no statistic.
        vectors: both as geometry and ANOVA see them, (M, R) each; None: the scores.
        metric: of the distances between models.
        n_permutations: see `exchange_test`.
        seed: see `exchange_test`.

    Returns:
        `ControlResult` of `STATISTICS`.

    Raises:
        ValueError: shapes that differ, scores that are not finite, one group, or only groups of one.

    Example:
        >>> trained = torch.tensor([[0.5, 0.1], [0.6, 0.1], [0.1, 0.5], [0.1, 0.6]])
        >>> untrained = torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.2, 0.3], [0.1, 0.1]])
        >>> result = compare_spaces(trained, untrained, ["vision", "vision", "audio", "audio"])
        >>> dict(zip(STATISTICS, result.difference.round(decimals=2).tolist()))["silhouette"]
        1.1
    """
    check_shape("scores", scores, "M R")
    check_shape("control", control, "M R", M=scores.shape[0], R=scores.shape[1])
    both = torch.cat([scores, control]).double()
    check_finite("scores and control", both)
    seen = both if vectors is None else torch.cat(vectors).double()
    codes, names = encode_labels(groups, len(scores))
    sizes = group_sizes(codes, len(names))
    kept = (sizes[codes] > 1).nonzero()[:, 0]
    named = torch.unique(codes[kept], return_inverse=True)[1]
    if int(named.max()) < 1:
        raise InputError(f"groups must name at least two groups of two models, got {sizes.tolist()} members.")
    members = torch.nn.functional.one_hot(named).to(both)
    between = distances(seen, metric)
    step = max(1, BLOCK // (8 * max(len(kept) ** 2, both[: len(scores)].numel())))

    def statistics(rows: Tensor) -> Tensor:
        rows = rows[:, kept].to(both.device)
        parts = [_statistics(both, seen, between, members, part) for part in torch.split(rows, step)]
        return torch.cat(parts)

    return exchange_test(statistics, len(scores), n_permutations=n_permutations, seed=seed)


class MovedResult(NamedTuple):
    """How far groups sit apart, against spaces in which no network predicts anything.

    Attributes:
        statistic: () sum of squares between groups.
        p_value: () in (0, 1]; small is evidence.
        n_draws: spaces of moved responses.
    """

    statistic: Tensor
    p_value: Tensor
    n_draws: int


def moved_responses(
    scores: Tensor, null: Tensor, groups: Labels, *, metric: DistanceMetric = "euclidean"
) -> MovedResult:
    r"""Test whether groups sit further apart than where responses have nothing to do with the stimuli.

    .. math:: SS_A = \frac{1}{M} \sum_{i<j} d_{ij}^2 - \sum_g \frac{1}{n_g} \sum_{i<j \in g} d_{ij}^2

    Networks that read the same stimuli share what they get wrong: where no network predicts anything, their
    scores are noise, but common noise, and groups that read different stimuli cluster. Relabeling models does
    not see that. Here the null has it: the same moves of the responses for all models, scored in the same
    way.

    Args:
        scores: (M, R) as geometry sees them.
        null: (P, M, R) the same on moved responses, see `ridge_null`.
        groups: M strings or integers, the group of each model.
        metric: of the distances between models.

    Returns:
        `MovedResult`, float64; p is no smaller than 1 / (P + 1). NaN where distances are.

    Raises:
        ValueError: shapes that differ, one group, or only groups of one.

    Example:
        >>> null = 0.1 * torch.randn(99, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> scores = torch.tensor([[0.5, 0.0, 0.0], [0.6, 0.0, 0.1], [0.0, 0.5, 0.0], [0.1, 0.6, 0.0]])
        >>> float(moved_responses(scores, null, ["vision", "vision", "audio", "audio"]).p_value)
        0.01
    """
    check_shape("scores", scores, "M R")
    check_shape("null", null, "P M R", M=scores.shape[0], R=scores.shape[1])
    codes, names = encode_labels(groups, len(scores))
    sizes = group_sizes(codes, len(names)).to(scores.device, torch.float64)
    codes = codes.to(scores.device)
    total = 1 / (2 * len(scores))
    weights = total - (codes[:, None] == codes) / (2 * sizes[codes])

    def apart(space: Tensor) -> Tensor:
        return (distances(space, metric) ** 2 * weights).sum()

    observed = apart(scores)
    reached = torch.stack([~(apart(draw) < observed * (1 - TIE)) for draw in null.double()])
    p_value = (1 + reached.sum().double()) / (1 + len(null))
    return MovedResult(observed, p_value.masked_fill(observed.isnan(), torch.nan), len(null))


def _statistics(scores: Tensor, vectors: Tensor, between: Tensor, members: Tensor, rows: Tensor) -> Tensor:
    """Return (P, 5) `STATISTICS` of the models in rows (P, M), whose groups are members (M, G)."""
    n, n_groups = members.shape
    sizes = members.sum(0)
    distance = between[rows[:, :, None], rows[:, None, :]]
    squared = distance**2
    together = (members / (2 * sizes)) @ members.T
    within, total = (squared * together).sum((1, 2)), squared.sum((1, 2)) / (2 * n)
    pseudo_f = ((total - within) / (n_groups - 1)) / (within / (n - n_groups))
    width = silhouette_samples(distance @ members, members).mean(1)

    def level(values: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (P, G, R) and the sums of squares about them."""
        means = members.T @ values / sizes[:, None]
        return means, members.T @ (values - (members @ means)) ** 2

    values = vectors[rows]
    means, spread = level(values)
    effect = (sizes[:, None] * (means - values.mean(1, keepdim=True)) ** 2).sum(1)
    eta_squared = (effect / (effect + spread.sum(1))).nanmean(1)
    means, spread = level(scores[rows])
    bounded = means**2 / (means**2 + spread / (sizes[:, None] - 1))
    return torch.stack(
        [pseudo_f, width, eta_squared, bounded.flatten(1).nanmean(1), bounded.amin(1).nanmean(1)], dim=1
    )
