"""Frames of short video files, at a rate, decoded once a clip."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nfas_lightning.data.content import require_file
from nfas_lightning.data.parcel_cache import content_hash
from nfas_lightning.data.pictures import check_size

__all__ = ["ClipFiles", "read_clip"]

# Formats that hold their pictures themselves. ffmpeg goes by the content whatever a file is called, and a
# playlist or a list of parts may name any other file of the disk.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,asf,flv,gif,m4v,mxf,ivf"


class ClipFiles(Dataset[Tensor]):
    """Video files as stimuli of `StimulusSet`: entry i is the frames of file i.

    Args:
        paths: the files.
        frames_per_second: frames taken a second.
        seconds: what every clip lasts, give or take a frame: all clips then have the same number of frames.
            None: each clip's own length.
        size: pixels of the shorter side; None: as it is.
        cache: folder that remembers the files' hashes; None: none.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        frames_per_second: float,
        *,
        seconds: float | None = None,
        size: int | None = None,
        cache: Path | None = None,
    ) -> None:
        _check(frames_per_second, size)
        self.paths = [Path(path) for path in paths]
        self.frames_per_second, self.seconds, self.size, self.cache = frames_per_second, seconds, size, cache

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        n_frames = None if self.seconds is None else max(1, round(self.frames_per_second * self.seconds))
        return read_clip(self.paths[index], self.frames_per_second, n_frames=n_frames, size=self.size)

    def sha256(self) -> str:
        """Hash files and choice of frames; nothing is decoded."""
        digest = hashlib.sha256(f"clips {self.frames_per_second:g} {self.seconds} {self.size}".encode())
        for path in self.paths:
            digest.update(str(content_hash(require_file(path), self.cache)).encode())
        return digest.hexdigest()


def read_clip(
    path: str | os.PathLike[str],
    frames_per_second: float,
    *,
    n_frames: int | None = None,
    size: int | None = None,
) -> Tensor:
    """Decode a video file once and take frames at equal distances.

    The clip is cut into equal pieces, and the frame that is on the screen in the middle of each is taken, so
    that first and last piece count alike. Sound, if any, is ignored.

    Args:
        path: a file that ffmpeg reads.
        frames_per_second: frames taken a second; a rate above the file's own repeats frames.
        n_frames: F; None: the clip's length times `frames_per_second`, rounded, at least one.
        size: pixels of the shorter side; None: as it is.

    Returns:
        (F, 3, H, W) uint8, RGB.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: the file is no video, is damaged or cut short.
        ImportError: PyAV is missing.
    """
    _check(frames_per_second, size)
    path = require_file(path)
    av = _pyav()
    try:
        with av.open(str(path), options={"format_whitelist": _CONTAINERS}) as container:
            if not container.streams.video:
                raise ValueError(f"{path} must hold a video, got a file without one.")
            stream = container.streams.video[0]
            seconds = _duration(container, stream, path)
            count = n_frames or max(1, round(seconds * frames_per_second))
            middles = (np.arange(count) + 0.5) * seconds / count
            taken = list(_at(middles, container, stream, size, seconds, path))
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path} must be a whole video file, got one that can't be decoded ({error}): unpack or download "
            "it again."
        ) from error
    return torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).contiguous()


def _at(
    middles: Any, container: Any, stream: Any, size: int | None, seconds: float, path: Path
) -> Iterator[Any]:
    """Yield the frame that is shown at each time; (H, W, 3) arrays."""
    start = float((stream.start_time or 0) * stream.time_base)
    shown: Any = None
    place, frame_s = 0, 0.0
    for frame in container.decode(stream):
        if frame.pts is None:
            raise ValueError(f"{path} must say when each frame is shown, got a frame without a time.")
        if frame.is_corrupt:  # ffmpeg would patch it with what it guesses
            raise ValueError(
                f"{path} must be a whole video file, got damaged pictures: unpack or download it again."
            )
        begins = float(frame.pts * stream.time_base) - start
        # the first frame stands for all that is before it
        while shown is not None and place < len(middles) and middles[place] < begins:
            yield _pixels(shown, size)
            place += 1
        shown, frame_s, last = frame, float((frame.duration or 0) * stream.time_base), begins
    if shown is None:
        raise ValueError(f"{path} must hold frames, got a video without any: unpack or download it again.")
    # half a second of slack: lengths in headers are rounded, and a last frame may stay on the screen
    if last + frame_s < seconds - max(0.5, 2 * frame_s):
        raise ValueError(
            f"{path} must last {seconds:.2f} s, as its header says, got frames up to {last + frame_s:.2f} s: "
            "it is cut short. Unpack or download it again."
        )
    for _ in range(place, len(middles)):
        yield _pixels(shown, size)


def _duration(container: Any, stream: Any, path: Path) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration) / 1e6  # ffmpeg counts the file's in microseconds
    raise ValueError(f"{path} must say how long it lasts, got a video without a duration: write it anew.")


def _pixels(frame: Any, size: int | None) -> Any:
    if size is None:
        return frame.to_ndarray(format="rgb24")
    factor = size / min(frame.width, frame.height)
    width, height = (max(size, round(side * factor)) for side in (frame.width, frame.height))
    return frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")


def _check(frames_per_second: float, size: int | None) -> None:
    if not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise ValueError(f"frames_per_second must be a positive number, got {frames_per_second}.")
    check_size(size)


def _pyav() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ImportError(
            "av (PyAV) is needed to decode videos and is not installed: pip install 'nfas-lightning[vision]'."
        ) from error
