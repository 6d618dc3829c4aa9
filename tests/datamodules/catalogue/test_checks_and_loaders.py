"""`nfas data check` and the loaders ask for the same files: what is taken away stops both, and is named."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest

from nfas_lightning.cli.data import check_data
from nfas_lightning.datamodules.catalogue import check_folder
from nfas_lightning.datamodules.little_prince import little_prince_reader as little_prince
from nfas_lightning.datamodules.little_prince.little_prince_reader import LANGUAGES, little_prince_stories
from nfas_lightning.datamodules.narratives import narratives_clock
from nfas_lightning.datamodules.narratives.narratives_reader import narratives_stories
from tests.helpers import little_prince_tree, narratives_tree

POINTER = "/annex/objects/MD5E-s76000000--0123456789abcdef\n"
LISTENERS = list(narratives_tree.HEARD)
CLEAN = "derivatives/afni-nosmooth/sub-140/func/sub-140_task-slumlordreach_space-"


def copies(build, name):
    @pytest.fixture(scope="module", name=f"{name}_original")
    def original(tmp_path_factory):
        return build(tmp_path_factory.mktemp(name))

    @pytest.fixture(name=name)
    def copy(request, tmp_path):
        place = tmp_path / request.getfixturevalue(f"{name}_original").name
        shutil.copytree(request.getfixturevalue(f"{name}_original"), place)
        return place

    return original, copy


narratives_original, narratives = copies(narratives_tree.write_narratives, "narratives")
prince_original, prince = copies(little_prince_tree.write_little_prince, "prince")


@pytest.fixture(autouse=True)
def small_counts(monkeypatch):
    """The trees are small: their counts are the official ones here."""
    for audio in list(narratives_clock.WORDS):
        monkeypatch.delitem(narratives_clock.WORDS, audio)
    monkeypatch.delitem(little_prince.WORDS, "EN")
    for language in LANGUAGES:
        monkeypatch.setitem(little_prince.VOLUMES, language, little_prince_tree.VOLUMES)


def bad_rows(root, subjects):
    (check,) = check_folder(root, subjects=subjects, progress=False)
    rows = {row.what: row for row in check.rows if not row.complete}
    assert check.complete == (not rows)
    return rows


def said(rows):
    """All that the rows name, in one text."""
    return " ".join(
        [*(name for row in rows.values() for name in row.missing)]
        + [" ".join(pair) for row in rows.values() for pair in row.unreadable]
    )


def load_narratives(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two tellings of a tale, an uncertain clock
        return narratives_stories(root, subjects=LISTENERS, **options)


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
def test_what_the_loader_can_not_read_is_named(narratives, path, text, what):
    (narratives / path).write_text(text)
    assert what in bad_rows(narratives, LISTENERS)
    with pytest.raises((ValueError, FileNotFoundError)):
        load_narratives(narratives)


def test_all_word_tables_gone_are_named(narratives, capsys):
    shutil.rmtree(narratives / "stimuli" / "gentle")
    row = bad_rows(narratives, LISTENERS)["word tables"]
    assert row.missing == tuple(
        f"stimuli/gentle/{audio}/align.csv" for audio in sorted(narratives_tree.SOUNDS)
    )
    with pytest.raises(SystemExit):
        check_data(str(narratives), subjects=",".join(LISTENERS))
    assert "stimuli/gentle/pieman/align.csv" in capsys.readouterr().out
    assert len(load_narratives(narratives, words=False)) == 6


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


def load_prince(root, language="EN", **options):
    return little_prince_stories(root, language, subjects=["EN057", "EN059"], **options)


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
