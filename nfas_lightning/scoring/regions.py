"""Regions formed after the fit: means of scores over the voxels or vertices of each."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.lags import target_names
from nfas_lightning.errors import InputError

__all__ = ["Regions"]

_PLACE = ["x", "y", "z"]


@dataclass(frozen=True)
class Regions:
    """Which targets a region is the mean of.

    Attributes:
        rois: G rows, a region each: ``roi``, ``network`` and ``hemisphere`` where there are any and all
            targets agree, the mean of ``x``, ``y``, ``z``, and ``n_targets``; of responses in time
            ``channel`` (the region's name) and ``lag``, a region at each lag.
        member: (R,) region of each target, -1 for none.
    """

    rois: pd.DataFrame
    member: Tensor

    @classmethod
    def of(cls, targets: pd.DataFrame, column: str) -> Regions:
        """Group targets by a column of their table; an empty name or NaN is no region.

        Args:
            targets: R rows, see `Responses.rois`.
            column: such as ``"parcel"`` or ``"network"``.

        Raises:
            ValueError: there is no such column, or no target has a name in it.
        """
        if column not in targets.columns:
            raise InputError(
                f"regions must be a column of the ROI table that names regions, got {column!r}: the table "
                f"has {list(targets.columns)}. A datamodule's regions='voxels' or 'vertices' brings 'parcel'."
            )
        names = targets[column].replace("", None)
        in_time = "lag" in targets.columns
        if in_time:  # a region at each lag
            targets = targets.assign(channel=names)
            timed = pd.Series(target_names(names, targets["lag"]), index=names.index, dtype=object)
            names = timed.where(names.notna())
        codes, regions = pd.factorize(names)
        if not len(regions):
            raise InputError(
                f"regions={column!r} must name a region of some target, got none in that column."
            )
        kept = targets.assign(roi=names)[names.notna()]
        groups = kept.groupby("roi", sort=False)
        rois = pd.DataFrame({"roi": regions.astype(str)})
        for name in ("network", "hemisphere"):
            if name in targets.columns:
                same = kept[name].fillna("") == groups[name].transform("first")
                agree = same.groupby(kept["roi"], sort=False).all()
                rois[name] = groups[name].first().where(agree, "").to_numpy()
        if in_time:
            rois["channel"], rois["lag"] = (
                groups["channel"].first().to_numpy(),
                groups["lag"].first().to_numpy(),
            )
        for name in _PLACE:
            if name in targets.columns:
                rois[name] = groups[name].mean().to_numpy()
        return cls(rois.assign(n_targets=groups.size().to_numpy()), torch.from_numpy(codes.copy()))

    def mean(self, values: Tensor, counted: Tensor | None = None) -> Tensor:
        """Average over each region's targets that have a value.

        Args:
            values: (..., R); NaN does not count.
            counted: (R,) booleans, targets that count; None: all.

        Returns:
            (..., G); NaN for a region of which no target counts.

        Example:
            >>> regions = Regions.of(pd.DataFrame({"parcel": ["a", "", "a", "b"]}), "parcel")
            >>> regions.mean(torch.tensor([1.0, 9.0, 2.0, 3.0]))
            tensor([1.5000, 3.0000])
        """
        member = self.member.to(values.device)
        inside = member >= 0 if counted is None else (member >= 0) & counted.to(values.device)
        member, values = member[inside], values[..., inside]
        seen = ~values.isnan()
        total, count = (
            values.new_zeros(*values.shape[:-1], len(self.rois)).index_add_(-1, member, part.to(values.dtype))
            for part in (values.nan_to_num(nan=0.0), seen)
        )
        return total / count
