"""Confidence intervals of scores: a bootstrap over stimuli and subjects, with predictions as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import check_count, check_shape, seeded_generator
from nfas_lightning.functional.correlation import MIN_ROWS

__all__ = ["BootstrapDraws", "Interval", "bootstrap_scores", "dual_variance", "interval"]

_AT_ONCE = 2**23  # values that are resampled at a time
_FEW_SUBJECTS = 16  # whose pairs are summed at once: more take longer than the mean of each draw


class BootstrapDraws(NamedTuple):
    """Scores of resampled stimuli and subjects; the numbers of any shape (...) behind the draws.

    Attributes:
        stimuli: (B, ...) of resampled stimuli.
        subjects: (B, ...) of resampled subjects; None for a single one.
        both: (B, ...) of both resampled, the same draws together; None for a single subject.
        n_stimuli: resampled units: rows, blocks or groups of them, or folds.
        n_subjects: S.
        n_strata: parts that units stay in: folds, unless these are what is drawn.
        n_folds: test folds, each predicted by what was fitted to the others; 1: predictions came from other
            rows.
    """

    stimuli: Tensor
    subjects: Tensor | None
    both: Tensor | None
    n_stimuli: int
    n_subjects: int
    n_strata: int = 1
    n_folds: int = 1

    def map(self, function: Callable[[Tensor], Tensor]) -> BootstrapDraws:
        """Return the draws of a function of the scores, such as their mean over ROIs or a difference."""
        subjects, both = (None if part is None else function(part) for part in (self.subjects, self.both))
        return self._replace(stimuli=function(self.stimuli), subjects=subjects, both=both)


class Interval(NamedTuple):
    """An estimate and how sure it is; all (...).

    Attributes:
        estimate: as given.
        low: lower limit.
        high: upper limit.
        standard_error: from the bootstrap.
        p_value: two-sided, that the true value is zero.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor
    standard_error: Tensor
    p_value: Tensor


def bootstrap_scores(
    preds: Tensor,
    targets: Tensor,
    fold: Tensor,
    *,
    block_length: int | None = 1,
    units: Tensor | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    target_batch: int | None = None,
) -> BootstrapDraws:
    r"""Draw scores of K features anew, from the same rows and subjects for all of them.

    A score is r averaged over folds, of predictions and the mean of the subjects' responses. Rows are drawn
    with replacement inside test folds, as blocks of neighbors, the last row followed by the first, or with
    the others of their unit; or whole folds are drawn. Subjects are drawn with replacement. Nothing is fitted
    again; `dual_variance` adds what the fits would vary by.

    Args:
        preds: (K, T, R) out-of-fold predictions, see `EncodingResult`.
        targets: (S, T, R) responses of each subject that they are correlated with, NaN where missing; in
            units in which the mean over subjects makes sense.
        fold: (T,) index of the fold that tested each row, negative for none.
        block_length: rows that stay together: 1 where rows are independent, else as long as responses
            remember; None: whole folds are drawn, such as runs.
        units: (T,) labels of rows that stay together, such as repeats of a stimulus; instead of blocks.
        n_draws: B.
        seed: of the draws; the same rows and subjects are drawn for the same folds and S.
        target_batch: ROIs to work on at a time, without influence on the draws; None: as memory allows.

    Returns:
        `BootstrapDraws` of (B, K, R) scores, float64; NaN where a fold is constant, folds without three rows
        of an ROI left out.

    Raises:
        ValueError: shapes that disagree, or numbers out of range.

    Reference:
        Kuensch (1989), Ann. Stat. 17, 1217-1241, doi:10.1214/aos/1176347265; Schuett et al. (2023), eLife 12,
        e82566, doi:10.7554/eLife.82566.

    Example:
        >>> t = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(0))
        >>> draws = bootstrap_scores(t[:1], t, torch.arange(40) // 20, n_draws=5)
        >>> draws.both.shape, draws.n_stimuli, draws.n_subjects
        (torch.Size([5, 1, 2]), 40, 3)
    """
    check_shape("preds", preds, "K T R")
    check_shape("targets", targets, "S T R", T=preds.shape[1], R=preds.shape[2])
    check_shape("fold", fold, "T", T=preds.shape[1])
    check_count("n_draws", n_draws, 1)
    if units is not None:
        check_shape("units", units, "T", T=preds.shape[1])
    elif block_length is not None:
        check_count("block_length", block_length, 1)
    generator = seeded_generator(seed)
    n_subjects, device, fold = len(targets), targets.device, fold.cpu()
    chosen = torch.randint(n_subjects, (n_draws, n_subjects), generator=generator)
    members = _counts(chosen, n_subjects).to(device) if n_subjects > 1 else None
    folds = [int(index) for index in torch.unique(fold[fold >= 0])]
    drawn = torch.randint(len(folds), (n_draws, len(folds)), generator=generator)
    by_fold = _counts(drawn, len(folds)).to(device) if block_length is None and units is None else None
    plans, n_stimuli = [], 0
    for index in folds:
        rows = (fold == index).nonzero()[:, 0]
        counts, n_units = _drawn_rows(rows, block_length, units, n_draws, generator)
        plans.append((rows.to(device), counts.to(device)))
        n_stimuli += n_units
    per_target = 8 * len(preds) * (4 * preds.shape[1] + 3 * n_draws * (len(folds) + 1))
    if 1 < n_subjects <= _FEW_SUBJECTS:  # products with each subject, their sums in each draw
        per_target += 8 * n_subjects * (len(preds) + n_subjects) * (preds.shape[1] + n_draws)
    found = [
        _resampled(preds[..., part], targets[..., part], plans, members, by_fold)
        for part in split_targets(preds.shape[2], per_target, device, target_batch)
    ]
    stimuli, *others = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
    subjects, both = others or (None, None)
    n_strata = len(folds) if by_fold is None else 1
    return BootstrapDraws(stimuli, subjects, both, n_stimuli, n_subjects, n_strata, len(folds))


def _resampled(
    preds: Tensor,
    targets: Tensor,
    plans: list[tuple[Tensor, Tensor]],
    members: Tensor | None,
    by_fold: Tensor | None,
) -> list[Tensor]:
    """Return scores (B, K, R) of drawn stimuli and, with several subjects, of drawn subjects and of both.

    `plans` holds rows and counts (B or 1, n) of each fold, `by_fold` (B, folds) how often each was drawn.
    """
    drawn: list[list[Tensor]] = []
    seen = []
    for rows, counts in plans:
        x, Y = preds[:, rows].double(), targets[:, rows].double()
        seen.append((~Y.isnan()).any(0).sum(0) >= MIN_ROWS)
        drawn.append(_scores(x, Y, counts, members))
    scored = torch.stack(seen).double()  # (folds, R)
    found = []
    for r, share in zip(map(torch.stack, zip(*drawn, strict=True)), (by_fold, None, by_fold), strict=False):
        weight = scored[None] if share is None else scored * share[:, :, None]  # (B or 1, folds, R)
        weight = weight.movedim(1, 0)[:, :, None]
        kept = torch.where(weight > 0, r, 0)  # a fold without rows of an ROI has no part in its score
        found.append((kept * weight).sum(0) / weight.sum(0))
    return found


def dual_variance(draws: BootstrapDraws) -> Tensor:
    r"""Return the variance (...) of scores over new stimuli and new subjects.

    Resampling both counts the variance of measurement noise three times instead of once. With the variances
    of the three bootstraps, times n / (n - strata) for each resampled factor,

    .. math:: \hat\sigma^2 = \sigma^2_{subjects} + \sigma^2_{stimuli}
        - (\sigma^2_{both} - \sigma^2_{subjects} - \sigma^2_{stimuli})

    and no less than the larger of the two single variances. rsatoolbox also keeps it below the uncorrected
    one, which made intervals of differences too short. Of F folds, F / (F - 1) - 1 times the variance over
    stimuli is added, test rows over training rows: what the rows of one fold happen to be is in the fits
    that predict the others, which no resampling of predictions sees.

    Args:
        draws: as `bootstrap_scores` returns; a single subject's are of stimuli alone.

    Reference:
        Schuett et al. (2023), eLife 12, e82566, doi:10.7554/eLife.82566; Nadeau and Bengio (2003), Mach.
        Learn. 52, 239-281, doi:10.1023/A:1024068626366, who add more, for fits that share most of their rows.
    """
    return _variances(draws)[0]


def _variances(draws: BootstrapDraws) -> tuple[Tensor, Tensor, Tensor]:
    """Return the dual variance, that over stimuli, and what subjects add to it (0 for a single one)."""
    n, s, folds = draws.n_stimuli, draws.n_subjects, draws.n_folds
    by_stimuli = n / (n - draws.n_strata) if n > draws.n_strata else math.nan
    other = _variance(draws.stimuli)
    stimuli = by_stimuli * other
    trained = stimuli / (folds - 1) if folds > 1 else torch.zeros_like(stimuli)
    if draws.both is None or draws.subjects is None:
        return stimuli + trained, stimuli + trained, torch.zeros_like(stimuli)
    both, one = _variance(draws.both), _variance(draws.subjects)
    by_subjects = s / (s - 1)
    subjects = by_subjects * one
    corrected = subjects + stimuli - by_stimuli * by_subjects * (both - one - other)
    total = torch.maximum(corrected, torch.maximum(subjects, stimuli))
    return total + trained, stimuli + trained, total - stimuli


def _variance(draws: Tensor) -> Tensor:
    """Return the variance over draws (B, ...); those that are undefined are left out, up to a tenth."""
    defined = draws.isfinite()
    count = defined.sum(0)
    mean = draws.nan_to_num().sum(0) / count
    squares = torch.where(defined, draws - mean, 0).square().sum(0)
    return (squares / (count - 1)).masked_fill(count < 0.9 * len(draws), math.nan)


def interval(
    estimate: Tensor, draws: BootstrapDraws, *, confidence: float = 0.95, correlation: bool = False
) -> Interval:
    r"""Return a confidence interval of scores, or of any function of them.

    .. math:: \hat\theta \pm t_\nu \hat\sigma, \qquad
        \nu = \frac{\hat\sigma^4}{\sigma^4_{stimuli} / (n - strata) + \sigma^4_{added} / (S - 1)}, \quad
        \sigma^2_{added} = \hat\sigma^2 - \sigma^2_{stimuli}

    with n resampled units of stimuli and S subjects.

    Args:
        estimate: (...) value on the data.
        draws: of the same value, `BootstrapDraws` of (B, ...).
        confidence: in (0, 1).
        correlation: the estimate is one correlation; limits are then taken on Fisher's scale, artanh r, and
            stay within -1 and 1. A mean of several is closer to normal as it is.

    Returns:
        `Interval`, float64; NaN where the estimate is, or a tenth of its draws.

    Raises:
        ValueError: shapes that disagree, or a confidence out of range.

    Reference:
        Satterthwaite (1946), Biometrics Bull. 2, 110-114, doi:10.2307/3002019.

    Example:
        >>> draws = BootstrapDraws(torch.tensor([[0.1], [0.2], [0.3]]), None, None, 50, 1)
        >>> found = interval(torch.tensor([0.2]), draws)
        >>> round(float(found.low), 3), round(float(found.high), 3)
        (-0.003, 0.403)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}.")
    if estimate.shape != draws.stimuli.shape[1:]:
        raise InputError(
            f"draws must hold (B, ...) numbers of the estimate's shape {tuple(estimate.shape)}, got "
            f"{tuple(draws.stimuli.shape)}."
        )
    total, stimuli, subjects = _variances(draws)
    error, value = total.clamp(min=0).sqrt(), estimate.to(total)
    freedom = _freedom(draws, total, stimuli, subjects)
    error = error.masked_fill(freedom < 1, math.nan)
    kept = freedom.clamp(min=1).cpu().numpy()
    middle, scale = value, torch.ones_like(value)
    if correlation:
        middle, scale = value.clamp(-1, 1).atanh(), 1 - value**2
    half = torch.as_tensor(stdtrit(kept, (1 + confidence) / 2)).to(error) * error / scale
    low, high = middle - half, middle + half
    if correlation:
        low, high = low.tanh(), high.tanh()
    t = (middle.abs() / (error / scale)).cpu().numpy()
    p_value = torch.as_tensor(2 * stdtr(kept, -t)).to(error)
    return Interval(value, low, high, error, p_value)


def _freedom(draws: BootstrapDraws, total: Tensor, stimuli: Tensor, subjects: Tensor) -> Tensor:
    """Return the degrees of freedom (...) of a dual variance."""
    of_stimuli = draws.n_stimuli - draws.n_strata
    if draws.both is None:
        return torch.full_like(total, of_stimuli)
    of_subjects = draws.n_subjects - 1
    freedom = total**2 / (stimuli**2 / max(of_stimuli, 1) + subjects**2 / of_subjects)
    fewest = min(of_stimuli, of_subjects)
    return freedom.nan_to_num(nan=fewest).clamp(min=fewest, max=of_stimuli + of_subjects)


def _counts(drawn: Tensor, n: int) -> Tensor:
    """Return how often each of n was drawn, (B, n) float64, from (B, draws)."""
    counts = torch.zeros(len(drawn), n, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def _drawn_rows(
    rows: Tensor, block_length: int | None, units: Tensor | None, n_draws: int, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Return how often each row of a fold was drawn, (B, n), and the number of units they came from."""
    n = len(rows)
    if units is not None:
        names, member = torch.unique(units[rows], return_inverse=True)
        drawn = torch.randint(len(names), (n_draws, len(names)), generator=generator)
        return _counts(drawn, len(names))[:, member.cpu()], len(names)
    if block_length is None:
        return torch.ones(1, n, dtype=torch.float64), 1
    starts = torch.randint(n, (n_draws, -(-n // block_length)), generator=generator)
    places = (starts[:, :, None] + torch.arange(block_length)) % n
    return _counts(places.flatten(1)[:, :n], n), max(1, round(n / block_length))


def _scores(x: Tensor, Y: Tensor, counts: Tensor, members: Tensor | None) -> list[Tensor]:
    """Return r of x (K, n, R) and means of Y (S, n, R) with rows, subjects and both resampled.

    Rows are weighted by `counts` (B or 1, n), subjects by `members` (B, S), None for a single one: then rows
    alone. Each is (B, K, R), of rows (1, K, R) where all count once.
    """
    n, n_rois = x.shape[1:]
    x = x - x.mean(1, keepdim=True)
    Y = Y - Y.nanmean(1, keepdim=True)  # subjects differ in level by no more than a constant, which r ignores
    present, filled = (~Y.isnan()).double(), Y.nan_to_num()
    y, seen = filled.sum(0) / present.sum(0).clamp(min=1), (present.sum(0) > 0).double()
    columns = torch.cat([seen[None], y[None], y[None] ** 2, x * seen, x**2 * seen, x * y])  # (3 + 3K, n, R)
    sums = (counts @ columns.transpose(0, 1).flatten(1)).view(len(counts), -1, n_rois)
    scores = [_r(*sums[:, :3].unbind(1), *sums[:, 3:].chunk(3, 1))]
    if members is None:
        return scores
    every = torch.ones_like(counts[:1])
    rows = counts if len(counts) > 1 else counts.expand(len(members), -1)
    if len(Y) <= _FEW_SUBJECTS and not bool(Y.isnan().any()):
        return scores + [_scores_of_means(x, Y, weight, members / len(Y)) for weight in (every, rows)]
    step = max(1, _AT_ONCE // (n * n_rois * 3))
    again: list[list[Tensor]] = [[], []]
    for part, weight in zip(torch.split(members, step), torch.split(rows, step), strict=True):
        total = (part @ present.flatten(1)).view(-1, n, n_rois)
        y = (part @ filled.flatten(1)).view_as(total) / total.clamp(min=1)
        seen = (total > 0).double()
        for place, by_row in zip(again, (every.expand(len(part), -1), weight), strict=True):
            w = by_row[:, :, None] * seen
            wy = w * y
            place.append(
                _r(
                    w.sum(1), wy.sum(1), (wy * y).sum(1), torch.einsum("bnr,knr->bkr", w, x),
                    torch.einsum("bnr,knr->bkr", w, x**2), torch.einsum("bnr,knr->bkr", wy, x),
                )
            )  # fmt: skip
    return scores + [torch.cat(place) for place in again]


def _scores_of_means(x: Tensor, Y: Tensor, counts: Tensor, shares: Tensor) -> Tensor:
    """Return r (B, K, R) of x and means of Y without a gap, from products that all draws share.

    A mean's sums are those of its subjects, weighted by `shares` (B, S); its square's those of their pairs.
    `counts` (B, n) weight the rows; one row of counts is of all draws.
    """
    first, second = torch.triu_indices(len(Y), len(Y)).to(Y.device)
    twice = torch.where(first == second, 1.0, 2.0).to(Y)
    parts = (Y, Y[first] * Y[second], (Y[:, None] * x).flatten(0, 1), x, x**2)
    weights = (shares, shares[:, first] * shares[:, second] * twice)
    y, yy, xy, of_x, of_xx = (
        (counts @ part.transpose(0, 1).flatten(1)).view(len(counts), len(part), -1) for part in parts
    )
    y, yy = ((weight[:, None] @ sums)[:, 0] for weight, sums in zip(weights, (y, yy), strict=True))
    xy = (shares[:, None] @ xy.view(len(counts), len(Y), -1)).view(len(shares), len(x), -1)
    n = counts.sum(1, keepdim=True).expand(-1, x.shape[2])
    return _r(n, y, yy, of_x, of_xx, xy)


def _r(n: Tensor, y: Tensor, yy: Tensor, x: Tensor, xx: Tensor, xy: Tensor) -> Tensor:
    """Return r (B, K, R) from sums over rows, (B, R) of what has no x in it; NaN where a side is constant."""
    n, y, yy = n[:, None], y[:, None], yy[:, None]
    var_x, var_y, cross = xx - x**2 / n, yy - y**2 / n, xy - x * y / n
    flat = (var_x <= 1e-12 * xx.amax(0)) | (var_y <= 1e-12 * yy.amax(0))
    return (cross / (var_x * var_y).clamp(min=0).sqrt()).masked_fill(flat, math.nan)
