import zipfile

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.datamodules.alice.alice_source import ARCHIVES, SOURCE, convert_release
from tests.helpers.alice_release import write_release


@pytest.mark.shared_data
def test_alice_release_becomes_what_the_benchmark_reads(shared_data, tmp_path):
    """The TextGrid is the release's own; the series are written as the release's text files are."""
    with np.load(shared_data / "alice_fmri" / "roi_timeseries.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    grid = next((shared_data / "alice_fmri").glob("*.TextGrid")).read_bytes()
    source = write_release(tmp_path / "release", arrays, grid)
    broken = source / "alice_data_shared" / "10mm" / "s30-timecourses.txt"
    broken.write_text("\n".join(broken.read_text().splitlines()[:300]))
    left_out, summary = convert_release(source, tmp_path / "alice_fmri")
    assert left_out.startswith("s30 is left out: ")
    assert "(300, 6)" in left_out
    assert summary.startswith("26 listeners")
    order = [i for i, name in enumerate(arrays["subjects"]) if name != "s30"]
    with np.load(tmp_path / "alice_fmri" / "roi_timeseries.npz", allow_pickle=False) as archive:
        for key in ("bold_6mm", "bold_10mm", "motion"):
            np.testing.assert_allclose(archive[key], arrays[key][order], rtol=1e-6)
        np.testing.assert_allclose(archive["word_rate_hrf"], arrays["word_rate_hrf"], rtol=1e-6)
        assert list(archive["rois"]) == list(arrays["rois"])
    mine = pd.read_csv(tmp_path / "alice_fmri" / "words.csv", keep_default_na=False)
    theirs = pd.read_csv(shared_data / "alice_fmri" / "words.csv", keep_default_na=False)
    assert list(mine["word"]) == list(theirs["word"].str.strip())
    for column in ("onset_s", "offset_s", "onset_scan_s"):
        np.testing.assert_allclose(mine[column], theirs[column], atol=1.1e-4)


def test_a_folder_that_is_not_alice_release(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the unpacked release of Alice"):
        convert_release(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_with_a_password_is_named(tmp_path):
    (tmp_path / "release").mkdir()
    archive = tmp_path / "release" / next(iter(ARCHIVES))
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "words")
    raw = bytearray(archive.read_bytes())
    for start, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # as encrypted, in both headers
        raw[raw.index(start) + flag] |= 1
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match="must be a whole zip archive without a password"):
        SOURCE.convert(tmp_path, None)
