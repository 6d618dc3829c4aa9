"""What benchmarks of clips share: nuisances of all frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.data.stimuli.video import frame_statistics
from nfas_lightning.datamodules.clips.clip_datamodule import video_nuisances
from nfas_lightning.functional.correlation import correlate
from tests.helpers.clips import write_clip


def test_motion_is_that_of_all_frames(tmp_path):
    """Gratings drift at speeds of their own, which frames taken twice per second cannot tell apart."""
    speeds = np.random.default_rng(0).permutation(np.linspace(0, 4, 12))
    x = np.arange(24)
    for i, speed in enumerate(speeds):
        levels = 128 + 60 * np.sin(2 * np.pi * (x[None] - speed * np.arange(60)[:, None]) / 12)
        frames = np.broadcast_to(levels[:, None, :, None], (60, 16, 24, 3)).astype(np.uint8)
        write_clip(tmp_path / f"{i}.mp4", frames)
    clips = ClipFiles([tmp_path / f"{i}.mp4" for i in range(12)], 2)
    truth = torch.from_numpy(speeds)[:, None]
    found = video_nuisances(clips, ["motion"], progress=False)
    assert float(correlate(found, truth)) > 0.97
    sampled = torch.stack([frame_statistics([(picture, 0.5) for picture in clips[i]]) for i in range(12)])
    assert float(correlate(sampled[:, 2:], truth)) < 0.8
    # the same film at half the frames has the same motion a second
    few = (128 + 60 * np.sin(2 * np.pi * (x[None] - 0.5 * np.arange(30)[:, None]) / 12)).astype(np.uint8)
    many = (128 + 60 * np.sin(2 * np.pi * (x[None] - 0.25 * np.arange(60)[:, None]) / 12)).astype(np.uint8)
    write_clip(tmp_path / "few.mp4", np.broadcast_to(few[:, None, :, None], (30, 16, 24, 3)), fps=15)
    write_clip(tmp_path / "many.mp4", np.broadcast_to(many[:, None, :, None], (60, 16, 24, 3)), fps=30)
    both = video_nuisances(
        ClipFiles([tmp_path / "few.mp4", tmp_path / "many.mp4"], 2), ["motion"], progress=False
    )
    assert float(both[0]) == pytest.approx(float(both[1]), rel=0.1)
