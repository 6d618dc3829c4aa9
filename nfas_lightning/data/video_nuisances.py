"""What any clip shows without a network: brightness, contrast and motion, the line that models must beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.content import require_file
from nfas_lightning.data.parcel_cache import content_hash, parcels_key, read_parcels, write_parcels
from nfas_lightning.data.parcels import Parcels
from nfas_lightning.data.video import ClipFiles, every_frame

__all__ = ["VIDEO_NUISANCES", "frame_statistics", "video_nuisances"]

VIDEO_NUISANCES = ("luminance", "contrast", "motion")
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


def frame_statistics(frames: Iterable[tuple[Tensor, float]]) -> Tensor:
    """Return the mean luminance of a clip, its spread over pixels, and how fast it changes.

    Args:
        frames: pictures (3, H, W), uint8 or in [0, 1], each with the seconds that it is on the screen. Motion
            needs all frames: between frames that are taken twice a second, most of it is lost.

    Returns:
        (3,): means over time of luminance and of its standard deviation over the picture, and the mean
        absolute change of a pixel from frame to frame, summed and divided by the clip's seconds, so that
        clips of unlike frame rates compare; 0 for a single frame.

    Raises:
        ValueError: the frames last no time.

    Example:
        >>> frame_statistics([(torch.zeros(3, 4, 4), 1.0), (torch.ones(3, 4, 4), 1.0)])
        tensor([0.5000, 0.0000, 0.5000])
    """
    luma = torch.tensor(_LUMA)
    total, sums, before = 0.0, torch.zeros(3, dtype=torch.float64), None
    for picture, seconds in frames:
        scale = 255.0 if picture.dtype == torch.uint8 else 1.0
        gray = torch.einsum("chw,c->hw", picture.float(), luma) / scale
        sums[0] += seconds * float(gray.mean())
        sums[1] += seconds * float(gray.std(correction=0))
        sums[2] += 0.0 if before is None else float((gray - before).abs().mean())
        total, before = total + seconds, gray
    if not total > 0:
        raise ValueError(f"frames must last some time, got {total} s of them.")
    return (sums / total).float()


def video_nuisances(
    clips: ClipFiles, names: Sequence[str], *, cache: Path | None = None, progress: bool = True
) -> Tensor:
    """Compute `frame_statistics` of all frames of every clip, or take them from the cache.

    Args:
        clips: N files, decoded at their own frame rate whatever rate the models see.
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
    hashes = [str(content_hash(require_file(path), cache)) for path in clips.paths]
    key = parcels_key(
        hashes, "", {"statistics of every frame": ",".join(VIDEO_NUISANCES), "size": str(clips.size)}
    )
    if cache is not None:
        # damaged or absent, it is computed anew: that costs no more than time
        known, _ = read_parcels(cache, key, len(VIDEO_NUISANCES))
        if known is not None:
            return known.values[:, columns]
    paths = track(clips.paths, "clips", transient=True, disable=not progress)
    values = torch.stack([frame_statistics(every_frame(path, size=clips.size)) for path in paths])
    if cache is not None:
        write_parcels(cache, key, Parcels(values, torch.full((len(VIDEO_NUISANCES),), len(values))))
    return values[:, columns]
