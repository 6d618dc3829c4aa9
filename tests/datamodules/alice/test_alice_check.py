import numpy as np
import pytest

from tests.helpers.checks import check_one, rows_of

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
