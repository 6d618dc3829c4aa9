"""Confidence intervals of scores: a bootstrap over stimuli and subjects, with predictions as they are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count, check_shape, seeded_generator

__all__ = ["BootstrapDraws", "Interval", "bootstrap_scores", "dual_variance", "interval"]

_AT_ONCE = 2**23  # values that are resampled at a time


class BootstrapDraws(NamedTuple):
    """Scores of resampled stimuli and subjects; the numbers of any shape (...) behind the draws.

    Attributes:
        stimuli: (B, ...) of resampled stimuli.
        subjects: (B, ...) of resampled subjects; None for a single one.
        both: (B, ...) of both resampled, the same draws together; None for a single subject.
        n_stimuli: resampled units: blocks of rows, or folds.
        n_subjects: S.
    """

    stimuli: Tensor
    subjects: Tensor | None
    both: Tensor | None
    n_stimuli: int
    n_subjects: int

    def map(self, function: object) -> BootstrapDraws:
        """Return the draws of a function of the scores, such as their mean over ROIs or a difference."""
        assert callable(function)
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
    n_draws: int = 1000,
    seed: int = 0,
) -> BootstrapDraws:
    r"""Draw scores of K features anew, from the same rows and subjects for all of them.

    A score is r averaged over folds, of predictions and the mean of the subjects' responses. Rows are drawn
    with replacement inside test folds, as blocks of neighbors, the last row followed by the first; or whole
    folds are drawn. Subjects are drawn with replacement. Nothing is fitted again, so an interval holds for
    the encoding models as they were fitted: what another training set would change is not in it.

    Args:
        preds: (K, T, R) out-of-fold predictions, see `EncodingResult`.
        targets: (S, T, R) responses of each subject that they are correlated with, NaN where missing; in
            units in which the mean over subjects makes sense.
        fold: (T,) index of the fold that tested each row, negative for none.
        block_length: rows that stay together: 1 where rows are independent, else as long as responses
            remember; None: whole folds are drawn, such as runs.
        n_draws: B.
        seed: of the draws; the same rows and subjects are drawn for the same folds and S.

    Returns:
        `BootstrapDraws` of (B, K, R) scores, float64; NaN where a fold is constant.

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
    if block_length is not None:
        check_count("block_length", block_length, 1)
    generator = seeded_generator(seed)
    n_subjects, device = len(targets), targets.device
    chosen = torch.randint(n_subjects, (n_draws, n_subjects), generator=generator)
    members = _counts(chosen, n_subjects).to(device)
    once = torch.ones(n_draws, n_subjects, dtype=torch.float64, device=device)
    folds = [int(index) for index in torch.unique(fold[fold >= 0])]
    drawn_folds = torch.randint(len(folds), (n_draws, len(folds)), generator=generator)
    weights = _counts(drawn_folds, len(folds)).to(device)[:, :, None, None]
    parts: list[list[Tensor]] = [[], [], []]
    n_stimuli = 0
    for index in folds:
        rows = (fold == index).nonzero()[:, 0].to(device)
        x, Y = preds[:, rows].double(), targets[:, rows].double()
        every = torch.ones(n_draws, len(rows), dtype=torch.float64, device=device)
        counts = every
        if block_length is not None:
            n_stimuli += max(1, round(len(rows) / block_length))
            starts = torch.randint(len(rows), (n_draws, -(-len(rows) // block_length)), generator=generator)
            places = (starts[:, :, None] + torch.arange(block_length)) % len(rows)
            counts = _counts(places.flatten(1)[:, : len(rows)], len(rows)).to(device)
        plans = [(counts, once), (every, members), (counts, members)]
        for part, (by_row, by_subject) in zip(parts, plans if n_subjects > 1 else plans[:1], strict=False):
            part.append(_scores(x, Y, by_row, by_subject))
    stimuli, subjects, both = (torch.stack(part, dim=1) if part else None for part in parts)
    assert stimuli is not None

    def average(scores: Tensor, by_fold: Tensor | None) -> Tensor:
        return scores.mean(1) if by_fold is None else (scores * by_fold).sum(1) / len(folds)

    whole = weights if block_length is None else None
    return BootstrapDraws(
        average(stimuli, whole),
        None if subjects is None else average(subjects, None),
        None if both is None else average(both, whole),
        n_stimuli if block_length is not None else len(folds),
        n_subjects,
    )


def dual_variance(draws: BootstrapDraws) -> Tensor:
    r"""Return the variance (...) of scores over new stimuli and new subjects.

    Resampling both counts the variance of measurement noise three times instead of once. With the variances
    of the three bootstraps, times n / (n - 1) for each resampled factor,

    .. math:: \hat\sigma^2 = \sigma^2_{subjects} + \sigma^2_{stimuli}
        - (\sigma^2_{both} - \sigma^2_{subjects} - \sigma^2_{stimuli})

    kept between the larger of the two single variances and the uncorrected one.

    Args:
        draws: as `bootstrap_scores` returns; a single subject's are of stimuli alone.

    Reference:
        Schuett et al. (2023), eLife 12, e82566, doi:10.7554/eLife.82566.
    """
    n, s = draws.n_stimuli, draws.n_subjects
    stimuli = draws.stimuli.var(0) * (n / (n - 1) if n > 1 else math.nan)
    if draws.both is None or draws.subjects is None:
        return stimuli
    both, one, other = (part.var(0) for part in (draws.both, draws.subjects, draws.stimuli))
    subjects = one * (s / (s - 1))
    corrected = subjects + stimuli - (n / (n - 1)) * (s / (s - 1)) * (both - one - other)
    return torch.minimum(torch.maximum(corrected, torch.maximum(subjects, stimuli)), both)


def interval(estimate: Tensor, draws: BootstrapDraws, *, confidence: float = 0.95) -> Interval:
    r"""Return a confidence interval of scores, or of any function of them.

    .. math:: \hat\theta \pm t_{n-1} \hat\sigma

    with n the smaller number of stimuli and subjects that were drawn.

    Args:
        estimate: (...) value on the data.
        draws: of the same value, `BootstrapDraws` of (B, ...).
        confidence: in (0, 1).

    Returns:
        `Interval`, float64; NaN where the estimate or its draws are.

    Raises:
        ValueError: shapes that disagree, or a confidence out of range.

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
    freedom = min(draws.n_stimuli, draws.n_subjects if draws.both is not None else draws.n_stimuli) - 1
    error = dual_variance(draws).clamp(min=0).sqrt()
    if freedom < 1:
        error = torch.full_like(error, math.nan)
    value = estimate.to(error)
    half = float(stdtrit(max(freedom, 1), (1 + confidence) / 2)) * error
    t = (value.abs() / error).cpu()
    p_value = torch.as_tensor(2 * stdtr(max(freedom, 1), -t.numpy())).to(error)
    return Interval(value, value - half, value + half, error, p_value)


def _counts(drawn: Tensor, n: int) -> Tensor:
    """Return how often each of n was drawn, (B, n) float64, from (B, draws)."""
    counts = torch.zeros(len(drawn), n, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def _scores(x: Tensor, Y: Tensor, by_row: Tensor, by_subject: Tensor) -> Tensor:
    """Return r (B, K, R) of x (K, n, R) and weighted means of Y (S, n, R), rows weighted too."""
    n, n_rois = x.shape[1:]
    x = x - x.mean(1, keepdim=True)
    Y = Y - Y.nanmean(1, keepdim=True)  # subjects differ in level by no more than a constant, which r ignores
    missing = Y.isnan()
    some = bool(missing.any())
    present, filled = (~missing).double().flatten(1), Y.nan_to_num().flatten(1)
    step = max(1, _AT_ONCE // (n * n_rois * (len(x) + 1)))
    parts = []
    for rows, subjects in zip(torch.split(by_row, step), torch.split(by_subject, step), strict=True):
        seen = (subjects @ present if some else subjects.sum(1, keepdim=True)).clamp(min=0)
        y = (subjects @ filled / seen).view(len(rows), n, n_rois)
        weight = rows[:, :, None]
        if some:
            weight = weight * y.isfinite()
            y = y.nan_to_num()
        total = weight.sum(1)  # (B, R) or (B, 1)
        wy = weight * y
        mean_y = wy.sum(1) / total
        var_y = (wy * y).sum(1) / total - mean_y**2
        weight = weight.expand(-1, -1, n_rois)
        mean_x = torch.einsum("bnr,knr->bkr", weight, x) / total[:, None]
        var_x = torch.einsum("bnr,knr->bkr", weight, x**2) / total[:, None] - mean_x**2
        cross = torch.einsum("bnr,knr->bkr", wy, x) / total[:, None] - mean_x * mean_y[:, None]
        flat = (var_x <= 1e-12 * (x**2).mean(1)) | (var_y <= 1e-12 * (y**2).mean(1))[:, None]
        parts.append((cross / (var_x * var_y[:, None]).clamp(min=0).sqrt()).masked_fill(flat, math.nan))
    return torch.cat(parts)
