"""Alice on disk: series, words and the printed chapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules import AliceDataModule
from tests.helpers.brain_data import write_alice
from tests.helpers.checks import check_one, rows_of


def ready(root, **options) -> AliceDataModule:
    datamodule = AliceDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_the_chapter_is_optional_and_changes_the_stimulus_hash(tmp_path):
    folder = write_alice(tmp_path)
    with_text = ready(tmp_path).responses
    (folder / "alice_chapter1.txt").unlink()
    without = ready(tmp_path)
    assert without.stimuli[9][1].text == "Alice wasn't very tired of sitting by her sister"
    assert without.responses.hashes["stimuli"] != with_text.hashes["stimuli"]


@pytest.mark.parametrize("options", [{}, {"temporal": "fir", "delays": (2,)}, {"high_pass": None}])
def test_words_lose_the_drifts_that_listeners_lost(tmp_path, options):
    write_alice(tmp_path)
    options = {"high_pass": 1 / 30, "confounds": False, **options}
    whole = ready(tmp_path, **{**options, "high_pass": None}, drop_volumes=0).responses
    feature = torch.arange(10.0)[:, None] ** 2
    heard = np.tile(10 * whole.carry(feature).numpy() + 500, (3, 1, 6)).astype(np.float32)
    write_alice(tmp_path / "planted", bold_6mm=heard, word_rate_hrf=heard[0, :, 0])
    responses = ready(tmp_path / "planted", **options).responses
    predicted = responses.carry(feature)[:, 0]
    for observed in (responses.values[0, :, 0], responses.nuisances[:, 0]):
        assert torch.corrcoef(torch.stack([predicted, observed]))[0, 1] > 0.9999


def test_wrong_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("NFAS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"alice_fmri/ with roi_timeseries\.npz, words\.csv"):
        AliceDataModule(tmp_path).prepare_data()
    with pytest.raises(FileNotFoundError, match="No data folder given"):
        AliceDataModule().prepare_data()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": np.zeros((3, 39, 6), np.float32)}, r"'motion' must have shape \(3, 40, 6\)"),
        ({"bold_6mm": np.full((3, 40, 6), np.nan, np.float32)}, "'bold_6mm' must be finite"),
        ({"bold_6mm": np.zeros((2, 40, 6), np.float32)}, r"'bold_6mm' must have shape \(3, 40, 6\)"),
        ({"sound_power_hrf": np.zeros(7, np.float32)}, r"'sound_power_hrf' must have shape \(40,\)"),
        ({"subjects": np.array(["s1", "s1", "s2"])}, "subjects must have unique names"),
        ({"rois": np.array(["LATL"] * 6)}, "each ROI once"),
    ],
)
def test_bad_arrays(tmp_path, changes, message):
    write_alice(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.iloc[::-1], "must increase from word to word, but word 1 starts"),
        (lambda t: pd.concat([t.iloc[:3], t.iloc[2:]]), "must increase from word to word, but word 3 starts"),
        (
            lambda t: t.assign(offset_s=t["onset_s"]),
            "offset_s must come after onset_s, but word 0 starts at .* lasts 0 s",
        ),
        (lambda t: t.drop(columns="onset_scan_s"), r"missing \['onset_scan_s'\]"),
        (lambda t: t.iloc[:0], "at least one row"),
    ],
)
def test_bad_words(tmp_path, edit, message):
    folder = write_alice(tmp_path)
    edit(pd.read_csv(folder / "words.csv")).to_csv(folder / "words.csv", index=False)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path)


@pytest.mark.shared_data
def test_word_times_are_on_the_scan_clock(shared_data):
    responses = ready(shared_data, drop_volumes=0, confounds=False, high_pass=None).responses
    rate = responses.carry(torch.ones(2127, 1))[:, 0]
    published = responses.nuisances[:, responses.nuisance_names.index("word_rate")]
    assert torch.corrcoef(torch.stack([rate, published]))[0, 1] > 0.985
    # a clock that is one volume off is told apart
    shifted = torch.stack([rate[1:], published[:-1]])
    assert torch.corrcoef(shifted)[0, 1] < 0.9


# what `nfas data check` finds


WORDS = "word,onset_s,offset_s,onset_scan_s\n" + "".join(f"w,{i},{i + 0.5},{i}\n" for i in range(2127))
SERIES = {
    **{key: np.zeros((27, 362, 6)) for key in ("bold_6mm", "bold_10mm", "motion")},
    **{key: np.zeros(362) for key in ("word_rate_hrf", "sound_power_hrf")},
    "subjects": np.array([f"s{i}" for i in range(27)]),
    "rois": np.array([f"r{i}" for i in range(6)]),
    "tr": np.array(2.0),
}


@pytest.fixture
def alice(tmp_path):
    folder = tmp_path / "alice_fmri"
    folder.mkdir()
    (folder / "words.csv").write_text(WORDS)
    np.savez(folder / "roi_timeseries.npz", **SERIES)
    return folder


def test_whole_files_are_complete(alice):
    assert check_one(alice.parent).complete


@pytest.mark.parametrize("key", SERIES)
def test_arrays_that_the_loader_reads_must_be_there(alice, key):
    np.savez(alice / "roi_timeseries.npz", **{name: SERIES[name] for name in SERIES if name != key})
    assert f"must hold '{key}'" in rows_of(alice)["series"].unreadable[0][1]


def test_other_shapes_and_orders_are_named(alice):
    np.savez(alice / "roi_timeseries.npz", **(SERIES | {"bold_6mm": np.zeros((2, 362, 6))}))
    assert "must have shape (27, 362, 6)" in rows_of(alice)["series"].unreadable[0][1]
    (alice / "words.csv").write_text(WORDS.replace("w,7,7.5,7\n", "w,7,7.5,5\n"))
    assert "must increase from word to word" in rows_of(alice)["words"].unreadable[0][1]


def test_what_is_missing_is_counted(alice):
    (alice / "roi_timeseries.npz").unlink()
    (alice / "words.csv").write_text("word,onset_s,offset_s,onset_scan_s\nAlice,20,20.5,0\n")
    found = rows_of(alice.parent)
    assert found["series"].missing == ("roi_timeseries.npz",)
    assert (found["words"].found, found["words"].n_missing) == (1, 2126)


@pytest.mark.shared_data
def test_the_real_data(shared_data):
    assert check_one(shared_data / "alice_fmri", deep=True).complete
    assert rows_of(shared_data / "alice_fmri")["words"].found == 2127
