"""Scores of the same data compared: interval and sign-flip test of a difference, paired resamples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import check_finite, check_shape
from nfas_lightning.functional.correlation import correlate

__all__ = ["PairedResult", "bootstrap_r", "paired_test"]

# Values that are resampled at a time.
_AT_ONCE = 2**23

# Rounding must not tell a flip that changes nothing from the differences as they are.
_TIE = 1e-9


class PairedResult(NamedTuple):
    """A mean difference and what is known of it.

    Attributes:
        mean: mean over units.
        low, high: limits of its confidence interval; NaN for a single unit.
        p_value: two-sided, of the sign-flip test; no less than 2 / 2^M, and 1 for a single unit.
    """

    mean: float
    low: float
    high: float
    p_value: float


def paired_test(
    differences: Tensor, *, confidence: float = 0.95, n_permutations: int = 9999, seed: int = 0
) -> PairedResult:
    r"""Test whether paired differences have mean zero, and say how large the mean is.

    .. math:: \bar d \pm t_{M-1}\, \frac{s}{\sqrt M}, \qquad
              p = \frac{\#\{\,|\textstyle\sum_m \pm d_m| \ge |\sum_m d_m|\,\}}{2^M}

    If the two scores of a unit can be exchanged, each sign is as likely as the other. All 2^M signs are tried
    where there are no more than `n_permutations` + 1 of them; else as many are drawn, and p = (1 + #) /
    (1 + draws).

    Args:
        differences: (M,) one per independent unit: first score minus second.
        confidence: of the interval, in (0, 1).
        n_permutations: draws where not all signs can be tried.
        seed: of the draws.

    Returns:
        `PairedResult`, computed in float64.

    Raises:
        ValueError: no differences, values that are not finite, numbers out of range.

    Reference:
        Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010), Stat. Appl. Genet.
        Mol. Biol. 9, 39, doi:10.2202/1544-6115.1585.

    Example:
        >>> result = paired_test(torch.tensor([0.25, 0.5, 0.25, 0.125, 0.375]))
        >>> result.mean, result.p_value
        (0.3, 0.0625)
        >>> round(result.low, 3), round(result.high, 3)
        (0.123, 0.477)
    """
    check_shape("differences", differences, "M")
    check_finite("differences", differences)
    m = len(differences)
    if not m:
        raise InputError("differences must hold at least one unit, got none.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}.")
    if n_permutations < 1:
        raise InputError(f"n_permutations must be at least 1, got {n_permutations}.")
    d = differences.cpu().double()
    mean = float(d.mean())
    half = math.nan
    if m > 1:
        half = float(stdtrit(m - 1, (1 + confidence) / 2)) * float(d.std()) / math.sqrt(m)
    return PairedResult(mean, mean - half, mean + half, _sign_flip_p(d, n_permutations, seed))


def _sign_flip_p(d: Tensor, n_permutations: int, seed: int) -> float:
    """Return the two-sided p of differences (M,): of all signs, or of those that are drawn."""
    m = len(d)
    least = d.sum().abs() - _TIE * d.abs().sum()
    if 2**m <= n_permutations + 1:
        flipped = (torch.arange(2**m)[:, None] >> torch.arange(m)) & 1
        return float(((1 - 2 * flipped).double() @ d).abs().ge(least).double().mean())
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (n_permutations, m), generator=generator, dtype=torch.int8)
    reached = ((1 - 2 * signs).double() @ d).abs() >= least
    return (1 + int(reached.sum())) / (1 + n_permutations)


def bootstrap_r(
    preds: Tensor,
    target: Tensor,
    fold: Tensor,
    *,
    block_length: int = 1,
    n_draws: int = 1000,
    seed: int = 0,
    target_batch: int | None = None,
) -> Tensor:
    """Draw the scores of several features anew, from the same rows for all of them.

    Blocks of neighboring rows are drawn with replacement inside each test fold, the fold's last row followed
    by its first; nothing is fitted again. What is drawn is therefore how the test rows came out, and the
    quantiles of a difference between two columns are its interval for these networks and regions.

    Args:
        preds: (K, T, R) out-of-fold predictions of K features, see `EncodingResult`.
        target: (K, T, R) what each is correlated with.
        fold: (T,) index of the fold that tested each row, negative for none.
        block_length: rows that stay together: 1 where rows are independent, else as long as responses
            remember.
        n_draws: number of draws.
        seed: of the draws; the same rows are drawn for the same folds.
        target_batch: responses to work on at a time, without influence on the draws; None: as memory allows.

    Returns:
        (n_draws, K) mean over R of r averaged over folds.

    Raises:
        ValueError: the shapes disagree, or numbers out of range.

    Reference:
        Kuensch (1989), Annals of Statistics 17, 1217-1241, doi:10.1214/aos/1176347265.

    Example:
        >>> t = torch.randn(1, 40, 2, generator=torch.Generator().manual_seed(0))
        >>> fold = torch.arange(40) // 20
        >>> draws = bootstrap_r(torch.cat([t, -t]), torch.cat([t, t]), fold, n_draws=3)
        >>> draws.round(decimals=4)
        tensor([[ 1., -1.],
                [ 1., -1.],
                [ 1., -1.]])
    """
    check_shape("preds", preds, "K T R")
    check_shape("target", target, "K T R", K=preds.shape[0], T=preds.shape[1], R=preds.shape[2])
    check_shape("fold", fold, "T", T=preds.shape[1])
    for name, number in (("block_length", block_length), ("n_draws", n_draws)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}.")
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for index in torch.unique(fold[fold >= 0]):
        rows = (fold == index).nonzero()[:, 0]
        n = len(rows)
        starts = torch.randint(n, (n_draws, -(-n // block_length)), generator=generator)
        places = ((starts[:, :, None] + torch.arange(block_length)) % n).flatten(1)[:, :n]
        drawn.append((rows, places.to(rows.device)))
    per_target = (16 * len(fold) + 8 * len(drawn) * n_draws) * len(preds)
    total = count = torch.zeros((), device=preds.device)
    for part in split_targets(preds.shape[2], per_target, preds.device, target_batch):
        scored = []
        for rows, places in drawn:
            x, y = (side[:, rows, part].movedim(1, 0) for side in (preds, target))  # (n, K, R)
            some = torch.split(places, max(1, _AT_ONCE // x.numel()))
            scored.append(torch.cat([correlate(x[draws.T], y[draws.T]) for draws in some]))
        r = torch.stack(scored).mean(0)
        total, count = total + r.nansum(-1), count + (~r.isnan()).sum(-1)
    return total / count
