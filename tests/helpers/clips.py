"""Tiny real video files, written with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVELS = np.arange(60) * 4  # two seconds at 30 fps, each frame its own gray


def write_clip(path: Path, frames: np.ndarray, fps: int = 30, **options: str) -> Path:
    """Write (F, H, W, 3) uint8 frames as H.264 in mp4."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps), options={"preset": "veryfast", "threads": "1"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def gray_levels(levels, height: int = 16, width: int = 24) -> np.ndarray:
    """Frames of one gray each."""
    levels = np.asarray(levels, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (len(levels), height, width, 3)).copy()
