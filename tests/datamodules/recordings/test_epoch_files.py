"""Epochs of one subject from all that MNE holds or reads, and what is refused."""

import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from nfas_lightning.datamodules.recordings.epoch_files import EpochOptions, read_presentations
from tests.helpers.recordings import NAMES, RATE, epochs_of, raw_of

WHOLE = EpochOptions(event_names={name: name for name in NAMES})


@pytest.fixture(scope="module")
def epochs():
    return epochs_of()


@pytest.fixture(scope="module")
def raw():
    return raw_of()


def test_epochs_keep_their_values_names_and_times(epochs):
    before = epochs.get_data().copy()
    found = read_presentations(epochs, EpochOptions())
    np.testing.assert_allclose(found.data, before, rtol=1e-6)
    assert found.names == tuple(name for name in NAMES for _ in range(2))
    np.testing.assert_allclose(found.times, epochs.times)
    prepared = read_presentations(epochs, EpochOptions(baseline=(None, 0), tmin=0.0, tmax=0.1, decimate=2))
    assert found.times[0] == -0.1
    np.testing.assert_allclose(prepared.times, np.arange(0, 0.11, 0.02))
    base = before[:, :, :11].mean(-1, keepdims=True)
    np.testing.assert_allclose(prepared.data, (before - base)[:, :, 10:21:2], atol=1e-12)
    np.testing.assert_array_equal(epochs.get_data(), before)  # what was given is as it was


def test_bad_channels_and_rejected_epochs(epochs):
    marked = epochs.copy()
    marked.info["bads"] = ["Cz"]
    found = read_presentations(marked, EpochOptions())
    missing = found.data.isnan().all(-1).all(0)
    assert [name for name, gone in zip(marked.ch_names, missing.tolist(), strict=True) if gone] == ["Cz"]
    loud = epochs.copy()
    loud._data[3, 0, :5] += 1.0
    kept = read_presentations(loud, EpochOptions(reject={"eeg": 0.5}))
    assert kept.names == (*found.names[:3], *found.names[4:])
    with pytest.raises(ValueError, match="no epoch left: all were rejected"):
        read_presentations(epochs, EpochOptions(reject={"eeg": 1e-12}))


def test_metadata_names_stimuli(epochs):
    named = epochs.copy()
    named.metadata = pd.DataFrame({"picture": ["x.png"] * len(epochs), "stimulus": ["y"] * len(epochs)})
    assert set(read_presentations(named, EpochOptions()).names) == {"y"}
    assert set(read_presentations(named, EpochOptions(stimulus="picture")).names) == {"x.png"}
    with pytest.raises(
        ValueError, match=r"column of the epochs' metadata, \['picture', 'stimulus'\], got 'image'"
    ):
        read_presentations(named, EpochOptions(stimulus="image"))


@pytest.mark.parametrize("kind", ["epo.fif", "ave.fif", "evoked", "eeglab"])
def test_files_and_averages_hold_the_same(epochs, tmp_path, kind):
    source, expected = tmp_path / f"a-{kind}", epochs.get_data()
    single = kind in ("epo.fif", "eeglab")
    if kind == "epo.fif":
        epochs.save(source, verbose="error")
    elif kind == "eeglab":
        source = write_eeglab(epochs, tmp_path / "a.set")
    else:
        averages = [epochs[name].average() for name in NAMES]
        expected = np.stack([epochs[name].get_data().mean(0) for name in NAMES])
        source = averages if kind == "evoked" else source
        if kind == "ave.fif":
            mne.write_evokeds(source, averages, verbose="error")
    found = read_presentations(source, EpochOptions())
    assert found.names == tuple(name for name in NAMES for _ in range(1 + single))
    np.testing.assert_allclose(found.data, expected, rtol=1e-5, atol=1e-9)
    if kind == "evoked":
        with pytest.raises(ValueError, match="averages have none: leave it out"):
            read_presentations(source, EpochOptions(reject={"eeg": 1.0}))


@pytest.mark.parametrize("kind", ["raw", "fif", "brainvision", "edf", "bids"])
def test_continuous_recordings_are_cut_at_their_events(raw, tmp_path, kind):
    options = WHOLE._replace(tmin=-0.1, tmax=0.3)
    source, whole = raw, raw.get_data()
    if kind == "fif":
        source = tmp_path / "a_raw.fif"
        raw.save(source, verbose="error")
    elif kind == "brainvision":
        source = write_brainvision(raw, tmp_path / "a.vhdr")
        options = options._replace(event_names={f"Stimulus/{name}": name for name in NAMES})
    elif kind == "edf":
        source = write_edf(raw, tmp_path / "a.edf")
    elif kind == "bids":
        source = mne_bids.BIDSPath(subject="01", task="look", datatype="eeg", root=tmp_path)
        folder = tmp_path / "sub-01" / "eeg"
        folder.mkdir(parents=True)
        write_brainvision(raw, folder / "sub-01_task-look_eeg.vhdr")
        marks = raw.annotations
        table = pd.DataFrame({"onset": marks.onset, "duration": 0.0, "trial_type": marks.description})
        table.to_csv(folder / "sub-01_task-look_events.tsv", sep="\t", index=False)
        status = ["bad" if name == "Oz" else "good" for name in raw.ch_names]
        table = pd.DataFrame({"name": raw.ch_names, "type": "EEG", "units": "µV", "status": status})
        table.to_csv(folder / "sub-01_task-look_channels.tsv", sep="\t", index=False)
        whole[raw.ch_names.index("Oz")] = np.nan
    found = read_presentations(source, options)
    expected = []
    for onset, name in zip(raw.annotations.onset, raw.annotations.description, strict=True):
        if name in NAMES:
            start = round(onset * RATE) - 10
            expected.append(whole[:, start : start + 41])
    assert len(found.names) == len(expected) == 2 * len(NAMES)
    np.testing.assert_allclose(found.data, np.stack(expected), atol=2e-8)
    assert found.names[0] == raw.annotations.description[0]
    with pytest.raises(ValueError, match="no epoch left: all were rejected, or none of its events"):
        read_presentations(source, options._replace(event_names={"other": "x"}))


@pytest.mark.parametrize(
    ("source", "message"),
    [(3, "got int"), ([], "an empty one"), ([3], "got int"), ("nothing-epo.fif", "nothing-epo.fif")],
)
def test_what_is_no_recording_is_refused(source, message):
    with pytest.raises((TypeError, FileNotFoundError), match=message):
        read_presentations(source, EpochOptions())


def write_edf(raw, path):
    """Write a recording as EDF+ with annotations, in records of a second and steps of 0.3 nV."""
    names, n = [*raw.ch_names, "EDF Annotations"], len(raw.ch_names)
    fields = [
        (16, names), (80, [""] * (n + 1)), (8, ["uV"] * n + [""]), (8, ["-10"] * n + ["-1"]),
        (8, ["10"] * n + ["1"]), (8, ["-32767"] * (n + 1)), (8, ["32767"] * (n + 1)), (80, [""] * (n + 1)),
        (8, ["100"] * n + ["60"]), (32, [""] * (n + 1)),
    ]  # fmt: skip
    seconds = raw.n_times // 100
    head = [
        (8, "0"), (80, "X X X X"), (80, "Startdate X X X X"), (8, "01.01.26"), (8, "00.00.00"),
        (8, str(256 * (n + 2))), (44, "EDF+C"), (8, str(seconds)), (8, "1"), (4, str(n + 1)),
    ]  # fmt: skip
    parts = [text.ljust(width) for width, text in head]
    parts += [text.ljust(width) for width, texts in fields for text in texts]
    content = "".join(parts).encode("ascii")
    whole = np.round(raw.get_data() * 1e6 / 10 * 32767).astype("<i2")
    marks = list(zip(raw.annotations.onset, raw.annotations.description, strict=True))
    for second in range(seconds):
        content += whole[:, 100 * second : 100 * second + 100].tobytes()
        notes = f"+{second}\x14\x14\x00"
        notes += "".join(f"+{t:g}\x14{name}\x14\x00" for t, name in marks if second <= t < second + 1)
        content += notes.encode().ljust(120, b"\x00")
    path.write_bytes(content)
    return path


def write_eeglab(epochs, path):
    """Write epochs as an EEGLAB file, in microvolts."""

    def records(rows):
        return np.array([[tuple(row.values()) for row in rows]], dtype=[(name, object) for name in rows[0]])

    called = {number: name for name, number in epochs.event_id.items()}
    shown = list(enumerate(called[number] for number in epochs.events[:, 2]))
    fields = {
        "setname": "a", "filename": path.name, "filepath": "", "nbchan": 6.0, "trials": 20.0, "pnts": 41.0,
        "srate": RATE, "xmin": -0.1, "xmax": 0.3, "times": 1000 * epochs.times, "ref": "common",
        "data": 1e6 * np.moveaxis(epochs.get_data(), 0, -1),
        **{name: [] for name in ("icaweights", "icawinv", "icasphere", "icaact")},
        "chanlocs": records([{"labels": name, "X": 0.0, "Y": 0.0, "Z": 0.0} for name in epochs.ch_names]),
        "event": records([{"type": n, "latency": 41.0 * i + 11, "epoch": i + 1.0} for i, n in shown]),
        "epoch": records([{"event": i + 1.0, "eventtype": n, "eventlatency": 0.0} for i, n in shown]),
    }  # fmt: skip
    savemat(path, {"EEG": fields}, appendmat=False)
    return path


def write_brainvision(raw, path):
    """Write a recording as BrainVision files, in 0.01 microvolts."""
    data = np.round(raw.get_data() * 1e8).astype("<i4").astype("<f4")
    path.with_suffix(".eeg").write_bytes(data.T.tobytes())
    channels = "\n".join(f"Ch{i + 1}={name},,0.01,µV" for i, name in enumerate(raw.ch_names))
    marks = "\n".join(
        f"Mk{i + 1}=Stimulus,{name},{round(onset * RATE) + 1},1,0"
        for i, (onset, name) in enumerate(
            zip(raw.annotations.onset, raw.annotations.description, strict=True)
        )
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\n[Marker Infos]\n{marks}\n", encoding="utf-8",
    )  # fmt: skip
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(raw.ch_names)}\nSamplingInterval={1e6 / RATE:g}\n"
        f"[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n[Channel Infos]\n{channels}\n", encoding="utf-8",
    )  # fmt: skip
    return path
