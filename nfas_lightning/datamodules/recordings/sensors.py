"""Channels as MNE describes them: names, places in the head, regions and neighbors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.lags import Lags
from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.models.optional import require

__all__ = ["lags_of", "repetition_ceilings", "require_mne"]

_SPLITS = 20  # of repetitions, of which there are few


def require_mne() -> Any:
    """Import MNE, which the extra ``meg`` brings."""
    return require("mne", "meg")


def lags_of(info: Any, times: Any) -> Lags:
    """Describe the channels of an `mne.Info` by `Lags`.

    ``region`` is where a channel lies among the others: left, middle or right, and front, center or back.
    Neighbors are those of `mne.channels.find_ch_adjacency`, among channels of one kind.

    Args:
        info: of the channels that are scored, all data channels.
        times: (K,) seconds after onset.
    """
    mne = require_mne()
    kinds = info.get_channel_types()
    table = pd.DataFrame({"channel": info.ch_names, "kind": kinds})
    places = np.array([channel["loc"][:3] for channel in info["chs"]], dtype=float)
    known = np.isfinite(places).all() and bool(np.ptp(places, axis=0).all())
    pairs = []
    if known:
        table[["head_x", "head_y", "head_z"]] = places
        x, y = (
            np.digitize(column, np.quantile(column, [1 / 3, 2 / 3]))
            for column in (places[:, 0], places[:, 1])
        )
        sides, rows = np.array(["left", "middle", "right"]), np.array(["back", "center", "front"])
        table["region"] = [f"{row} {side}" for row, side in zip(rows[y], sides[x], strict=True)]
        for kind in sorted(set(kinds)):
            if kinds.count(kind) > 3:  # a triangulation needs more
                with mne.utils.use_log_level("ERROR"):  # it tells of each triangulation
                    adjacency, names = mne.channels.find_ch_adjacency(info, kind)
                # of a system that MNE knows it has all channels, those included that are not here
                there = [name in info.ch_names for name in names]
                place = np.array(
                    [info.ch_names.index(n) for n, kept in zip(names, there, strict=True) if kept]
                )
                pairs.append(place[np.argwhere(np.triu(adjacency.toarray()[there][:, there], 1))])
    neighbors = np.concatenate(pairs) if pairs else np.empty((0, 2))
    seconds = torch.from_numpy(np.array(times, dtype=float))
    return Lags(table, seconds, torch.from_numpy(neighbors.astype(np.int64)))


def repetition_ceilings(repeats: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate noise ceilings by split halves over repetitions of the stimuli.

    Args:
        repeats: (S, P, N, R) responses of S subjects to P repetitions, NaN where there were fewer; P >= 2.

    Returns:
        (R,) ceiling of a model of the subjects' mean, and (S, R) of one of each subject, see `noise_ceiling`.
    """
    with warnings.catch_warnings():  # of bad channels, which whoever reads them tells of
        warnings.filterwarnings("ignore", message=".* have no noise ceiling")
        group, *each = (
            noise_ceiling(one, method="split_half", n_splits=_SPLITS)
            for one in (repeats.nanmean(0), *repeats)
        )
    return group, torch.stack(each)
