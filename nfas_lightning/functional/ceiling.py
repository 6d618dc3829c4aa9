"""Noise ceiling: the correlation that the reliability of the responses allows, and scores as shares of it."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import (
    check_count,
    check_option,
    check_shape,
    seeded_generator,
    with_float64,
    working_dtype,
)
from nfas_lightning.functional.correlation import MIN_ROWS, correlate
from nfas_lightning.functional.missing import align_subjects

__all__ = ["CeilingMethod", "noise_ceiling", "normalize"]

CeilingMethod = Literal["loo_subject", "split_half"]


@with_float64
def noise_ceiling(
    Y: Tensor,
    *,
    method: CeilingMethod = "loo_subject",
    n_splits: int = 100,
    seed: int = 0,
    fold: Tensor | None = None,
    target_batch: int | None = None,
) -> Tensor:
    r"""Estimate per ROI how well an ideal model could correlate with the responses.

    - ``"loo_subject"`` bounds a model of **one subject's** responses, from below: the mean over subjects of
      the correlation between a subject and the mean of the others. The others' mean is itself noisy, so a
      model may beat it.
    - ``"split_half"`` bounds a model of the **group mean**: two random groups of k subjects are drawn, k half
      of them or, of an odd number, of all but one; the groups' means are correlated, r averaged over draws,
      stepped up to all S subjects by Spearman-Brown and brought to the scale of a correlation with the
      noiseless response,

      .. math:: c = \sqrt{\frac{q\, \bar r_k}{1 + (q - 1)\, \bar r_k}}, \quad q = S / k .

    Args:
        Y: (S, T, R) responses of S subjects (or repeats). NaN marks missing values: means run over the
            subjects that have one, offsets between subjects taken off (`align_subjects`), correlations over
            the rows that both sides have, a fold with fewer than three of which does not count.
        method: ``"loo_subject"`` or ``"split_half"``.
        n_splits: random splits of ``"split_half"``.
        seed: of those splits.
        fold: (T,) fold of each row, -1 for none; correlations are then averaged over folds, as scores are.
        target_batch: ROIs to work on at a time, without influence on the ceilings; None: as memory allows.

    Returns:
        (R,) ceilings on the correlation scale, in [-1, 1] or, for ``"split_half"``, [0, 1] (an unreliable
        ROI's negative r counts as 0). NaN, with a warning, where it cannot be estimated.

    Raises:
        ValueError: fewer than two subjects, an unknown method, no split, or no row with a fold.

    Reference:
        Nili et al. (2014), PLoS Comput. Biol. 10, e1003553, doi:10.1371/journal.pcbi.1003553; Brown (1910),
        Br. J. Psychol. 3, 296-322, doi:10.1111/j.2044-8295.1910.tb00207.x.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> signal = torch.randn(1, 200, 1, generator=g)
        >>> Y = signal + torch.randn(8, 200, 1, generator=g)
        >>> [round(noise_ceiling(Y, method=m).item(), 1) for m in ("loo_subject", "split_half")]
        [0.7, 0.9]
    """
    check_shape("Y", Y, "S T R")
    check_option("method", method, get_args(CeilingMethod))
    if len(Y) < 2:
        raise InputError(f"A noise ceiling needs at least two subjects (or repeats), got {len(Y)}.")
    check_count("n_splits", n_splits, 1)
    labels = torch.zeros(Y.shape[1], dtype=torch.long) if fold is None else fold
    check_shape("fold", labels, "T", T=Y.shape[1])
    parts = [(labels == label).nonzero()[:, 0].to(Y.device) for label in torch.unique(labels[labels >= 0])]
    if not parts:
        raise InputError("fold must assign at least one row to a fold: every entry is negative.")
    generator = seeded_generator(seed)
    orders = [torch.randperm(len(Y), generator=generator).to(Y.device) for _ in range(n_splits)]
    ceiling = Y.new_empty(Y.shape[2], dtype=working_dtype(Y))
    for part in split_targets(Y.shape[2], 16 * (len(Y) + 4) * Y.shape[1], Y.device, target_batch):
        y = align_subjects(Y[..., part], labels)
        ceiling[part] = _loo_subject(y, parts) if method == "loo_subject" else _split_half(y, parts, orders)
    undefined = int(ceiling.isnan().sum())
    if undefined:
        warnings.warn(
            f"{undefined} of {len(ceiling)} ROIs have no noise ceiling: their responses are constant, or no "
            "two subjects share enough rows.",
            stacklevel=3,  # through with_float64
        )
    return ceiling


def normalize(r: Tensor, ceiling: Tensor, threshold: float = 0.1) -> Tensor:
    """Divide correlations by the noise ceiling, and mask ROIs that have none to speak of.

    Args:
        r: (..., R) correlations.
        ceiling: (R,) noise ceilings on the correlation scale.
        threshold: ROIs whose ceiling is below it, or NaN, become NaN; a warning says how many.

    Returns:
        (..., R) r / ceiling; above 1 where a model beats the ceiling's estimate.

    Raises:
        ValueError: the sizes differ, or the threshold is not positive.

    Example:
        >>> normalize(torch.tensor([0.3, 0.2]), torch.tensor([0.6, 0.8]))
        tensor([0.5000, 0.2500])
    """
    check_shape("ceiling", ceiling, "R", R=r.shape[-1])
    if not threshold > 0:
        raise InputError(f"threshold must be positive, got {threshold}.")
    usable = ceiling >= threshold
    masked = int((~usable).sum())
    if masked:
        warnings.warn(
            f"{masked} of {len(ceiling)} ROIs have a noise ceiling below {threshold:g} and are masked "
            "with NaN.",
            stacklevel=2,
        )
    return r / torch.where(usable, ceiling, torch.full_like(ceiling, float("nan")))


def _agreement(first: Tensor, second: Tensor, parts: list[Tensor]) -> Tensor:
    """Correlate (T, R) pairs within each part and average over the parts where that is defined."""
    both = ~(first.isnan() | second.isnan())
    rs = [
        correlate(first[rows], second[rows]).masked_fill(both[rows].sum(0) < MIN_ROWS, float("nan"))
        for rows in parts
    ]
    return torch.stack(rs).nanmean(0)


def _loo_subject(Y: Tensor, parts: list[Tensor]) -> Tensor:
    """Average over subjects the correlation with the mean of the others."""
    subjects = torch.arange(len(Y), device=Y.device)
    rs = [_agreement(Y[s], Y[subjects != s].nanmean(0), parts) for s in subjects]
    return torch.stack(rs).nanmean(0)


def _split_half(Y: Tensor, parts: list[Tensor], orders: list[Tensor]) -> Tensor:
    """Correlate half-means of subjects in random orders, step the average up, return the root."""
    half = len(Y) // 2
    halves = ((Y[order[:half]].nanmean(0), Y[order[half : 2 * half]].nanmean(0)) for order in orders)
    rs = [_agreement(first, second, parts) for first, second in halves]
    r, times = torch.stack(rs).nanmean(0).clamp(min=0), len(Y) / half
    return (times * r / (1 + (times - 1) * r)).sqrt()
