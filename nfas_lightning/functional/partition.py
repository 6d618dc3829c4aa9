"""Variance partitioning: what feature sets explain of a response alone, and what they explain in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.banded_ridge import banded_ridge_cv
from nfas_lightning.functional.checks import check_device, check_shape
from nfas_lightning.functional.correlation import squared_correlation
from nfas_lightning.functional.intervals import BootstrapDraws, Interval, bootstrap_scores, interval
from nfas_lightning.functional.standardization import Scaling

__all__ = ["Partition", "partition_parts", "partition_subsets", "variance_partition"]

_MOST = 5  # sets: 31 unions to fit, and nobody reads more parts


@dataclass(frozen=True)
class Partition:
    """What K feature sets explain, divided among the 2^K - 1 subsets of them.

    Attributes:
        subsets: names in each subset, by size.
        r2_unions: (2^K - 1, R) r2 of all of a subset's sets in one encoding model.
        r2_parts: (2^K - 1, R) what the sets of a subset, and no other, explain each: unique to a set where
            it is the only one, else shared by all of them. They add up to r2 of all sets. Negative where
            two sets explain more together than the sum of both, and by noise.
        preds: (2^K - 1, T, R) out-of-fold predictions of the unions.
        fold: (T,) index of the fold that tested each row, -1 for none.
    """

    subsets: tuple[tuple[str, ...], ...]
    r2_unions: Tensor
    r2_parts: Tensor
    preds: Tensor
    fold: Tensor

    def draw(self, targets: Tensor, **bootstrap: Any) -> BootstrapDraws:
        """Draw the parts anew from resampled rows and subjects, (B, 2^K - 1, R).

        Args:
            targets: (S, T, R) responses of each subject, or (1, T, R).
            bootstrap: ``block_length``, ``units``, ``n_draws`` and ``seed`` of `bootstrap_scores`.
        """
        draws = bootstrap_scores(self.preds, targets, self.fold, **bootstrap)
        return draws.map(lambda r: partition_parts(squared_correlation(r)))

    def interval(self, targets: Tensor, *, confidence: float = 0.95, **bootstrap: Any) -> Interval:
        """Return intervals of the parts, (2^K - 1, R), paired on the same resamples; see `draw`."""
        draws = self.draw(targets, **bootstrap)
        return interval(self.r2_parts.to(draws.stimuli), draws, confidence=confidence)


def variance_partition(
    sets: Mapping[str, Tensor],
    Y: Tensor,
    *,
    scaling: Scaling | Mapping[str, Scaling] = "unit",
    **encoding: Any,
) -> Partition:
    r"""Divide the variance that feature sets explain of held-out responses into unique and shared parts.

    Every union of sets is encoded by `banded_ridge_cv`, with a penalty per set. With f(U) the r2 of the union
    U of some of the sets A, what exactly the sets S have in common is

    .. math:: \mathrm{part}(S) = \sum_{T \subseteq S} (-1)^{|T| + 1} f((A \setminus S) \cup T),
              \qquad f(\emptyset) = 0

    For two sets, r2 of both less that of the other is unique, and the sum of both less that of both together
    is shared. r2 of noise is above zero, by about 1 / T for each union, so that a shared part is a little too
    large and a unique one hardly.

    Args:
        sets: two to five names and features (T, P_k), on the responses' clock: those of a network, of
            another, nuisances.
        Y: (T, R) responses, NaN where missing.
        scaling: see `banded_ridge_cv`; of all sets, or by name.
        encoding: other options of `banded_ridge_cv`: ``groups``, ``n_folds``, ``gap`` and so on. With
            ``nuisances`` what the sets have in common with those is left out.

    Returns:
        `Partition`; NaN where a union scores NaN.

    Raises:
        ValueError: another number of sets, shapes that disagree, or as `banded_ridge_cv`.

    Reference:
        Borcard, Legendre and Drapeau (1992), Ecology 73, 1045-1055, doi:10.2307/1940179; Lescroart, Stansbury
        and Gallant (2015), Front. Comput. Neurosci. 9, 135, doi:10.3389/fncom.2015.00135.

    Example:
        >>> X = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
        >>> found = variance_partition({"a": X[:, :2], "b": X[:, 1:3]}, X[:, :1] + X[:, 1:2])
        >>> found.subsets
        (('a',), ('b',), ('a', 'b'))
        >>> bool(found.r2_parts[0] > 0.3)  # a alone knows one of two
        True
        >>> round(float(found.r2_parts[1]), 1)  # b knows nothing of its own
        0.0
    """
    if not 2 <= len(sets) <= _MOST:
        raise InputError(f"sets must be two to {_MOST} named feature sets, got {len(sets)}: {list(sets)}.")
    for name, X in sets.items():
        check_shape(f"sets[{name!r}]", X, "T P", T=len(Y))
        check_device(f"sets[{name!r}]", X, "Y", Y)
    names = list(sets)
    subsets = tuple(tuple(names[k] for k in subset) for subset in partition_subsets(len(sets)))
    fits = [
        banded_ridge_cv(
            torch.cat([sets[name] for name in subset], 1),
            Y,
            [sets[name].shape[1] for name in subset],
            scaling=scaling if isinstance(scaling, str) else [scaling[name] for name in subset],
            **encoding,
        )
        for subset in subsets
    ]
    r2 = torch.stack([fit.r2 for fit in fits])
    return Partition(
        subsets=subsets,
        r2_unions=r2,
        r2_parts=partition_parts(r2),
        preds=torch.stack([fit.preds for fit in fits if fit.preds is not None]),
        fold=fits[0].fold,
    )


def partition_subsets(n_sets: int) -> list[tuple[int, ...]]:
    """Return the subsets of K sets that are not empty, by size.

    >>> partition_subsets(2)
    [(0,), (1,), (0, 1)]
    """
    return [some for size in range(1, n_sets + 1) for some in combinations(range(n_sets), size)]


def partition_parts(r2_unions: Tensor) -> Tensor:
    """Return the parts (..., 2^K - 1, R) of what unions explain, (..., 2^K - 1, R), see `variance_partition`.

    Args:
        r2_unions: in the order of `partition_subsets`.

    Example:
        >>> partition_parts(torch.tensor([[0.5], [0.25], [0.625]])).T
        tensor([[0.3750, 0.1250, 0.1250]])
    """
    n_sets = (r2_unions.shape[-2] + 1).bit_length() - 1
    subsets = partition_subsets(n_sets)
    if len(subsets) != r2_unions.shape[-2]:
        raise InputError(f"r2_unions must hold 2^K - 1 unions, got {r2_unions.shape[-2]}.")
    place = {frozenset(subset): k for k, subset in enumerate(subsets)}
    signs = r2_unions.new_zeros(len(subsets), len(subsets))
    for row, subset in enumerate(subsets):
        others = frozenset(range(n_sets)) - set(subset)
        for size in range(len(subset) + 1):
            for some in combinations(subset, size):
                if union := others | set(some):
                    signs[row, place[union]] += (-1) ** (size + 1)
    return signs @ r2_unions
