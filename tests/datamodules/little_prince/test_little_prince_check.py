"""`nfas data check` and the loader ask for the same files: what is taken away stops both, and is named."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from nfas_lightning.datamodules import LittlePrinceDataModule
from nfas_lightning.datamodules.little_prince import little_prince_reader
from nfas_lightning.datamodules.little_prince.little_prince_reader import (
    LANGUAGES,
    VOLUMES,
    WORDS,
)
from tests.helpers.checks import POINTER, bad_rows, check_one, rows_of, said
from tests.helpers.little_prince_tree import VOLUMES as SMALL_VOLUMES
from tests.helpers.little_prince_tree import write_little_prince


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """All of the English part, in its official numbers, on a grid of one voxel."""
    folder = tmp_path_factory.mktemp("data") / "ds003643"
    (folder / "stimuli").mkdir(parents=True)
    (folder / "annotation" / "EN").mkdir(parents=True)
    sections = np.repeat(np.arange(1, 10), WORDS["EN"])
    table = pd.DataFrame({"word": "x", "onset": 0.0, "offset": 0.1, "section": sections})
    table.to_csv(folder / "annotation" / "EN" / "lppEN_word_information.csv")
    for section in range(1, 10):
        wavfile.write(folder / "stimuli" / f"task-lppEN_section-{section}.wav", 400, np.zeros(80, np.int16))
    names = [f"sub-EN{i:03d}" for i in range(57, 106)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id", *names]), encoding="utf-8-sig")
    images = [nib.Nifti1Image(np.ones((1, 1, 1, n), np.int8), np.eye(4)) for n in VOLUMES["EN"]]
    contents = [gzip.compress(image.to_bytes()) for image in images]
    for name in names:
        func = folder / "derivatives" / name / "func"
        func.mkdir(parents=True)
        for section, content in enumerate(contents):
            # run numbers start anywhere and have a gap
            run = section + 7 + (section > 4)
            path = func / f"{name}_task-lppEN_run-{run:02d}_space-MNIColin27_desc-preproc_bold.nii.gz"
            path.write_bytes(content)
    return folder


def test_the_little_prince_in_its_official_numbers(english):
    whole = check_one(english.parent, subjects=["EN"])
    assert whole.complete, [row for row in whole.rows if not row.complete]
    found = {row.what: row.found for row in whole.rows}
    assert found["EN words"] == 15_376
    assert found["EN listeners"] == found["participants"] == 49
    assert found["EN scans"] == found["EN lengths"] == 441
    all_languages = check_one(english)
    assert not all_languages.complete
    other = {row.what: row for row in all_languages.rows}
    assert other["FR scans"].n_missing == 28 * 9
    one = check_one(english, subjects=["EN057", "sub-EN060"])
    assert one.complete
    assert {row.what: row for row in one.rows}["EN scans"].expected == 18


def test_the_little_prince_with_faults(english):
    func = english / "derivatives" / "sub-EN070" / "func"
    files = sorted(func.iterdir())
    kept = {path: path.read_bytes() for path in files}
    try:
        files[0].write_bytes(kept[files[1]])  # a scan of another section
        files[2].write_text(POINTER)
        found = rows_of(english, subjects=["EN"])
        assert "282" in found["EN lengths"].missing[0]
        assert "298 volumes, section 1" in found["EN lengths"].missing[0]
        assert found["EN scans"].unreadable[0][1].startswith("a git-annex pointer")
        assert not found["EN lengths"].complete
        assert not found["EN scans"].complete
        files[3].unlink()
        found = rows_of(english, subjects=["EN"])
        assert found["EN scans"].missing == ("sub-EN070: 8 runs, not 9",)
        assert found["EN listeners"].found == 48
        # what is wrong with one listener is no matter where others are asked for
        assert check_one(english, subjects=["EN057"]).complete
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_word_tables_that_are_not_the_official_ones(english):
    path = english / "annotation" / "EN" / "lppEN_word_information.csv"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[: len(kept) // 2])
        row = rows_of(english, subjects=["EN"])["EN words"]
        assert row.found < 15_376
        assert any("section 9: 0 words, not 1975" in name for name in row.missing)
        path.write_text("word,begin\nx,1\n")
        row = rows_of(english, subjects=["EN"])["EN word table"]
        assert "columns" in row.unreadable[0][1]
    finally:
        path.write_bytes(kept)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_little_prince(tmp_path_factory.mktemp("prince"))


@pytest.fixture
def prince(original, tmp_path, monkeypatch):
    """A copy of a small tree, whose counts are the official ones here."""
    monkeypatch.delitem(little_prince_reader.WORDS, "EN")
    for language in LANGUAGES:
        monkeypatch.setitem(little_prince_reader.VOLUMES, language, SMALL_VOLUMES)
    return shutil.copytree(original, tmp_path / original.name)


def load_prince(root, language="EN", **options):
    datamodule = LittlePrinceDataModule(root, language=language, subjects=["EN057", "EN059"], **options)
    return datamodule.stories()


def test_a_tree_of_the_little_prince_that_passes_loads(prince):
    assert not bad_rows(prince, ["EN057", "EN059"])
    assert len(load_prince(prince)) == len(load_prince(prince, words_from="textgrid")) == 9
    assert not bad_rows(prince, ["CN013", "FR001"])


@pytest.mark.parametrize("how", ["gone", "pointer"])
@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("stimuli/task-lppEN_section-3.wav", "EN sounds"),
        ("annotation/EN/lppEN_word_information.csv", "EN word table"),
        ("annotation/EN/lppEN_section4.TextGrid", "EN TextGrids"),
    ],
)
def test_what_the_little_prince_lacks_is_named(prince, path, what, how):
    (prince / path).unlink()
    if how == "pointer":
        (prince / path).write_text(POINTER)
    rows = bad_rows(prince, ["EN057", "EN059"])
    assert list(rows) == [what]
    assert path.rpartition("/")[2] in said(rows)
    with pytest.raises(FileNotFoundError, match=path.rpartition("/")[2]):
        load_prince(prince, words_from="textgrid" if "TextGrid" in path else "csv")


def test_runs_and_their_sidecars_are_read_as_the_loader_does(prince):
    func = prince / "derivatives" / "sub-EN057" / "func"
    run = sorted(func.iterdir())[4]
    sidecar = prince / "sub-EN057" / "func" / "sub-EN057_task-lppEN_run-19_bold.json"
    sidecar.parent.mkdir(parents=True, exist_ok=True)
    sidecar.write_text('{"RepetitionTime": 1.5}')
    rows = bad_rows(prince, ["EN057", "EN059"])
    assert list(rows) == ["EN repetition times"]
    assert f"{run.name} its sidecar states a repetition time of 1.5 s, not 2" in said(rows)
    with pytest.raises(ValueError, match=r"repetition time of 2\.0 s, got"):
        load_prince(prince)
    sidecar.unlink()
    # a name that the loader does not know is no run
    run.rename(func / run.name.replace("MNIColin27", "MNI152"))
    assert said(bad_rows(prince, ["EN057", "EN059"])) == "sub-EN057: 8 runs, not 9"
    with pytest.raises(ValueError, match="sub-EN057 must have 9 derivative runs"):
        load_prince(prince)


def test_words_that_the_loader_can_not_read_are_named(prince):
    path = prince / "annotation" / "EN" / "lppEN_word_information.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.endswith(",9")))
    assert said(bad_rows(prince, ["EN057"])) == "section 9"
    with pytest.raises(ValueError, match=r"missing \[9\]"):
        load_prince(prince)
    path.write_text("word,onset,offset,section\nx,late,1,1\n")
    assert "onset must be seconds" in said(bad_rows(prince, ["EN057"]))
