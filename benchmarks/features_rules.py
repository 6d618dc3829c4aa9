"""Rules that turn a depth trajectory into a feature, from stimuli and the spectrum alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.functional.dmd import DMDResult, combine_depths, dmd

__all__ = ["RULES", "feature_of"]

RULES: dict[str, Mapping[str, Any]] = {
    "default": {},
    **{f"rank {rank}": {"svd_rank": rank} for rank in (1, 2, 3, 4)},
    "rank (L-1)//2": {"svd_rank": "half"},
    "Gavish-Donoho": {"svd_rank": 0},
    **{f"energy {share}": {"svd_rank": share} for share in (0.9, 0.95, 0.99)},
    "no cut": {"svd_rank": -1},
    **{
        f"{centering}, {name}": {"centering": centering, **rule}
        for centering in ("center", "zscore")
        for name, rule in {
            "default": {}, "rank 1": {"svd_rank": 1}, "rank 2": {"svd_rank": 2}, "GD": {"svd_rank": 0}
        }.items()
    },
    **{
        f"rank 3, {criterion}": {"svd_rank": 3, "criterion": criterion}
        for criterion in ("unit", "dominant", "amplitude")
    },
    **{
        f"{cut}, band {width}": {"svd_rank": rank, "band": width}
        for cut, rank in {"rank 2": 2, "rank 3": 3, "energy 0.99": 0.99}.items()
        for width in (0.1, 0.2, 0.4)
    },
    "rank 2, both modes": {"svd_rank": 2, "band": torch.inf},
    "rank 2, sum of band 0.4": {"svd_rank": 2, "band": 0.4, "summed": True},
    "energy 0.9, sum of all": {"svd_rank": 0.9, "band": torch.inf, "summed": True},
}  # fmt: skip


def feature_of(H: Tensor, rule: str) -> tuple[Tensor, Any]:
    """Return a rule's feature of (N, L, D), and a key that rules with the same feature share."""
    options = dict(RULES[rule])
    band, summed = options.pop("band", None), options.pop("summed", False)
    rank = options.get("svd_rank")
    if rank == "half":
        options["svd_rank"] = max(1, (H.shape[1] - 1) // 2)
    elif isinstance(rank, int) and rank > H.shape[1] - 1:
        options["svd_rank"] = -1
    result = dmd(H, **options)
    modes = _in_band(result, band)
    key = (result.centering, result.svd_rank, tuple(modes), summed and len(modes) > 1)
    if summed:
        twice = torch.where(result.eigenvalues[modes].imag > 0, 2, 1)[:, None]
        total = (twice * result.mode_coefficients[modes].real).sum(0, keepdim=True)
        result = replace(
            result,
            eigenvalues=torch.ones(1, dtype=torch.complex128),
            mode_coefficients=total.to(torch.complex128),
            stable_index=torch.tensor(0),
        )
        modes = [0]
    parts = [combine_depths(H, replace(result, stable_index=torch.tensor(mode))) for mode in modes]
    return torch.cat(parts, dim=1), key


def _in_band(result: DMDResult, band: float | None) -> list[int]:
    """Return the modes no farther from the unit circle than `band`, one of each pair; else the stable one."""
    if band is None:
        return [int(result.stable_index)]
    near = ((result.eigenvalues.abs() - 1).abs() <= band) & (result.eigenvalues.imag >= 0)
    return near.nonzero().flatten().tolist() or [int(result.stable_index)]
