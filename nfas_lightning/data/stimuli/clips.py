"""Video files and windows of a film as stimuli, decoded when asked for."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.files import require_file, sha256_file
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles
from nfas_lightning.data.stimuli.timing import Stretch, Windows, cut_recording
from nfas_lightning.data.stimuli.video import check_frames, clip_seconds, frames_at, read_clip
from nfas_lightning.errors import InputError


class ClipFiles(StimulusFiles):
    """Video files as stimuli of `StimulusSet`: entry i is the frames of file i.

    Args:
        paths: the files, in the order of the responses.
        frames_per_second: frames taken per second.
        seconds: what every clip lasts, give or take a quarter of a second: all clips then have the same
            number of frames. None: each clip's own length.
        size: pixels of the shorter side; None: as it is.
        cache: folder that remembers the files' hashes; None: none.
        in_order: see `StimulusFiles`.
    """

    suffixes = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
    kind = "video"

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        frames_per_second: float,
        *,
        seconds: float | None = None,
        size: int | None = None,
        cache: Path | None = None,
        in_order: bool = False,
    ) -> None:
        check_frames(frames_per_second, size)
        super().__init__(paths, in_order=in_order, cache=cache)
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise InputError(f"seconds must be a positive number, got {seconds}.")
        self.frames_per_second, self.seconds, self.size = frames_per_second, seconds, size
        self.choices = f"clips {frames_per_second:g} {seconds} {size}"

    def __getitem__(self, index: int) -> Tensor:
        n_frames = None if self.seconds is None else max(1, round(self.frames_per_second * self.seconds))
        path, rate = self.paths[index], self.frames_per_second
        return read_clip(path, rate, n_frames=n_frames, seconds=self.seconds, size=self.size)

    def durations(self) -> Tensor:
        """Return the (N,) seconds that the clips last by their headers; nothing is decoded."""
        return torch.tensor([clip_seconds(path) for path in self.paths], dtype=torch.float64)


class ClipWindows(Windows):
    """Windows of equal length of films, (F, 3, H, W) each, decoded when asked for.

    What would lie before the film, or its span, is the first frame of it, what would lie after it the last.
    See `Windows`.
    """

    def __init__(
        self,
        stretches: Sequence[Stretch],
        seconds: float,
        frames_per_second: float,
        *,
        size: int | None = None,
        anchor: str = "center",
    ) -> None:
        super().__init__(seconds, anchor)
        check_frames(frames_per_second, size)
        self.size = size
        n_frames = max(1, round(seconds * frames_per_second))
        self._steps = (np.arange(n_frames) + 0.5) * seconds / n_frames - self.before
        self._place = [(stretch.path, time, stretch.span) for stretch in stretches for time in stretch.times]

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> Tensor:
        path, time, (first, stop) = self._place[index]
        # a span ends before the frame that appears then
        times = np.clip(time + self._steps, first, stop - 1e-3)
        return frames_at(path, times.tolist(), size=self.size)

    def sha256(self) -> str:
        """Hash the films and the choice of frames; nothing is decoded."""
        files = {path: sha256_file(require_file(path)) for path, _, _ in self._place}
        places = [(files[path], time, span) for path, time, span in self._place]
        return hashlib.sha256(f"{places} {self._steps.tolist()} {self.size}".encode()).hexdigest()


def video_stimuli(
    path: str | os.PathLike[str],
    *,
    seconds: float,
    hop: float,
    frames_per_second: float = 4.0,
    size: int | None = None,
    anchor: str = "center",
) -> tuple[ClipWindows, pd.DataFrame]:
    """Cut a film into stimuli, as `audio_stimuli` cuts a sound.

    Args:
        path: a video file.
        seconds: length of a window.
        hop: seconds from one window to the next.
        frames_per_second: frames taken per second.
        size: pixels of the frames' shorter side; None: as they are.
        anchor: the moment of a window that is aligned with the middle of its piece, see `Windows`.

    Returns:
        N windows (F, 3, H, W), and their events.
    """
    path = Path(path)
    times, events = cut_recording(path, clip_seconds(path), hop)
    return ClipWindows([Stretch(path, times)], seconds, frames_per_second, size=size, anchor=anchor), events
