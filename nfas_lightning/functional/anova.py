"""One-way analysis of variance, ROI by ROI."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
from scipy.special import fdtrc
from torch import Tensor

from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.relabeling import (
    Labels,
    Relabeling,
    check_permutations,
    group_sizes,
    membership,
    relabeling_p,
    shuffled_membership,
)

__all__ = ["AnovaResult", "anova"]


class AnovaResult(NamedTuple):
    """One ANOVA per ROI.

    Attributes:
        statistic: (R,) F with G - 1 and M - G degrees of freedom.
        p_value: (R,) upper tail of F, or with strata or units of permuted F, in [0, 1]; small is evidence.
        q_value: (R,) Benjamini-Hochberg q over ROIs.
        eta_squared: (R,) share of variance between groups, in [0, 1].
    """

    statistic: Tensor
    p_value: Tensor
    q_value: Tensor
    eta_squared: Tensor


def anova(
    values: Tensor,
    groups: Labels,
    *,
    strata: Labels | None = None,
    units: Labels | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> AnovaResult:
    r"""Test per ROI whether group means differ.

    .. math:: F = \frac{SS_B / (G - 1)}{SS_W / (M - G)}, \quad \eta^2 = \frac{SS_B}{SS_B + SS_W}

    Computed in float64 on the device of `values`.

    Args:
        values: (M, R) one vector per model.
        groups: M strings or integers, the group of each model.
        strata: see `permanova`; p is then that of permutations, else of the F distribution.
        units: see `permanova`; p is then that of permutations.
        n_permutations: P random relabelings, shared by all ROIs.
        seed: seed of the relabelings; the global generator is untouched.

    Returns:
        `AnovaResult`. An ROI with a missing score, or with no variance inside any group, is NaN with a
        warning and does not count in q.

    Raises:
        ValueError: one group, only groups of one, or strata of one group each.

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
    check_permutations(n_permutations)
    labels = Relabeling.read(groups, len(values), strata, units)
    n_groups = len(labels.names)
    group_sizes(labels.codes, n_groups)
    wide = values.to(torch.float64)
    missing = ~torch.isfinite(wide).all(0)
    # deviations from the first group's first model: a constant ROI becomes exactly zero
    wide = wide - wide[0]
    (means,), (between,) = _between(wide, membership(labels.codes, n_groups, wide.device))
    within = ((wide - means[labels.codes.to(wide.device)]) ** 2).sum(0)
    flat = within <= 1e-28 * (wide**2).sum(0)
    _warn("have a missing score", missing)
    _warn("do not vary inside any group", flat & ~missing)
    freedom = n_groups - 1, len(wide) - n_groups
    statistic = (between / freedom[0]) / (within / freedom[1])
    statistic = statistic.masked_fill(missing | flat, math.nan)
    if strata is None and units is None:
        p_value = torch.as_tensor(fdtrc(*freedom, statistic.cpu().numpy())).to(statistic)
    else:
        width = 1 + 3 * wide.shape[1] // len(wide)
        blocks = shuffled_membership(labels, n_permutations, seed, wide.device, width)
        # the total is fixed: F rises with the sum between groups
        null = (_between(wide, members)[1] for members in blocks)
        p_value = relabeling_p(between.masked_fill(statistic.isnan(), math.nan), null, n_permutations)
    eta_squared = (between / (between + within)).masked_fill(missing | flat, math.nan)
    return AnovaResult(statistic, p_value, fdr(p_value), eta_squared)


def _between(wide: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Return means (P, G, R) and sums of squares between groups (P, R) under memberships (M, P, G)."""
    sizes = members.sum(0)[..., None]
    means = (members.flatten(1).T @ wide).view(*members.shape[1:], -1) / sizes
    return means, (sizes * (means - wide.mean(0)) ** 2).sum(1)


def _warn(reason: str, rois: Tensor) -> None:
    if bool(rois.any()):
        warnings.warn(f"{int(rois.sum())} of {len(rois)} ROIs {reason}: their ANOVA is NaN.", stacklevel=3)
