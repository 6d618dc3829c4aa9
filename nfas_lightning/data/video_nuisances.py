"""What any clip shows without a network: brightness, contrast and motion, the line that models must beat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.parcel_cache import parcels_key, read_parcels, write_parcels
from nfas_lightning.data.parcels import Parcels
from nfas_lightning.data.stimulus_set import StimulusSet

__all__ = ["VIDEO_NUISANCES", "frame_statistics", "video_nuisances"]

VIDEO_NUISANCES = ("luminance", "contrast", "motion")
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


def frame_statistics(clip: Tensor) -> Tensor:
    """Return the mean luminance, its spread over pixels, and its change from frame to frame.

    Args:
        clip: (F, 3, H, W) in [0, 1].

    Returns:
        (3,): means over the frames of luminance and of its standard deviation over the picture, and the mean
        absolute change of a pixel between neighbouring frames, 0 for a single frame.

    Example:
        >>> frame_statistics(torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]))
        tensor([0.5000, 0.0000, 1.0000])
    """
    grey = torch.einsum("fchw,c->fhw", clip, torch.tensor(_LUMA))
    motion = grey.diff(dim=0).abs().mean() if len(grey) > 1 else grey.new_zeros(())
    spread = grey.flatten(1).std(dim=1, correction=0).mean()
    return torch.stack([grey.mean(), spread, motion])


def video_nuisances(
    stimuli: StimulusSet, names: Sequence[str], *, cache: Path | None = None, progress: bool = True
) -> Tensor:
    """Compute `frame_statistics` of every clip, or take them from the cache: all clips are decoded once.

    Args:
        stimuli: N clips.
        names: columns wanted, of `VIDEO_NUISANCES`.
        cache: folder of the parcel cache, None for none.
        progress: show a bar.

    Returns:
        (N, Q).

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in names if name not in VIDEO_NUISANCES]
    if unknown or len(set(names)) != len(names):
        raise ValueError(
            f"nuisances must be some of {', '.join(VIDEO_NUISANCES)}, each once, got {list(names)}."
        )
    columns = [VIDEO_NUISANCES.index(name) for name in names]
    key = parcels_key([stimuli.sha256()], "", {"nuisances": ",".join(VIDEO_NUISANCES)})
    if cache is not None:
        # damaged or absent, it is computed anew: that costs no more than time
        known, _ = read_parcels(cache, key, len(VIDEO_NUISANCES))
        if known is not None:
            return known.values[:, columns]
    places = track(range(len(stimuli)), "clips", transient=True, disable=not progress)
    values = torch.stack([frame_statistics(stimuli[i][1]) for i in places])
    if cache is not None:
        write_parcels(cache, key, Parcels(values, torch.full((len(VIDEO_NUISANCES),), len(values))))
    return values[:, columns]
