"""SNCI: how consistently the models of a group align with an ROI."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import (
    check_count,
    check_option,
    check_shape,
    seeded_generator,
    working_dtype,
)
from nfas_lightning.functional.relabeling import (
    BLOCK,
    Labels,
    Relabeling,
    check_permutations,
    encode_labels,
    membership,
    relabeling_p,
    shuffled_membership,
)

__all__ = ["SNCIInterval", "convergence", "snci", "snci_bootstrap", "snci_noise", "snci_permutation"]

Form = Literal["ratio", "db", "bounded"]


class SNCIInterval(NamedTuple):
    """Confidence interval of SNCI.

    Attributes:
        low: (G, R) lower limits.
        high: (G, R) upper limits.
    """

    low: Tensor
    high: Tensor


def snci(scores: Tensor, groups: Labels, *, form: Form = "ratio") -> Tensor:
    r"""Measure how consistent the models of a group are at each ROI.

    .. math:: \mathrm{SNCI}_{gr} = \frac{\mathrm{mean}_{m \in g}(v_{mr})}{\mathrm{std}_{m \in g}(v_{mr})}

    with ddof = 1. ``"db"`` is 20 log10 of it (NaN for a negative mean); ``"bounded"`` is
    mean^2 / (mean^2 + var), which is blind to the sign of the mean: give it scores that are not negative,
    such as r2. Computed in float64, returned in the dtype of `scores` (half precisions in float32), on its
    device.

    Args:
        scores: (M, R) score of each model at each ROI.
        groups: M strings or integers, the group of each model.
        form: ``"ratio"`` (any real number), ``"db"`` (dB) or ``"bounded"`` (in [0, 1]).

    Returns:
        (G, R), groups in sorted order; higher is more consistent. With a warning: NaN for a group of one
        model, a missing score, or scores that are all zero; inf (1 if bounded) where all models agree
        exactly.

    Raises:
        ValueError: labels that do not match, or an unknown form.

    Reference:
        Yan et al. (2026), arXiv:2603.00793.

    Example:
        >>> scores = torch.tensor([[0.1, 0.3], [0.3, 0.4], [0.2, 0.1], [0.4, 0.5]])
        >>> snci(scores, ["vision", "vision", "audio", "audio"], form="bounded")
        tensor([[0.8182, 0.5294],
                [0.6667, 0.9608]])
    """
    check_option("form", form, get_args(Form))
    parts, names = _by_group(scores, groups)
    rows = []
    for group, name in zip(parts, names, strict=True):
        row = _ratio(group)
        if len(group) < 2:
            _warn(f"Group {name!r} has one model and no spread: its SNCI is NaN; add models.")
        elif not bool(torch.isfinite(group).all()):
            _warn(f"Group {name!r} has missing scores at {int(row.isnan().sum())} ROIs: NaN there.")
        elif bool((group == 0).all(0).any()):
            count = int((group == 0).all(0).sum())
            _warn(f"All models of group {name!r} score 0 at {count} ROIs: nothing to agree on, NaN there.")
        elif bool(row.isinf().any()):
            _warn(f"All models of group {name!r} score the same at {int(row.isinf().sum())} ROIs.")
        rows.append(_to_form(row, form))
    return torch.stack(rows).to(working_dtype(scores))


def snci_noise(
    n_models: int,
    *,
    value: Literal["r", "r2"] = "r2",
    share: float = 0.95,
    n_draws: int = 20_000,
    seed: int = 0,
) -> float:
    """Return the bounded SNCI that a share of pure noise stays under.

    Noise is a correlation r of each model, normal around zero and independent between models; of ``"r2"`` the
    positive part is squared, as scores are. Its spread does not matter. Squares are never negative, so they
    agree somewhat by themselves: for many models bounded SNCI tends to 1/6.

    Args:
        n_models: M of the group, 2 or more.
        value: what the scores are.
        share: of the draws, in (0, 1).
        n_draws: how many.
        seed: of the draws.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: fewer than two models, or an unknown value.

    Example:
        >>> snci_noise(15) < snci_noise(5) < 1
        True
    """
    check_count("n_models", n_models, 2)
    check_option("value", value, ("r", "r2"))
    r = torch.randn(n_draws, n_models, generator=seeded_generator(seed), dtype=torch.float64)
    scores = r if value == "r" else r.clamp(min=0) ** 2
    mean, var = scores.mean(1), scores.var(1)
    return float((mean**2 / (mean**2 + var)).nan_to_num(0.0).quantile(share))


def snci_bootstrap(
    scores: Tensor,
    groups: Labels,
    *,
    form: Form = "ratio",
    confidence: float = 0.95,
    n_bootstrap: int = 9999,
    seed: int = 0,
) -> SNCIInterval:
    r"""Return a confidence interval of SNCI over models, by a parametric bootstrap.

    .. math:: \delta_b = \widehat{\mathrm{SNCI}} \, s_b - \bar z_b

    with mean and standard deviation of n standard normal draws; its quantiles invert the bootstrap test, so
    coverage is exact for normal scores at every n, and 95 % and more for uniform, skewed and clipped ones.
    Resampling the models instead covers 52 to 91 % (percentile) or 85 to 98 % (studentized) at 4 to 15
    models, too few to resample.

    Args:
        scores: (M, R) score of each model at each ROI.
        groups: M strings or integers, the group of each model.
        form: ``"ratio"``, ``"db"`` or ``"bounded"``; the limits are those of the ratio, transformed.
        confidence: coverage, in (0, 1).
        n_bootstrap: draws.
        seed: seed of the draws; the global generator is untouched.

    Returns:
        `SNCIInterval` of (G, R) limits, groups in sorted order. NaN with a warning where `snci` is NaN or
        infinite.

    Raises:
        ValueError: labels that do not match, an unknown form, or a confidence out of range.

    Reference:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, doi:10.1201/9780429246593.

    Example:
        >>> scores = torch.tensor([[0.1], [0.3], [0.2], [0.2]])
        >>> low, high = snci_bootstrap(scores, ["audio"] * 4, confidence=0.5, n_bootstrap=9999)
        >>> bool(low < snci(scores, ["audio"] * 4) < high)
        True
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}.")
    check_count("n_bootstrap", n_bootstrap, 1)
    ratios = snci(scores.to(torch.float64), groups)  # and its checks and warnings
    check_option("form", form, get_args(Form))
    generator = seeded_generator(seed)
    tail = (1 - confidence) / 2
    at = torch.tensor([tail, 1 - tail], dtype=torch.float64, device=scores.device)
    limits = []
    for group, ratio in zip(_by_group(scores, groups)[0], ratios, strict=True):
        if len(group) < 2:
            limits.append(ratio.expand(2, -1))
            continue
        draws = torch.randn(n_bootstrap, len(group), generator=generator, dtype=torch.float64).to(
            scores.device
        )
        mean, std = draws.mean(1)[:, None], draws.std(1)[:, None]
        known = ratio.masked_fill(ratio.isinf(), float("nan"))
        step = max(1, BLOCK // (4 * n_bootstrap))
        parts = [torch.quantile(part * std - mean, at, dim=0) for part in known.split(step)]
        limits.append(torch.cat(parts, dim=1))
    low, high = torch.stack(limits, dim=1).unbind(0)
    if form == "bounded":
        ends = torch.stack([_to_form(low, form), _to_form(high, form)])
        # the bounded form falls to 0 where the ratio passes through 0
        low, high = torch.where((low < 0) & (high > 0), ends[0] * 0, ends.amin(0)), ends.amax(0)
    elif form == "db":
        low, high = (torch.where(end < 0, float("-inf"), _to_form(end, form)) for end in (low, high))
    return SNCIInterval(low.to(working_dtype(scores)), high.to(working_dtype(scores)))


def snci_permutation(scores: Tensor, groups: Labels, *, n_permutations: int = 9999, seed: int = 0) -> Tensor:
    """Test whether a group is more consistent at an ROI than as many models of any group would be.

    Args:
        scores: (M, R) score of each model at each ROI.
        groups: M strings or integers, the group of each model, at least two distinct.
        n_permutations: P random relabelings, shared by all ROIs; p is no smaller than 1 / (P + 1).
        seed: seed of the relabelings; the global generator is untouched.

    Returns:
        (G, R) float64 p values in (0, 1], groups in sorted order; small is evidence. NaN where `snci` is
        NaN (with its warning), and at an ROI where any model's score is missing.

    Raises:
        ValueError: labels that do not match, or one group.

    Example:
        >>> scores = torch.tensor([[0.50], [0.51], [0.52], [0.49], [0.1], [0.9], [0.3], [0.6]])
        >>> p = snci_permutation(scores, ["a"] * 4 + ["b"] * 4, n_permutations=999)
        >>> bool(p[0] < 0.05 < p[1])
        True
    """
    check_permutations(n_permutations)
    observed = snci(scores.to(torch.float64), groups)  # and its checks and warnings
    labels = Relabeling.read(groups, len(scores))
    codes, names = labels.codes, labels.names
    if len(names) < 2:
        raise InputError(f"A permutation p needs at least two groups to shuffle, got {list(names)}.")
    sizes = torch.bincount(codes).to(scores.device, torch.float64)[:, None]
    wide = scores.to(torch.float64)
    level = wide.mean(0)
    # sums of squares about the ROI's mean over all models: about zero they would cancel
    wide = wide - level
    wide = wide.masked_fill(wide.abs() <= 1e-14 * level.abs(), 0.0)

    def ratios(members: Tensor) -> Tensor:
        flat = members.reshape(len(members), -1).T
        count = flat.sum(1, keepdim=True)
        mean = (flat @ wide) / count
        var = ((flat @ wide**2) / count - mean**2).clamp(min=0) * count / (count - 1)
        return ((mean + level) / var.sqrt()).view(-1, len(sizes), wide.shape[1])

    width = 1 + 4 * wide.shape[1] // len(wide)
    blocks = shuffled_membership(labels, n_permutations, seed, scores.device, width)
    reference = ratios(membership(codes, len(names), scores.device))[0]
    p_value = relabeling_p(reference, (ratios(block) for block in blocks), n_permutations)
    return p_value.masked_fill(observed.isnan() | wide.isnan().any(0), float("nan"))


def convergence(scores: Tensor, groups: Labels) -> Tensor:
    """Measure where all groups align consistently: the smallest bounded SNCI over groups.

    Args:
        scores: (M, R) score of each model at each ROI, not negative.
        groups: M strings or integers, the group of each model, at least two distinct.

    Returns:
        (R,) in [0, 1]; high only where every group is consistent. NaN where one of them is.

    Raises:
        ValueError: labels that do not match, or one group.

    Example:
        >>> scores = torch.tensor([[0.1, 0.3], [0.3, 0.4], [0.2, 0.1], [0.4, 0.5]])
        >>> convergence(scores, ["vision", "vision", "audio", "audio"])
        tensor([0.6667, 0.5294])
    """
    bounded = snci(scores, groups, form="bounded")
    if len(bounded) < 2:
        raise InputError("Convergence compares groups: expected at least two, got one.")
    return bounded.amin(0)


def _by_group(scores: Tensor, groups: Labels) -> tuple[list[Tensor], tuple[object, ...]]:
    check_shape("scores", scores, "M R")
    codes, names = encode_labels(groups, len(scores))
    codes = codes.to(scores.device)
    return [scores[codes == g].to(torch.float64) for g in range(len(names))], names


def _ratio(group: Tensor) -> Tensor:
    """Divide mean by std (R,) of scores (n, R); exact agreement is found before rounding can hide it."""
    if len(group) < 2:
        return torch.full_like(group[0], float("nan"))
    constant = (group == group[0]).all(0)
    agreed = torch.where(group[0] == 0, float("nan"), group[0].sign() * float("inf"))
    return torch.where(constant, agreed, group.mean(0) / group.std(0))


def _to_form(ratio: Tensor, form: Form) -> Tensor:
    if form == "ratio":
        return ratio
    if form == "db":
        return 20 * ratio.log10()
    return 1 / (1 + ratio**-2)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
