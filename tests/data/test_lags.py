"""Channels and lags: names of targets, their order, and what is refused."""

import dataclasses

import pandas as pd
import pytest
import torch

from nfas_lightning.data.lags import Lags
from nfas_lightning.data.responses import Responses

CHANNELS = pd.DataFrame({"channel": ["Oz", "Cz"], "region": ["back", "center"]})
TIMES = torch.tensor([0.0, 0.1, 0.2])


def in_time(lags, values):
    subjects, stimuli = len(values), values.shape[1]
    return Responses.in_time(
        values, lags, stimulus_ids=tuple(map(str, range(stimuli))), dataset="toy", modality="vision",
        subjects=tuple(f"s{i}" for i in range(subjects)), runs=torch.zeros(stimuli, dtype=torch.long),
    )  # fmt: skip


def test_targets_are_channels_by_lags():
    values = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    responses = in_time(Lags(CHANNELS, TIMES), values)
    row = responses.rois.set_index("roi").loc["Cz@100ms"]
    assert (row["channel"], row["lag"], row["region"]) == ("Cz", 0.1, "center")
    place = list(responses.rois["roi"]).index("Cz@100ms")
    assert torch.equal(responses.values[:, :, place], values[:, :, 1, 1])
    neighbors = dataclasses.replace(responses.lags, neighbors=torch.tensor([[0, 1]]))
    assert in_time(neighbors, values).fingerprint() != responses.fingerprint()
    with pytest.raises(ValueError, match=r"values must have shape \(S, N, C=2, K=3\)"):
        in_time(Lags(CHANNELS, TIMES), values[..., :2])
    with pytest.raises(ValueError, match="lags must be channels by lags of the 6 targets, got 4"):
        dataclasses.replace(responses, lags=Lags(CHANNELS, TIMES[:2]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"times": torch.tensor([0.0, float("nan")])}, "times must be finite seconds"),
        ({"times": torch.tensor([0.0, 0.1, 0.3])}, "evenly spaced seconds .* steps of 0.1 to 0.2 s"),
        ({"times": TIMES.flip(0)}, "ascending"),
        ({"channels": pd.DataFrame({"channel": ["Oz", "Oz"]})}, "a column 'channel' of unique names"),
        ({"channels": pd.DataFrame({"name": ["Oz", "Cz"]})}, r"got the columns \['name'\]"),
        ({"neighbors": torch.tensor([[0, 2]])}, "places of channels, 0 to 1, got 0 to 2"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Lags(**{"channels": CHANNELS, "times": TIMES, **given})
