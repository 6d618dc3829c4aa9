"""The folders of Narratives: listeners, exclusions, files and words."""

from __future__ import annotations

import shutil

import pytest
import torch

from nfas_lightning.datamodules.narratives.narratives_tree import excluded_scans, read_listeners, story_words
from tests.helpers.narratives_tree import ready


def test_a_missing_sidecar_is_an_error(copy):
    (copy / "sub-140" / "func" / "sub-140_task-slumlordreach_bold.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"slumlordreach_bold\.json must state RepetitionTime"):
        ready(copy, stories=["reach"])


def test_parallel_lists_and_conditions(root, copy):
    listeners = read_listeners(root / "ds002345")
    assert ("sub-002", "prettymouth", "affair") in listeners
    assert ("sub-115", "milkyway", "synonyms") in listeners
    about = ready(root, stories=["prettymouth"]).describe()
    assert about["stories"] == {"prettymouth": 2}
    only = ready(root, stories=["prettymouth-paranoia"], listeners="each")
    assert only.responses.subjects == ("sub-140",)
    with pytest.raises(
        ValueError, match=r"no group 'jealous', participants\.tsv has \['affair', 'paranoia'\]"
    ):
        ready(root, stories=["prettymouth-jealous"])
    (copy / "participants.tsv").write_text("participant_id\ttask\tcondition\nsub-1\ta,b\tn/a\n")
    with pytest.raises(ValueError, match="lists of one length, got 2"):
        ready(copy)


def test_exclusions_are_matched_entity_by_entity(root):
    assert {"sub": "003", "task": "pieman"} in excluded_scans(root / "ds002345")
    datamodule = ready(root, stories=["tunnel", "pieman"], listeners="each")
    assert datamodule.describe()["stories"] == {"tunnel": 1, "pieman": 2}
    # sub-003's pieman is left out, piemanpni, whose name begins alike, is not
    with pytest.warns(UserWarning, match="piemanpni"):
        assert ready(root, stories=["piemanpni"]).describe()["stories"] == {"piemanpni": 1}
    everybody = ready(root, stories=["tunnel", "pieman"], exclude=False)
    assert everybody.describe()["stories"] == {"tunnel": 2, "pieman": 3}


def test_words_without_times(root):
    kept = ready(root, stories=["pieman"], modality="language", window=3)
    about = kept.describe()
    # the word aligned to the music has no neighbor before it, the blank one has two
    assert (about["words"], about["words_interpolated"], about["words_without_time"]) == (10, 1, 1)
    ids = kept.responses.stimulus_ids
    assert ids[0] == "pieman_00001_pword1"
    assert kept.stimuli[0][1].text == "pword0 pword1"
    assert "pieman_00006_pword6" in ids
    dropped = ready(root, stories=["pieman"], modality="language", window=3, unaligned="drop")
    assert "pieman_00006_pword6" not in dropped.responses.stimulus_ids
    position = dropped.responses.stimulus_ids.index("pieman_00007_pword7")
    assert dropped.stimuli[position][1].text == "pword4 pword5 pword6 pword7"


def test_broken_word_tables_are_named(copy):
    path = copy / "stimuli" / "gentle" / "tunnel" / "align.csv"
    path.write_text("word,onset\n")
    with pytest.raises(ValueError, match=r"tunnel/align\.csv must have the 4 columns"):
        ready(copy, stories=["tunnel"])
    path.unlink()
    path.symlink_to("../../.git/annex/objects/x")
    with pytest.raises(FileNotFoundError, match="git-annex content"):
        ready(copy, stories=["tunnel"])
    assert ready(copy, stories=["tunnel"], nuisances=["sound_power"]).describe()["words"] == 0


def test_strict_checks_the_word_count(root):
    with pytest.raises(ValueError, match=r"pieman/align\.csv must have 957 words, got 10"):
        ready(root, strict=True, stories=["pieman"])


def test_other_derivatives_have_their_own_names(copy, annotations):
    source = copy / "derivatives" / "afni-nosmooth" / "sub-002" / "func"
    smooth = copy / "derivatives" / "afni-smooth" / "sub-002" / "func"
    shutil.copytree(source, smooth)
    for path in source.glob("*_task-pieman_*hemi*"):
        shutil.copy(
            path,
            copy / "derivatives" / "fmriprep" / "sub-002" / "func" / path.name.replace("_desc-clean", ""),
        )
    options = {"stories": ["pieman"], "subjects": ["002"], "modality": "language"}
    plain = ready(copy, **options).responses
    torch.testing.assert_close(
        ready(copy, **options, derivative="afni-smooth").responses.values, plain.values, equal_nan=True
    )
    surface = ready(
        copy, **options, derivative="fmriprep", space="fsaverage6", atlas=annotations, confounds=("rot_z",)
    )
    assert any(name.endswith("hemi-R.func.gii") for name in surface.responses.hashes)
    assert not surface.responses.values.isnan().any()


@pytest.mark.shared_data
def test_a_table_of_sentences_is_no_alignment(shared_data, tmp_path):
    with pytest.raises(ValueError, match=r"must have the 4 columns.*got 14 columns"):
        story_words(shared_data / "narratives_align" / "21styear.csv", "21styear", 21.0)
