"""Channels as MNE describes them, and ceilings from repetitions."""

import sys

import mne
import numpy as np
import pytest
import torch

from nfas_lightning.datamodules.recordings.sensors import lags_of, repetition_ceilings, require_mne


def test_places_regions_and_neighbors_are_mnes():
    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(montage.ch_names, 100.0, "eeg").set_montage(montage)
    lags = lags_of(info, [0.0, 0.01])
    table = lags.channels.set_index("channel")
    adjacency, names = mne.channels.find_ch_adjacency(info, "eeg")
    assert names == list(table.index)
    ours = np.eye(32)
    for i, j in lags.neighbors.tolist():
        ours[i, j] = ours[j, i] = 1
    np.testing.assert_array_equal(ours, adjacency.toarray())
    places = montage.get_positions()["ch_pos"]
    assert table.loc["Oz", "head_y"] == pytest.approx(places["Oz"][1], abs=0.05)
    assert table.loc[["Oz", "F7", "T8"], "region"].tolist() == ["back middle", "front left", "center right"]


def test_a_part_of_a_system_has_its_neighbors_among_each_other():
    layout = mne.channels.read_layout("Vectorview-mag")
    info = mne.create_info(layout.names[:20], 100.0, "mag")
    for channel, place in zip(info["chs"], layout.pos, strict=False):
        channel["loc"][:3] = [*place[:2], 0.01 * place[0]]
    lags = lags_of(info, [0.0])
    adjacency, names = mne.channels.read_ch_adjacency("neuromag306mag")
    places = [names.index(name.replace(" ", "")) for name in info.ch_names]
    whole = adjacency.toarray()[places][:, places]
    assert len(lags.neighbors) == np.triu(whole, 1).sum() > 20


def test_channels_without_places_have_no_neighbors():
    lags = lags_of(mne.create_info(["a", "b"], 100.0, "eeg"), [0.0])
    assert list(lags.channels) == ["channel", "kind"]
    assert not len(lags.neighbors)


def test_ceilings_are_the_correlation_with_what_is_without_noise():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(1, 1, 3000, 2, generator=generator)
    repeats = signal + 2 * torch.randn(2, 4, 3000, 2, generator=generator)
    repeats[1, 3] = float("nan")  # a subject with fewer repetitions
    group, each = repetition_ceilings(repeats)
    assert group.tolist() == pytest.approx([(1 / (1 + 4 / 7)) ** 0.5] * 2, abs=0.03)
    assert each[0].tolist() == pytest.approx([0.5**0.5] * 2, abs=0.03)


def test_without_mne_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ImportError, match=r"pip install 'nfas-lightning\[meg\]'"):
        require_mne()
