"""When each story of Narratives was played."""

from __future__ import annotations

import json

import pytest

from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS
from nfas_lightning.functional.correlation import correlate
from tests.helpers.narratives_tree import planted_series, ready


@pytest.mark.parametrize("name", ["pieman", "tunnel", "milkywaysynonyms", "slumlord", "reach", "prettymouth"])
def test_a_known_word_comes_out_at_the_right_volume(root, name):
    predicted, observed = planted_series(ready(root, stories=[name], modality="language"), name)
    assert observed.shape[1] > 100
    lags = {lag: correlate(predicted.roll(lag, 0)[1:-1], observed[1:-1]) for lag in (-1, 0, 1)}
    assert lags[0].min() > 0.995
    # a clock that is one volume off is told apart
    assert max(lags[-1].max(), lags[1].max()) < 0.96


def test_an_unverified_offset_is_said_and_can_be_corrected(root):
    with pytest.warns(
        UserWarning, match=r"Story piemanpni: no offset.*8\.7 to 408\.4 s.*Taken: 12 s.*wav_offsets"
    ):
        datamodule = ready(root, stories=["piemanpni"], modality="language")
    with pytest.warns(UserWarning, match="piemanpni"):
        predicted, observed = planted_series(datamodule, "piemanpni")
    assert correlate(predicted, observed).min() > 0.995
    moved = ready(root, stories=["piemanpni"], modality="language", wav_offsets={"piemanpni": 8.8})
    predicted, observed = planted_series(moved, "piemanpni")
    assert correlate(predicted, observed).max() < 0.7
    with pytest.raises(ValueError, match="wav_offsets must name stories that are read"):
        ready(root, stories=["pieman"], wav_offsets={"lucy": 2.0})


def test_a_part_ends_where_its_volumes_do(root):
    (meta,) = root.rglob("event_meta.json")
    part = json.loads(meta.read_text())["slumlordreach"]["slumlord"]
    first, second = ready(root, stories=["slumlordreach"]).stories()
    end = (part["onset"] + part["duration"]) * first.tr - first.offset  # on the sound file's clock
    assert first.offset == 4.5
    assert first.span == (0.0, pytest.approx(end))
    assert second.span == (pytest.approx(end), float("inf"))


def test_the_clocks_are_those_of_the_data_set():
    """Each row: onset and duration in volumes, the sound file's offset in seconds."""
    stated = {
        "pieman": (10, 281, 0), "tunnel": (2, 1023, 3), "lucy": (1, 361, 3), "prettymouth": (14, 451, 0),
        "milkywayoriginal": (14, 269, 0), "milkywayvodka": (14, 269, 0), "milkywaysynonyms": (14, 269, 0),
        "21styear": (14, 2225, 0), "slumlord": (20, 602, 4.5), "reach": (646, 550, 4.5),
        "notthefallintact": (20, 365, 4.5), "merlin": (22, 591, 4.5), "sherlock": (22, 701, 4.5),
        "shapesphysical": (33, 270, 4.5), "shapessocial": (33, 272, 4.5), "black": (8, 533, 12),
        "forgot": (8, 558, 12), "bronx": (8, 357, 12), "piemanpni": (8, 267, 12),
    }  # fmt: skip
    held = {name: (c.onset, c.duration, c.wav_offset) for name, c in CLOCKS.items() if "scram" not in name}
    assert held == stated
