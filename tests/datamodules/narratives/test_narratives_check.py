"""`nfas data check` and the loader ask for the same files: what is taken away stops both, and is named."""

import json
import shutil
import warnings

import pytest

from nfas_lightning.cli.data import check_data
from nfas_lightning.datamodules import NarrativesDataModule
from nfas_lightning.datamodules.narratives import narratives_clock
from tests.helpers.checks import POINTER, bad_rows, rows_of, said
from tests.helpers.narratives_tree import HEARD, SOUNDS, write_narratives

LISTENERS = list(HEARD)
CLEAN = "derivatives/afni-nosmooth/sub-140/func/sub-140_task-slumlordreach_space-"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_narratives(tmp_path_factory.mktemp("narratives"))


@pytest.fixture
def narratives(original, tmp_path, monkeypatch):
    """A copy of a small tree, whose counts are the official ones here."""
    for audio in list(narratives_clock.WORDS):
        monkeypatch.delitem(narratives_clock.WORDS, audio)
    return shutil.copytree(original, tmp_path / original.name)


def test_counts_and_forms_of_scans(original):
    found = rows_of(original.parent)
    assert found["participants"].expected == 345
    assert found["preprocessed scans"].expected == 891
    assert not found["preprocessed scans"].complete
    assert found["afni-nosmooth fsaverage6"].found % 2 == 0
    of_one = rows_of(original, subjects=["001"])
    assert of_one["participants"].complete
    assert of_one["preprocessed scans"].found == 3
    assert of_one["afni-nosmooth fsaverage6"].found == 6
    left = next(iter(sorted(original.glob("derivatives/afni-nosmooth/sub-001/func/*hemi-L*"))))
    content = left.read_bytes()
    try:
        left.write_bytes(content[:-100])
        assert "GIfTI" in rows_of(original, subjects=["001"])["afni-nosmooth fsaverage6"].unreadable[0][1]
        left.unlink()
        assert rows_of(original, subjects=["001"])["afni-nosmooth fsaverage6"].missing == (left.name,)
    finally:
        left.write_bytes(content)


def load_narratives(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two tellings of a tale, an uncertain clock
        return NarrativesDataModule(root, subjects=LISTENERS, **options).stories()


def test_a_narratives_tree_that_passes_loads(narratives):
    assert not bad_rows(narratives, LISTENERS)
    assert [story.name for story in load_narratives(narratives)] == [
        "pieman",
        "tunnel",
        "prettymouth",
        "milkywaysynonyms",
        "slumlord",
        "reach",
    ]
    check_data(str(narratives), subjects=",".join(LISTENERS))


@pytest.mark.parametrize("how", ["gone", "pointer"])
@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("code/scan_exclude.json", "code/scan_exclude.json"),
        ("stimuli/pieman_audio.wav", "sounds"),
        ("stimuli/slumlordreach_audio.wav", "sounds"),
        ("stimuli/gentle/tunnel/align.csv", "word tables"),
        ("sub-140/func/sub-140_task-slumlordreach_bold.json", "sidecars"),
    ],
)
def test_what_narratives_lacks_is_named(narratives, path, what, how):
    (narratives / path).unlink()
    if how == "pointer":
        (narratives / path).write_text(POINTER)
    rows = bad_rows(narratives, LISTENERS)
    assert list(rows) == [what]
    name = path.rpartition("/")[2] if what.startswith("code") else path.replace("sub-140/func/", "")
    assert name in said(rows)
    assert ("git-annex pointer" in said(rows)) == (how == "pointer")
    with pytest.raises(FileNotFoundError, match=path.rpartition("/")[2]):
        load_narratives(narratives)
    with pytest.raises(SystemExit) as end:
        check_data(str(narratives), subjects=",".join(LISTENERS))
    assert end.value.code == 1


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("participants.tsv", "participant_id\tage\nsub-001\t20\n", "participants"),
        ("code/scan_exclude.json", '{"pieman": ["sub-001"]}', "code/scan_exclude.json"),
        ("code/event_meta.json", json.dumps({"pieman": {"pieman": {"onset": 1.5}}}), "code/event_meta.json"),
        ("stimuli/gentle/tunnel/align.csv", "word,onset\n", "word tables"),
        ("sub-140/func/sub-140_task-slumlordreach_bold.json", '{"RepetitionTime": 1500}', "sidecars"),
        ("sub-140/func/sub-140_task-slumlordreach_bold.json", "{", "sidecars"),
    ],
)
def test_what_the_loader_cannot_read_is_named(narratives, path, text, what):
    (narratives / path).write_text(text)
    assert what in bad_rows(narratives, LISTENERS)
    with pytest.raises((ValueError, FileNotFoundError)):
        load_narratives(narratives)


def test_all_word_tables_gone_are_named(narratives, capsys):
    shutil.rmtree(narratives / "stimuli" / "gentle")
    row = bad_rows(narratives, LISTENERS)["word tables"]
    assert row.missing == tuple(f"stimuli/gentle/{audio}/align.csv" for audio in sorted(SOUNDS))
    with pytest.raises(SystemExit):
        check_data(str(narratives), subjects=",".join(LISTENERS))
    assert "stimuli/gentle/pieman/align.csv" in capsys.readouterr().out
    assert len(load_narratives(narratives, nuisances=("sound_power",))) == 6


def test_scans_that_are_not_here_are_named(narratives):
    volume = narratives / f"{CLEAN}MNI152NLin2009cAsym_res-native_desc-clean_bold.nii.gz"
    left, right = (narratives / f"{CLEAN}fsaverage6_hemi-{side}_desc-clean.func.gii" for side in "LR")
    right.unlink()
    assert said(bad_rows(narratives, LISTENERS)) == right.name
    left.unlink()
    assert not bad_rows(narratives, LISTENERS)  # one form is enough
    volume.unlink()
    rows = bad_rows(narratives, LISTENERS)
    assert rows["preprocessed scans"].missing == ("sub-140_task-slumlordreach",)
    with pytest.raises(FileNotFoundError, match="sub-140 heard slumlord by"):
        load_narratives(narratives, stories=["slumlord"])
    shutil.rmtree(narratives / "derivatives")
    rows = bad_rows(narratives, ["001"])
    # pieman is to be fetched, the tunnel of this subject is left out by its authors
    assert rows["preprocessed scans"].missing == ("sub-001_task-pieman",)
    assert "stimuli/merlin_audio.wav" in rows["sounds"].missing


def test_confounds_of_scans_that_are_not_clean_are_named(narratives):
    table = next((narratives / "derivatives" / "fmriprep").rglob("*confounds*"))
    table.write_text(POINTER)
    assert "git-annex pointer" in said(bad_rows(narratives, LISTENERS))
    table.unlink()
    assert said(bad_rows(narratives, LISTENERS)) == table.name
