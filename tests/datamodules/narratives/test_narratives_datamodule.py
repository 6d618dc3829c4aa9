from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS, WORDS
from nfas_lightning.datamodules.narratives.narratives_tree import story_words
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from nfas_lightning.functional.correlation import correlate
from tests.helpers import narratives_tree as tree
from tests.helpers.narratives_tree import planted_series, ready

# clocks


def test_volumes_kept_and_their_times(root):
    responses = ready(root, stories=["pieman"]).responses
    # story from volume 4, 22 volumes long, of which six are dropped
    torch.testing.assert_close(responses.volume_times, 1.5 * torch.arange(10, 26, dtype=torch.float64))
    synonyms = ready(root, stories=["milkywaysynonyms"]).responses
    assert synonyms.tr == 1.52
    assert synonyms.volume_times[0] == pytest.approx(9 * 1.52)


def test_each_story_keeps_its_own_repetition_time(root):
    responses = ready(root, stories=["pieman", "milkywaysynonyms"]).responses
    assert responses.tr == 1.5
    steps = [responses.volume_times[responses.runs == run].diff().unique() for run in (0, 1)]
    torch.testing.assert_close(steps[0][0], torch.tensor(1.5).double())
    torch.testing.assert_close(steps[1][0], torch.tensor(1.52).double())


def test_two_parts_of_one_scan_are_two_runs_with_their_own_words(root):
    datamodule = ready(root, stories=["slumlordreach"], modality="language", window=50)
    assert list(datamodule.describe()["stories"]) == ["slumlord", "reach"]
    ids = datamodule.responses.stimulus_ids
    assert sum(name.startswith("slumlord_") for name in ids) == 10
    # no window reaches back into the other part
    first = datamodule.stimuli[ids.index(next(name for name in ids if name.startswith("reach_")))][1]
    assert first.text == "sword10"
    sound = ready(root, stories=["slumlordreach"], hop=1.0, seconds=2.0)
    ends = [float(name.split("_")[1][:-1]) for name in sound.responses.stimulus_ids]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends)


# who heard what


def test_repeats_of_a_subject_are_averaged(root):
    datamodule = ready(root, stories=["pieman"], listeners="each")
    assert len(datamodule.stories()[0].scans) == 3
    assert datamodule.responses.subjects == ("sub-001", "sub-002")
    assert datamodule.responses.values.shape[0] == 2


def test_subjects_of_different_stories_share_an_axis(root):
    responses = ready(root, stories=["pieman", "tunnel"], listeners="each").responses
    assert responses.subjects == ("sub-001", "sub-002")
    tunnel = responses.values[:, responses.runs == 1]
    assert tunnel[0].isnan().all()
    assert not tunnel[1].isnan().all()
    mean = ready(root, stories=["pieman", "tunnel"]).responses
    torch.testing.assert_close(mean.group_mean, responses.group_mean, equal_nan=True)


# words and sound


def test_a_transcript_gives_punctuation(copy):
    folder = copy / "stimuli" / "gentle" / "tunnel"
    spoken = ["So", "she", "ran", "I\u2019m", "told", "far", "into", "the", "dark", "wood"]
    rows = [f"{word},{word.lower()},{onset},{onset + 0.4:.2f}" for word, onset in
            zip(spoken, tree.word_times("tunnel"), strict=True)]  # fmt: skip
    (folder / "align.csv").write_text("\n".join(rows), encoding="utf-8")
    plain = ready(copy, stories=["tunnel"], modality="language", window=4)
    (folder / "transcript.txt").write_text(
        "So, she ran (I\u2019m told) far,\ninto the dark wood.", encoding="utf-8"
    )
    printed = ready(copy, stories=["tunnel"], modality="language", window=4)
    assert plain.stimuli[5][1].text == "she ran I\u2019m told far"
    assert printed.stimuli[5][1].text == "she ran (I\u2019m told) far"
    assert printed.responses.hashes["stimuli"] != plain.responses.hashes["stimuli"]


# surfaces and volumes


def test_surfaces_leave_the_medial_wall_out(root, annotations):
    responses = ready(
        root, stories=["pieman"], space="fsaverage6", atlas=annotations, modality="language"
    ).responses
    assert responses.rois["roi"].tolist() == ["front_L", "back_L", "front_R", "back_R"]
    wall = tree.MEDIAL_WALL.stop - tree.MEDIAL_WALL.start
    assert responses.rois["n_voxels"].tolist() == [20_000, 20_962 - wall] * 2
    assert not responses.values.isnan().any()
    volumes = ready(root, stories=["pieman"], modality="language").responses
    same = correlate(responses.values[0, :, :1], volumes.values[0, :, :1])
    assert float(same) > 0.999


def test_vertices_are_targets_and_lie_in_parcels(root, annotations):
    options = {"stories": ["pieman"], "space": "fsaverage6", "atlas": annotations, "modality": "language"}
    parcels = ready(root, **options).responses
    responses = ready(root, **options, regions="vertices").responses
    rois = responses.rois
    assert responses.dataset == "narratives_vertices"
    assert responses.values.shape == (1, 16, 2 * tree.N_VERTICES)
    wall = (rois["index"] >= tree.MEDIAL_WALL.start) & (rois["index"] < tree.MEDIAL_WALL.stop)
    assert (rois["n_voxels"] == (~wall).astype(int)).all()
    assert responses.values[0].isnan().any(dim=0).tolist() == wall.tolist()
    assert (rois["parcel"] != "").tolist() == (~wall).tolist()
    for column, name in enumerate(parcels.rois["roi"]):
        own = torch.tensor((rois["parcel"] == name).tolist())
        mean = responses.values[0][:, own].mean(dim=1, keepdim=True)
        assert float(correlate(mean, parcels.values[0][:, column : column + 1])) > 0.999


def test_voxels_of_two_grids_are_one_axis(root):
    responses = ready(root, stories=["pieman", "tunnel"], regions="voxels", listeners="each").responses
    assert responses.dataset == "narratives_voxels"
    assert len(responses.rois) > 3000
    assert {"L", "R"} <= set(responses.rois["hemisphere"])
    heard = responses.values[0, responses.runs == 0]
    assert float((~heard.isnan().any(dim=0)).float().mean()) > 0.99
    with pytest.raises(
        ValueError, match=r"regions='vertices' does not fit .*_bold\.nii\.gz, which has voxels"
    ):
        ready(root, stories=["pieman"], regions="vertices")


def test_hemispheres_that_do_not_belong_together(copy, annotations):
    place = copy / "derivatives" / "afni-nosmooth" / "sub-140" / "func"
    right = place / "sub-140_task-slumlordreach_space-fsaverage6_hemi-R_desc-clean.func.gii"
    image = nib.load(right)
    nib.save(nib.gifti.GiftiImage(darrays=image.darrays[:-2]), right)
    options = {"stories": ["reach"], "space": "fsaverage6", "atlas": annotations}
    with pytest.raises(ValueError, match="same volumes and vertices"):
        ready(copy, **options)
    right.unlink()
    with pytest.raises(FileNotFoundError, match=r"hemi-R_desc-clean\.func\.gii must be a file, got nothing"):
        ready(copy, **options)


def test_space_and_atlas_must_fit(root, annotations):
    with pytest.raises(ValueError, match="give a pair of annotation files"):
        ready(root, stories=["pieman"], space="fsaverage6")
    with pytest.raises(ValueError, match="on the surface"):
        ready(root, stories=["pieman"], atlas=annotations)


def test_two_grids_in_one_run_of_stories(root):
    responses = ready(root, stories=["pieman", "tunnel"]).responses
    first, second = (~responses.values[0, responses.runs == run].isnan().any(dim=0) for run in (0, 1))
    assert 100 < int(first.sum()) < 160
    assert 100 < int(second.sum()) < 160
    # a parcel that one grid has and the other has not is missing in one story alone
    assert not torch.equal(first, second)
    counted = torch.from_numpy(responses.rois["n_voxels"].to_numpy() > 0)
    assert torch.equal(counted, first | second)


def test_files_that_are_not_clean_lose_confounds_and_drifts(root):
    options = {"stories": ["pieman"], "modality": "language", "derivative": "fmriprep", "high_pass": None}
    dirty = ready(root, **options, confounds=())
    clean = ready(root, **options, confounds=("trans_x", "rot_z"))
    before, after = (correlate(*planted_series(datamodule, "pieman")).mean() for datamodule in (dirty, clean))
    assert before < 0.3
    assert after > 0.95
    assert ready(root, **{**options, "high_pass": "auto"}, confounds=("trans_x",)).high_pass == 1 / 128
    assert ready(root, stories=["pieman"]).high_pass is None


def test_tables_of_confounds(root, copy):
    options = {"stories": ["pieman"], "derivative": "fmriprep"}
    with pytest.raises(ValueError, match=r"confounds_regressors\.tsv must have the columns.*missing.*'csf'"):
        ready(root, **options)
    # the first volume has no change since the one before
    ready(root, **options, confounds=("trans_x_derivative1",))
    path = next((copy / "derivatives" / "fmriprep").rglob("*confounds*"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], "n/a\t0\t0", *lines[6:]]))
    with pytest.raises(
        ValueError, match="trans_x must be a number in every volume but the first, got 'n/a' in"
    ):
        ready(copy, **options, confounds=("trans_x",))
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(ValueError, match="must have one row per volume, 28, got 27"):
        ready(copy, **options, confounds=("trans_x",))


def test_a_scan_that_ends_early(copy):
    path = next((copy / "derivatives" / "afni-nosmooth" / "sub-002").rglob("*pieman*bold.nii.gz"))
    image = nib.load(path)
    nib.Nifti1Image(np.asanyarray(image.dataobj)[..., :20], image.affine).to_filename(path)
    with pytest.warns(UserWarning, match="must keep 16 volumes as most do, but those of 1 of 2"):
        responses = ready(copy, stories=["pieman"], listeners="each").responses
    assert responses.values[1, 10:].isnan().all()
    for name in ("pieman",):
        (copy / "stimuli" / "gentle" / name / "align.csv").unlink()
    with pytest.raises(ValueError, match=r"sub-002_task-pieman must reach volume 26 \(pieman\), got 20"):
        ready(copy, stories=["pieman"], nuisances=["sound_power"], strict=True)


# the official tables


@pytest.mark.shared_data
@pytest.mark.parametrize("name", [name for name in CLOCKS if CLOCKS[name].audio in WORDS])
def test_real_alignments_have_the_official_counts_and_pair_with_features(shared_data, name, tmp_path):
    clock = CLOCKS[name]
    folder = tmp_path / clock.audio
    folder.mkdir()
    shutil.copy(shared_data / "narratives_align" / f"{clock.audio}_align.csv", folder / "align.csv")
    start = clock.onset * 1.5 - clock.wav_offset
    end = (20 + 602) * 1.5 - 4.5
    span = {"slumlord": (0.0, end), "reach": (end, float("inf"))}.get(name, (0.0, float("inf")))
    words = story_words(folder / "align.csv", clock.audio, start, span)
    # counted by the data set's authors
    wanted = {"slumlord": 2715, "reach": 2629}.get(name, WORDS[clock.audio])
    assert len(words) == wanted
    # what has no time lies at an end; every other word is placed, none of them before the story
    assert (~words.timed).sum() <= 6
    assert words.onset[words.timed][0] > start - 2
    assert bool((np.diff(words.onset[words.timed]) >= 0).all())
    story = Story(name=name, tr=1.5, offset=clock.wav_offset, scans=(), first=clock.onset + 6, words=words)
    shown = story_stimuli([story], StorySettings("language"))
    n = clock.duration - 6
    design, times, _ = story_design([story], shown.onsets, [n], StorySettings("language", temporal="hrf"))
    feature = torch.tensor([[float(len(shown.stimuli[i][1].text))] for i in range(len(shown.stimuli))])
    assert (design[0] @ feature).shape == (n, 1)
    # words end with the story, give or take a few seconds; the two unverified clocks are the exception
    beyond = float(shown.onsets[0].max() - times[-1])
    assert beyond < (20 if clock.note else 3)


@pytest.mark.shared_data
def test_real_parcels_of_fsaverage5_on_fsaverage6(root, shared_data):
    pair = [shared_data / "atlases" / f"fsa5_{side}_schaefer_100.annot" for side in ("lh", "rh")]
    responses = ready(root, stories=["pieman"], space="fsaverage6", atlas=pair, modality="language").responses
    assert len(responses.rois) == 100
    assert responses.rois["roi"].iloc[0] == "7Networks_LH_Vis_1"
    assert not responses.values.isnan().any()
    # every fourth vertex of the finer mesh
    assert 10_000 < responses.rois["n_voxels"].sum() < 20_484
