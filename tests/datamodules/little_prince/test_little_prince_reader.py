"""The sections of The Little Prince on disk, and who heard them."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules.little_prince.little_prince_reader import WORDS, read_sections
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from tests.helpers import little_prince_tree as tree
from tests.helpers.little_prince_tree import derivative, loaded, ready


def test_sections_are_the_rank_of_the_derivative_runs_and_no_section_leaks(root):
    datamodule = loaded(root, subjects=["EN057", "EN059"], trim=(0, 0))
    responses = datamodule.responses
    assert torch.bincount(responses.runs).tolist() == list(tree.VOLUMES)
    design = responses.design[0].to_dense()
    section = torch.tensor([int(name.split("section")[1][0]) - 1 for name in responses.stimulus_ids])
    assert bool((design[responses.runs[:, None] != section[None]] == 0).all())
    assert bool((design[responses.runs[:, None] == section[None]] != 0).any())
    # EN057's run 15 is section 1, EN059's run 10 is section 9
    files = [path for story in datamodule.stories() for scan in story.scans for path in scan.scan.files]
    assert "run-15" in files[0].name
    assert "run-10" in files[-1].name


def test_textgrids_give_the_same_times(root):
    csv = loaded(root, language="FR", anchor="end").responses
    grid = loaded(root, language="FR", anchor="end", words_from="textgrid").responses
    torch.testing.assert_close(csv.design[0].to_dense(), grid.design[0].to_dense())
    assert csv.stimulus_ids == grid.stimulus_ids


def test_nine_runs_that_are_eight_or_ten(copy):
    path = derivative(copy, "sub-EN057", 17)
    path.rename(copy / "elsewhere.nii.gz")
    with pytest.raises(ValueError, match=r"sub-EN057 must have 9 derivative runs.*got 8: runs 15, 16, 18"):
        ready(copy)
    assert ready(copy, subjects=["EN059"], sections=[1]).describe()["stories"] == {"lppEN_section1": 1}
    shutil.copy(copy / "elsewhere.nii.gz", path)
    shutil.copy(path, path.with_name(path.name.replace("run-17", "run-24")))
    with pytest.raises(ValueError, match="got 10"):
        ready(copy)


def test_content_that_was_not_fetched(copy):
    path = derivative(copy, "sub-EN059", 10)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1/MD5E-s1.nii.gz")
    # those whose content is here are read; asking for a subject by name asks for all of its sections
    assert ready(copy, sections=[8, 9]).describe()["stories"] == {"lppEN_section8": 2, "lppEN_section9": 1}
    with pytest.raises(FileNotFoundError, match=r"link to its git-annex content.*datalad get"):
        ready(copy, subjects=["EN059"])


def test_a_pointer_instead_of_a_scan(tmp_path):
    tree.write_little_prince(tmp_path, bad=True)
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        ready(tmp_path, subjects=["EN060"])
    assert "sub-EN060" in ready(tmp_path, sections=[1], listeners="each").responses.subjects
    assert ready(tmp_path, sections=[9]).describe()["stories"] == {"lppEN_section9": 2}


def test_subjects(root):
    with pytest.raises(FileNotFoundError, match=r"sub-EN099 is in participants\.tsv but"):
        loaded(root, subjects=["EN099"])
    with pytest.raises(ValueError, match="no 'sub-EN001'"):
        loaded(root, subjects=["sub-EN001"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "DE"}, "language must be one of 'EN', 'CN', 'FR'"),
        ({"sections": [0, 1]}, "sections must be some of 1 to 9"),
        ({"sections": [1, 1]}, "each once"),
        ({"modality": "vision"}, "modality must be one of 'audio', 'language'"),
        ({"nuisances": ["luminance"]}, "nuisances must be one of"),
        ({"listeners": "all"}, "listeners must be one of"),
        ({"words_from": "json"}, "words_from must be one of"),
        ({"anchor": "middle"}, "anchor must be one of"),
        ({"hop": 0.0, "modality": "audio"}, "hop must be a positive"),
        ({"trim": (-1, 0)}, "trim must be volumes dropped"),
        ({"trim": (10, 9)}, r"must keep two volumes of lppEN_section1 at least, got 1"),
    ],
)
def test_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        loaded(root, **options)


def test_missing_parts_are_named(copy, monkeypatch):
    monkeypatch.delenv("NFAS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"ds003643/ with participants\.tsv"):
        ready(copy / "stimuli")
    (copy / "stimuli" / "task-lppEN_section-3.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"task-lppEN_section-3\.wav must be a file, got nothing"):
        ready(copy)
    assert ready(copy, nuisances=["word_rate"]).responses.nuisance_names == ("word_rate",)
    table = copy / "annotation" / "EN" / "lppEN_word_information.csv"
    pd.read_csv(table).drop(columns="offset").to_csv(table)
    with pytest.raises(ValueError, match=r"lppEN_word_information\.csv must have the columns.*\['offset'\]"):
        ready(copy, nuisances=["word_rate"])


def test_strict_checks_official_counts(root):
    with pytest.raises(ValueError, match=r"must have \(1517, 1690.*got \(10, 10"):
        loaded(root, strict=True)
    with pytest.raises(
        ValueError, match=r"sub-CN013/section1 must have 283 volumes \(lppCN_section1\), got 20"
    ):
        loaded(root, strict=True, language="CN")


def test_another_repetition_time_is_no_scan_of_this_set(copy):
    sidecar = copy / "sub-EN057" / "func" / "sub-EN057_task-lppEN_run-15_bold.json"
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text('{"RepetitionTime": 1.5}')
    with pytest.raises(ValueError, match=r"repetition time of 2\.0 s, got \{'sub-EN057': 1\.5\}"):
        ready(copy)


@pytest.mark.shared_data
def test_real_words_have_the_official_counts_and_pair_with_features(shared_data):
    found = read_sections(shared_data / "littleprince_annot" / "lppEN_word_information.csv")
    assert tuple(len(found[s]) for s in range(1, 10)) == WORDS["EN"]
    stories = [
        Story(name=f"section{s}", tr=2.0, offset=0.0, scans=(), first=4, words=words)
        for s, words in found.items()
    ]
    shown = story_stimuli(stories, StorySettings("language", window=20))
    assert len(shown.stimuli) == len(set(shown.ids)) == 15376
    design, times, runs = story_design(
        stories, shown.onsets, [278] * 9, StorySettings("language", temporal="hrf")
    )
    # a feature of each word: the length of the text that its span marks
    texts = [shown.stimuli[i][1] for i in range(len(shown.stimuli))]
    lengths = torch.tensor([[float(text.span[1] - text.span[0])] for text in texts])
    volumes = design[0] @ lengths
    assert volumes.shape == (9 * 278, 1)
    assert bool((volumes[runs == 8] > 0).all())
    # contractions of two rows are whole, and lost apostrophes are back
    assert texts[334].text.endswith("it hasnt")
    joined = " ".join(text.text for text in texts[:2000:20])
    assert "don't" in joined
    assert " t " not in joined
    assert times[0] == 8.0
