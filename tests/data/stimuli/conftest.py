"""Short clips."""

from __future__ import annotations

import pytest

from tests.helpers.clips import LEVELS, gray_levels, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips whose every frame has one gray: a ramp, a still, and a ramp written for streaming."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "ramp.mp4", gray_levels(LEVELS))
    write_clip(folder / "still.mp4", gray_levels([200] * 45))
    write_clip(folder / "streamed.mp4", gray_levels(LEVELS), movflags="faststart")
    return folder
