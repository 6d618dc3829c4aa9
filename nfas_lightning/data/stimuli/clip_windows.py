"""A film cut into clips around their time stamps, for networks that follow it on the volumes' clock."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from nfas_lightning.data.content import require_file
from nfas_lightning.data.readers import sha256_file
from nfas_lightning.data.stimuli.anchors import share_before, window_pieces
from nfas_lightning.data.stimuli.clips import clip_seconds, frames_at

__all__ = ["ClipWindows", "video_stimuli"]


class ClipWindows(Dataset[Tensor]):
    """Windows of equal length of a film, (F, 3, H, W) each, decoded when asked for.

    What would lie before the film is its first frame, what would lie after it its last.

    Args:
        path: the film.
        times: seconds since the film began at which windows stand.
        seconds: length of a window.
        frames_per_second: frames taken a second, in the middles of equal parts of the window.
        size: pixels of the frames' shorter side; None: as they are.
        anchor: the moment of a window that stands at its time: ``"start"``, ``"center"`` or ``"end"``.

    Raises:
        ValueError: a length or rate that is not positive, or an unknown anchor.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        times: tuple[float, ...],
        *,
        seconds: float,
        frames_per_second: float,
        size: int | None = None,
        anchor: str = "center",
    ) -> None:
        if not seconds > 0 or not frames_per_second > 0:
            raise ValueError(
                f"seconds and frames_per_second must be positive, got {seconds} and {frames_per_second}."
            )
        self.path, self.times, self.seconds, self.anchor = Path(path), times, seconds, anchor
        self.size = size
        n_frames = max(1, round(seconds * frames_per_second))
        self._steps = (np.arange(n_frames) + 0.5) * seconds / n_frames - seconds * share_before(anchor)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> Tensor:
        return frames_at(self.path, (self.times[index] + self._steps).tolist(), size=self.size)

    def sha256(self) -> str:
        """Hash the film and the choice of frames; nothing is decoded."""
        choice = f"{self.times} {self._steps.tolist()} {self.size} {sha256_file(require_file(self.path))}"
        return hashlib.sha256(choice.encode()).hexdigest()


def video_stimuli(
    path: str | os.PathLike[str],
    *,
    seconds: float,
    hop: float,
    frames_per_second: float = 4.0,
    size: int | None = None,
    anchor: str = "center",
) -> tuple[ClipWindows, pd.DataFrame]:
    """Cut a film into stimuli: a window of `seconds` for every piece of one `hop`.

    Args:
        path: a video file.
        seconds: length of a window.
        hop: seconds from one window to the next.
        frames_per_second: frames taken a second.
        size: pixels of the frames' shorter side; None: as they are.
        anchor: the moment of a window that stands in the middle of its piece: ``"center"`` where states are
            averaged over its frames, ``"end"`` for the last state of a causal network, or ``"start"``.

    Returns:
        N windows, read when asked for, and their events: the onset and duration (s) on the film's clock of
        the piece that each stands for. Add the time at which the film began to the onsets.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: no video, an unknown anchor, a length or rate that is not positive, or a film shorter than
            `hop`.
    """
    path = require_file(path)
    lasts = clip_seconds(path)
    onsets, durations = window_pieces(lasts, hop)
    if not len(onsets):
        raise ValueError(f"{path.name} must last a hop at least, {hop} s, got {lasts:.3g} s.")
    windows = ClipWindows(
        path,
        tuple((onsets + durations / 2).tolist()),
        seconds=seconds,
        frames_per_second=frames_per_second,
        size=size,
        anchor=anchor,
    )
    return windows, pd.DataFrame({"onset": onsets, "duration": durations})
