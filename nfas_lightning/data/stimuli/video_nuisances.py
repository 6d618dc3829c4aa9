"""What any clip shows without a network: brightness, contrast and motion, the line that models must beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.content import require_file
from nfas_lightning.data.regions.parcel_cache import content_hash, parcels_key, read_parcels, write_parcels
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.data.stimuli.clips import ClipFiles, every_frame

__all__ = ["VIDEO_NUISANCES", "frame_series", "frame_statistics", "video_nuisances"]

VIDEO_NUISANCES = ("luminance", "contrast", "motion")
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


def frame_series(frames: Iterable[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
    """Describe each frame of a clip or film by its luminance, its spread over pixels and its change.

    Args:
        frames: F pictures (3, H, W), uint8 or in [0, 1], each with the seconds that it is on the screen, as
            `nfas_lightning.data.stimuli.clips.every_frame` gives them. Motion needs all frames: most of
            it is lost between frames that are taken twice a second.

    Returns:
        (F,) seconds, and (F, 3) float64: luminance, its standard deviation over the picture, and the mean
        absolute change of a pixel since the frame before, a second, so that unlike frame rates compare; the
        first frame's is 0.

    Example:
        >>> frame_series([(torch.zeros(3, 4, 4), 1.0), (torch.ones(3, 4, 4), 0.5)])[1]
        tensor([[0., 0., 0.],
                [1., 0., 2.]], dtype=torch.float64)
    """
    luma = torch.tensor(_LUMA)
    lasts, values = [], []
    before: Tensor | None = None
    for picture, seconds in frames:
        gray = torch.einsum("chw,c->hw", picture.float(), luma) / (255 if picture.dtype == torch.uint8 else 1)
        change = 0.0 if before is None or not seconds else float((gray - before).abs().mean()) / seconds
        lasts.append(seconds)
        values.append([float(gray.mean()), float(gray.std(correction=0)), change])
        before = gray
    return torch.tensor(lasts).double(), torch.tensor(values).double().view(-1, len(VIDEO_NUISANCES))


def frame_statistics(frames: Iterable[tuple[Tensor, float]]) -> Tensor:
    """Return the means over time of `frame_series`, (3,): luminance, contrast and motion of a clip.

    Args:
        frames: see `frame_series`.

    Raises:
        ValueError: the frames last no time.
    """
    seconds, values = frame_series(frames)
    total = float(seconds.sum())
    if not total > 0:
        raise ValueError(f"frames must last some time, got {total:g} s of them.")
    return (seconds @ values / total).float()


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
