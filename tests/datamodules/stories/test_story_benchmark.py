from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.datamodules.stories.story import Story, StoryScan, StorySettings
from nfas_lightning.datamodules.stories.story_benchmark import load_stories
from nfas_lightning.datamodules.stories.story_responses import StoryScans
from nfas_lightning.functional.temporal import hrf_operator

TR = 1.5
KEPT = {"near_the_end": (20, 150, 190), "part_of_a_long_scan": (200, 160, 500)}  # first, kept, scanned


@dataclass
class PlantedScans(StoryScans):
    """Two parcels' series of each story, the same in every listener."""

    series: dict[str, torch.Tensor] = field(default_factory=dict)

    def _parcels(self, scans):
        series = self.series[scans[0].scan.key[:-1]]
        return [Parcels(series.float(), torch.full((2,), 5)) for _ in scans], {}


def planted(high_pass: float):
    """Two stories answered without noise: parcel 0 by a slow feature of the words, 1 by their number."""
    rng = np.random.default_rng(0)
    stories, features, series = [], [], {}
    for name, (first, kept, scanned) in KEPT.items():
        # words before and after the kept volumes are heard too
        onset = np.sort(rng.uniform(0, scanned * TR, 2 * scanned))
        words = Words(tuple(f"w{i}" for i in range(len(onset))), onset, onset + 0.2)
        heard = tuple(StoryScan(f"sub-{s}", Scan(f"{name}{s}", ())) for s in (1, 2))
        story = Story(name, TR, 0.0, heard, first=first, stop=first + kept, n_scanned=scanned, words=words)
        slow = rng.standard_normal(len(onset)).cumsum() * 0.1 + rng.standard_normal(len(onset))
        columns = torch.from_numpy(np.column_stack([slow, np.ones(len(onset))]))
        at = TR * torch.arange(scanned).double()
        series[name] = 10 * hrf_operator(torch.from_numpy(onset), at, tr=TR) @ columns + 1000
        stories.append(story)
        features.append(columns)
    atlas = SimpleNamespace(rois=pd.DataFrame({"roi": ["a", "b"]}))
    scans = PlantedScans(atlas, high_pass=high_pass, series=series)
    _, responses = load_stories(
        "planted", stories, scans, StorySettings("language", nuisances=("word_rate",))
    )
    return responses, torch.cat(features)


@pytest.mark.parametrize("high_pass", [1 / 200, 1 / 128, 1 / 64])
def test_features_and_nuisances_lose_the_drifts_that_responses_lost(high_pass):
    responses, features = planted(high_pass)
    predicted = responses.carry(features)
    for run in (0, 1):
        rows = responses.runs == run
        observed = responses.group_mean[rows]
        for series, parcel in (
            (predicted[rows, 0], 0),
            (predicted[rows, 1], 1),
            (responses.nuisances[rows, 0], 1),
        ):
            assert np.corrcoef(series.numpy(), observed[:, parcel].numpy())[0, 1] > 0.9999


class NoiseScans(StoryScans):
    """Many voxels of each listener, noise around what all share."""

    def _extract(self, scans):
        shared = np.random.default_rng(0).standard_normal((100, 1), dtype=np.float32)
        parcels = []
        for scan in scans:
            size = (100, len(self.atlas.rois))
            noise = np.random.default_rng(int(scan.key)).standard_normal(size, dtype=np.float32)
            noise += shared
            parcels.append(Parcels(torch.from_numpy(noise), torch.ones(size[1]).long()))
        return parcels, {}


def many_voxels(n_voxels: int, n_listeners: int):
    """What reads two stories, and these."""
    words = Words(tuple("abcdef"), np.arange(6.0), np.arange(6.0) + 0.2)
    heard = tuple(StoryScan(f"sub-{s}", Scan(f"{s}", (Path(f"{s}.nii"),))) for s in range(n_listeners))
    stories = [
        Story(name, 2.0, 0.0, heard, first=first, stop=first + 80, words=words)
        for name, first in (("one", 0), ("two", 20))
    ]
    names = pd.Series(range(n_voxels)).astype(str)
    return NoiseScans(SimpleNamespace(rois=pd.DataFrame({"roi": names}))), stories


@pytest.mark.parametrize("listeners", ["each", "mean"])
def test_thousands_of_targets_come_part_by_part(monkeypatch, listeners):
    def load():
        scans, stories = many_voxels(3000, 4)
        return load_stories(
            "noise", stories, scans, StorySettings("language", nuisances=(), listeners=listeners)
        )[1]

    whole = load()
    monkeypatch.setattr("nfas_lightning.data.regions.targets._HELD_VALUES", 1)
    monkeypatch.setattr("nfas_lightning.datamodules.stories.story_responses._HELD_SERIES", 3000)
    parts = load()
    assert whole.values.dtype == torch.float32
    assert whole.values.shape == (4 if listeners == "each" else 1, 160, 3000)
    torch.testing.assert_close(parts.values, whole.values, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.noise_ceiling, whole.noise_ceiling, rtol=0, atol=1e-6)
    assert 0.6 < float(whole.noise_ceiling.mean()) < 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak of memory")
def test_never_two_copies_of_everything(monkeypatch):
    monkeypatch.setattr("nfas_lightning.data.regions.targets._HELD_VALUES", 2**20)
    monkeypatch.setattr("nfas_lightning.datamodules.stories.story_responses._HELD_SERIES", 1)

    def resident(which: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024

    scans, stories = many_voxels(110_000, 6)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    heard = scans.read(stories[0])
    size = heard.values.numel() * 4
    assert size == 211.2e6
    # one scan on its way beside the responses, and no second copy of them
    assert resident("VmHWM") - before < 1.9 * size
