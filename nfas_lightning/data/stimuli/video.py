"""Video files: frames at a rate or all of them, and what they show without a network."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.stimuli.images import check_size
from nfas_lightning.errors import InputError, MissingPackageError

VIDEO_NUISANCES = ("luminance", "contrast", "motion")
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
_SLACK_S = 0.25  # by which clips of one length differ: encoders round to whole frames
# Formats that hold their pictures themselves. ffmpeg goes by the content whatever a file is called, and a
# playlist or a list of parts may name any other file of the disk.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,asf,flv,gif,m4v,mxf,ivf"


def read_clip(
    path: str | os.PathLike[str],
    frames_per_second: float,
    *,
    n_frames: int | None = None,
    seconds: float | None = None,
    size: int | None = None,
) -> Tensor:
    """Decode a video file once and take the frames in the middles of equal pieces: (F, 3, H, W) uint8, RGB.

    Args:
        path: a file that ffmpeg reads; sound is ignored.
        frames_per_second: frames taken per second; a rate above the file's own repeats frames.
        n_frames: F; None: the clip's length times `frames_per_second`, rounded, at least one.
        seconds: what the clip must last, give or take a quarter of a second; None: any length.
        size: pixels of the shorter side; None: as it is.
    """
    check_frames(frames_per_second, size)
    with _opened(path) as (container, stream, lasts):
        if seconds is not None and abs(lasts - seconds) > _SLACK_S:
            raise InputError(
                f"{path} must last {seconds:g} s, got {lasts:.2f} s: cut it, or pass seconds=None."
            )
        count = n_frames or max(1, round(lasts * frames_per_second))
        middles = (np.arange(count) + 0.5) * lasts / count
        return _shown_at(middles, _frames(container, stream, lasts, path), size, whole=True)


def every_frame(path: str | os.PathLike[str], *, size: int | None = None) -> Iterator[tuple[Tensor, float]]:
    """Decode a video file once, frame by frame.

    Args:
        path: a file that ffmpeg reads.
        size: pixels of the shorter side; None: as it is.

    Yields:
        Each frame (3, H, W), uint8, RGB, and the seconds that it is on the screen; their sum is the length.
    """
    check_size(size)
    with _opened(path) as (container, stream, lasts):
        shown: Any = None
        since = 0.0  # the first frame is for all that is before it
        for frame, begins in _frames(container, stream, lasts, path):
            if shown is not None:
                yield _picture(shown, size), begins - since
                since = begins
            shown = frame
        yield _picture(shown, size), max(lasts - since, 0.0)


def frames_at(path: str | os.PathLike[str], times: Sequence[float], *, size: int | None = None) -> Tensor:
    """Decode the part of a video file with the frames shown at F ascending times (s): (F, 3, H, W) uint8.

    Before the film's beginning is its first frame, after its end its last.
    """
    check_size(size)
    if not len(times) or any(later < earlier for earlier, later in pairwise(times)):
        raise InputError(f"times must be seconds in ascending order, got {list(times)[:5]}.")
    with _opened(path) as (container, stream, lasts):
        first = min(max(times[0], 0.0), lasts)
        container.seek((stream.start_time or 0) + int(first / stream.time_base), stream=stream)
        return _shown_at(times, _frames(container, stream, lasts, path), size, whole=False)


def clip_seconds(path: str | os.PathLike[str]) -> float:
    """Return how long a video file lasts by its header; nothing is decoded."""
    with _opened(path) as (_, _, seconds):
        return seconds


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any, float]]:
    """Open a video: the container, its stream and its length in seconds; errors name the file."""
    path, av = require_file(path), _pyav()
    options = {"format_whitelist": _CONTAINERS}
    with (
        reading(path, "a whole video file", av.error.FFmpegError),
        av.open(str(path), options=options) as container,
    ):
        if not container.streams.video:
            raise InputError(f"{path} must hold a video, got a file without one.")
        stream = container.streams.video[0]
        if not (stream.duration or container.duration):
            raise InputError(f"{path} must have a duration, got a video without one: write it anew.")
        # ffmpeg counts the file's in microseconds
        seconds = stream.duration * stream.time_base if stream.duration else container.duration / 1e6
        yield container, stream, float(seconds)


def _frames(
    container: Any, stream: Any, seconds: float, path: str | os.PathLike[str]
) -> Iterator[tuple[Any, float]]:
    """Yield each frame and the time in seconds at which it appears."""
    start = float((stream.start_time or 0) * stream.time_base)
    last, frame_s = None, 0.0
    for frame in container.decode(stream):
        if frame.pts is None or frame.is_corrupt:  # ffmpeg would patch what is damaged with what it guesses
            what = "a frame without a time" if frame.pts is None else "damaged pictures"
            raise InputError(f"{path} must be a whole video file, got {what}: unpack or download it again.")
        last = float(frame.pts * stream.time_base) - start
        frame_s = float((frame.duration or 0) * stream.time_base)
        yield frame, last
    if last is None:
        raise InputError(f"{path} must hold frames, got a video without any: unpack or download it again.")
    # half a second of slack: lengths in headers are rounded, and a last frame may stay on the screen
    if last + frame_s < seconds - max(0.5, 2 * frame_s):
        raise InputError(
            f"{path} must last {seconds:.2f} s, as in its header, got frames up to {last + frame_s:.2f} s: "
            "it is cut short."
        )


def _shown_at(times: Any, frames: Iterable[tuple[Any, float]], size: int | None, *, whole: bool) -> Tensor:
    """Return the frame that is shown at each time, (F, 3, H, W); `whole`: decode to the end, to check it."""
    taken: list[Any] = []
    shown: Any = None  # the first frame is for all that is before it, the last for all that is after it
    for frame, begins in frames:
        while shown is not None and len(taken) < len(times) and times[len(taken)] < begins:
            taken.append(_pixels(shown, size))
        if len(taken) == len(times) and not whole:
            break
        shown = frame
    taken += [_pixels(shown, size)] * (len(times) - len(taken))
    return torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).contiguous()


def _picture(frame: Any, size: int | None) -> Tensor:
    return torch.from_numpy(_pixels(frame, size)).permute(2, 0, 1)


def _pixels(frame: Any, size: int | None) -> Any:
    # One thread, in a reformatter of our own: PyAV 19 keeps one per thread, whose helper threads are gone in
    # a loader's forked worker, which would wait for them for ever.
    scaler = _pyav().video.reformatter.VideoReformatter()
    if size is None:
        return scaler.reformat(frame, format="rgb24", threads=1).to_ndarray()
    factor = size / min(frame.width, frame.height)
    width, height = (max(size, round(side * factor)) for side in (frame.width, frame.height))
    shown = scaler.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
    return shown.to_ndarray()


def check_frames(frames_per_second: float, size: int | None) -> None:
    """Refuse a frame rate that is no positive number, and a size in pixels that `check_size` refuses."""
    if not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise InputError(f"frames_per_second must be a positive number, got {frames_per_second}.")
    check_size(size)


def _pyav() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingPackageError(
            "av (PyAV) is needed to decode videos and is not installed: pip install 'nfas-lightning[vision]'."
        ) from error


def frame_series(frames: Iterable[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
    """Describe each frame of a clip or film by its luminance, its spread over pixels and its change.

    Args:
        frames: F pictures (3, H, W), uint8 or in [0, 1], each with the seconds that it is on the screen, as
            `every_frame` yields them. Motion needs all frames: most of it is lost between sampled ones.

    Returns:
        (F,) seconds, and (F, 3) float64: luminance, its standard deviation over the picture, and the mean
        absolute change of a pixel since the frame before, per second; the first frame's is 0.

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
    """Return the means over time of `frame_series`, (3,): luminance, contrast and motion of a clip."""
    seconds, values = frame_series(frames)
    total = float(seconds.sum())
    if not total > 0:
        raise InputError(f"frames must last some time, got {total:g} s of them.")
    return (seconds @ values / total).float()
