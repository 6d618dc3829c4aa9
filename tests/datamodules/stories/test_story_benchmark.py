from __future__ import annotations

from dataclasses import dataclass, field
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

    def _parcels(self, story):
        return [Parcels(self.series[story.name].float(), torch.full((2,), 5)) for _ in story.scans], {}


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
