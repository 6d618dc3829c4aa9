"""The channels and lags of responses in time, such as those of MEG and EEG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape

__all__ = ["Lags", "target_names"]


@dataclass(frozen=True)
class Lags:
    """Channels by lags: of C * K targets, number c * K + k is channel c at lag k.

    Attributes:
        channels: C rows, a sensor or a source each: ``channel``, unique; where known ``kind`` (``"eeg"``,
            ``"mag"``, ``"grad"``), ``head_x``, ``head_y``, ``head_z`` (m, head coordinates), and any column
            of regions, such as ``region``, for `ScoringSettings.regions`.
        times: (K,) seconds after stimulus onset, ascending and evenly spaced.
        neighbors: (E, 2) places of neighboring channels, each pair once, for cluster tests; without any,
            clusters extend over lags alone.
    """

    channels: pd.DataFrame
    times: Tensor
    neighbors: Tensor = field(default_factory=lambda: torch.empty(0, 2, dtype=torch.int64))

    def __post_init__(self) -> None:
        check_shape("times", self.times, "K")
        check_shape("neighbors", self.neighbors, "E two", two=2)
        if "channel" not in self.channels.columns or self.channels["channel"].duplicated().any():
            raise InputError(
                "channels must be a table with a column 'channel' of unique names, got the columns "
                f"{list(self.channels.columns)} and {len(self.channels)} rows."
            )
        if not bool(self.times.isfinite().all()):
            raise InputError("times must be finite seconds after onset, got NaN or infinite ones.")
        steps = self.times.double().diff()
        if len(steps) and not (
            steps.min() > 0 and bool(((steps - steps.mean()).abs() < 1e-2 * steps.mean()).all())
        ):
            raise InputError(
                "times must be ascending, evenly spaced seconds after onset, got steps of "
                f"{float(steps.min()):g} to {float(steps.max()):g} s."
            )
        if self.neighbors.numel() and not 0 <= int(self.neighbors.min()) <= int(self.neighbors.max()) < len(
            self.channels
        ):
            raise InputError(
                f"neighbors must be places of channels, 0 to {len(self.channels) - 1}, got "
                f"{int(self.neighbors.min())} to {int(self.neighbors.max())}."
            )

    def targets(self) -> pd.DataFrame:
        """Return one row per target, for `Responses.rois`: the channel's, with ``roi`` and ``lag`` (s)."""
        channels = self.channels.loc[self.channels.index.repeat(len(self.times))].reset_index(drop=True)
        channels["lag"] = self.times.double().repeat(len(self.channels)).round(decimals=6).numpy()
        channels.insert(0, "roi", target_names(channels["channel"], channels["lag"]))
        return channels


def target_names(channels: Iterable[object], lags: Iterable[float]) -> list[str]:
    """Name targets by channel and milliseconds.

    Example:
        >>> target_names(["Oz", "MEG0111"], [0.12, -0.0125])
        ['Oz@120ms', 'MEG0111@-12.5ms']
    """
    return [f"{channel}@{round(1000 * lag, 3):g}ms" for channel, lag in zip(channels, lags, strict=True)]
