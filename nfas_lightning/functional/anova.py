"""One-way analysis of variance, ROI by ROI."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.special import fdtrc
from torch import Tensor

from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.relabeling import encode_labels, group_sizes

__all__ = ["AnovaResult", "anova"]


class AnovaResult(NamedTuple):
    """One ANOVA per ROI.

    Attributes:
        statistic: (R,) F with G - 1 and M - G degrees of freedom.
        p_value: (R,) upper tail of F, in [0, 1]; small is evidence.
        q_value: (R,) Benjamini-Hochberg q over ROIs.
        eta_squared: (R,) share of variance between groups, in [0, 1].
    """

    statistic: Tensor
    p_value: Tensor
    q_value: Tensor
    eta_squared: Tensor


def anova(values: Tensor, groups: Sequence[object] | Tensor) -> AnovaResult:
    r"""Test per ROI whether group means differ.

    .. math:: F = \frac{SS_B / (G - 1)}{SS_W / (M - G)}, \quad \eta^2 = \frac{SS_B}{SS_B + SS_W}

    Computed in float64 on the device of `values`.

    Args:
        values: (M, R) one vector per model.
        groups: M strings or integers, the group of each model.

    Returns:
        `AnovaResult`. An ROI with a missing score, or with no variance inside any group, is NaN with a
        warning and does not count in q.

    Raises:
        ValueError: one group, or only groups of one.

    Reference:
        Fisher (1925), Statistical Methods for Research Workers; eta squared: Cohen (1973), Educ. Psychol.
        Meas. 33, 107-112, doi:10.1177/001316447303300111.

    Example:
        >>> values = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
        >>> result = anova(values, ["a", "a", "a", "b", "b", "b"])
        >>> f"F = {result.statistic[0]:.1f}, p = {result.p_value[0]:.3f}, eta2 = {result.eta_squared[0]:.2f}"
        'F = 13.5, p = 0.021, eta2 = 0.77'
    """
    check_shape("values", values, "M R")
    codes, names = encode_labels(groups, len(values))
    sizes = group_sizes(codes, len(names)).to(values.device, torch.float64)
    codes = codes.to(values.device)
    wide = values.to(torch.float64)
    missing = ~torch.isfinite(wide).all(0)
    # deviations from the first group's first model: a constant ROI becomes exactly zero
    wide = wide - wide[0]
    means = torch.zeros(len(names), wide.shape[1], dtype=wide.dtype, device=wide.device)
    means.index_add_(0, codes, wide).div_(sizes[:, None])
    within = ((wide - means[codes]) ** 2).sum(0)
    between = (sizes[:, None] * (means - wide.mean(0)) ** 2).sum(0)
    flat = within <= 1e-28 * (wide**2).sum(0)
    _warn("have a missing score", missing)
    _warn("do not vary inside any group", flat & ~missing)
    freedom = len(names) - 1, len(wide) - len(names)
    statistic = (between / freedom[0]) / (within / freedom[1])
    statistic = statistic.masked_fill(missing | flat, float("nan"))
    p_value = torch.as_tensor(fdtrc(*freedom, statistic.cpu().numpy())).to(statistic)
    eta_squared = (between / (between + within)).masked_fill(missing | flat, float("nan"))
    return AnovaResult(statistic, p_value, fdr(p_value), eta_squared)


def _warn(reason: str, rois: Tensor) -> None:
    if bool(rois.any()):
        warnings.warn(f"{int(rois.sum())} of {len(rois)} ROIs {reason}: their ANOVA is NaN.", stacklevel=3)
