"""False discovery rate over ROIs."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape

__all__ = ["fdr"]


def fdr(p: Tensor) -> Tensor:
    r"""Turn p values into Benjamini-Hochberg q values.

    .. math:: q_{(i)} = \min_{j \ge i} \min(1, m\, p_{(j)} / j)

    Args:
        p: (R,) p values in [0, 1]. NaN marks an ROI without a test: it stays NaN and does not count in m.

    Returns:
        (R,) q values in [0, 1], never below `p`; small is evidence.

    Raises:
        ValueError: a value lies outside [0, 1].

    Reference:
        Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289-300, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Example:
        >>> fdr(torch.tensor([0.01, 0.04, float("nan"), 0.03]))
        tensor([0.0300, 0.0400,    nan, 0.0400])
    """
    check_shape("p", p, "R")
    tested = ~torch.isnan(p)
    values = p[tested]
    if values.numel() and (values.min() < 0 or values.max() > 1):
        raise InputError(f"p must lie in [0, 1], got {values.min().item():g} to {values.max().item():g}.")
    ordered, order = values.sort()
    m = len(values)
    scaled = ordered * m / torch.arange(1, m + 1, device=p.device, dtype=p.dtype)
    # the running minimum from the largest p down makes q monotone in p
    monotone = scaled.flip(0).cummin(0).values.flip(0) if m else scaled
    q = torch.full_like(p, float("nan"))
    q[tested] = torch.empty_like(values).scatter_(0, order, monotone.clamp(max=1))
    return q
