from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.word_times import read_gentle
from nfas_lightning.datamodules import NarrativesDataModule
from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS, WORDS
from nfas_lightning.datamodules.narratives.narratives_tree import excluded_scans, read_listeners, story_words
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.hrf import hrf
from tests.helpers import narratives_tree as tree


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narratives")
    tree.write_narratives(folder)
    return folder


@pytest.fixture
def copy(root, tmp_path):
    """A tree to spoil."""
    shutil.copytree(root / "ds002345", tmp_path / "ds002345", symlinks=True)
    return tmp_path / "ds002345"


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    """Two parcels and a medial wall on fsaverage6, a hemisphere a file."""
    folder = tmp_path_factory.mktemp("atlas")
    label = np.ones(tree.N_VERTICES, dtype=int)
    label[20_000:] = 2
    label[tree.MEDIAL_WALL] = 0
    colors = np.array([[0, 0, 0, 0], [50, 0, 0, 0], [0, 50, 0, 0]])
    paths = []
    for side in ("lh", "rh"):
        paths.append(folder / f"{side}.two.annot")
        nib.freesurfer.write_annot(paths[-1], label, colors, ["Medial_wall", "front", "back"], fill_ctab=True)
    return paths


def ready(root, **options):
    options = {"atlas": "dosenbach", "strict": False, "cache": None, "progress": False, **options}
    datamodule = NarrativesDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def planted(datamodule, name):
    """The predicted and the observed series of one story, from its planted word's indicator alone."""
    responses = datamodule.responses
    part = {"slumlord": 0, "reach": 1}.get(name, 0)
    audio = CLOCKS[name].audio
    row = tree.planted_words(audio)[part] - (10 if name == "reach" else 0)
    feature = torch.zeros(len(responses.stimulus_ids), 1)
    (column,) = (i for i, s in enumerate(responses.stimulus_ids) if s.startswith(f"{name}_{row:05d}_"))
    feature[column] = 1.0
    rows = responses.runs == [story.name for story in datamodule.stories()].index(name)
    observed = responses.group_mean[rows]
    return responses.carry(feature)[rows], observed[:, ~observed.isnan().any(dim=0)]


# clocks


@pytest.mark.parametrize("name", ["pieman", "tunnel", "milkywaysynonyms", "slumlord", "reach", "prettymouth"])
def test_a_known_word_comes_out_at_the_right_volume(root, name):
    predicted, observed = planted(ready(root, stories=[name], modality="language"), name)
    assert observed.shape[1] > 100
    lags = {lag: correlate(predicted.roll(lag, 0)[1:-1], observed[1:-1]) for lag in (-1, 0, 1)}
    assert lags[0].min() > 0.995
    # a clock that is one volume off is told apart
    assert max(lags[-1].max(), lags[1].max()) < 0.96


def test_an_unverified_offset_is_said_and_can_be_corrected(root):
    with pytest.warns(
        UserWarning, match=r"Story piemanpni: no offset.*8\.7 to 408\.4 s.*Taken: 12 s.*wav_offsets"
    ):
        datamodule = ready(root, stories=["piemanpni"], modality="language")
    with pytest.warns(UserWarning, match="piemanpni"):
        predicted, observed = planted(datamodule, "piemanpni")
    assert correlate(predicted, observed).min() > 0.995
    moved = ready(root, stories=["piemanpni"], modality="language", wav_offsets={"piemanpni": 8.8})
    predicted, observed = planted(moved, "piemanpni")
    assert correlate(predicted, observed).max() < 0.7
    with pytest.raises(ValueError, match="wav_offsets must name stories that are read"):
        ready(root, stories=["pieman"], wav_offsets={"lucy": 2.0})


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


def test_a_part_ends_where_its_volumes_do(root):
    (meta,) = root.rglob("event_meta.json")
    part = json.loads(meta.read_text())["slumlordreach"]["slumlord"]
    first, second = ready(root, stories=["slumlordreach"]).stories()
    end = (part["onset"] + part["duration"]) * first.tr - first.offset  # on the sound file's clock
    assert first.offset == 4.5
    assert first.span == (0.0, pytest.approx(end))
    assert second.span == (pytest.approx(end), float("inf"))


def test_a_scan_of_another_rate_is_left_out(copy):
    # one more listener, scanned at 1.5 s, and one more at 1.52 s
    for subject in ("sub-116", "sub-117"):
        for kind in ("afni-nosmooth",):
            place = copy / "derivatives" / kind
            shutil.copytree(place / "sub-115", place / subject)
        shutil.copytree(copy / "sub-115", copy / subject)
        for path in [*copy.rglob(f"{subject}/**/sub-115*")]:
            path.rename(path.with_name(path.name.replace("sub-115", subject)))
        with (copy / "participants.tsv").open("a") as file:
            file.write(f"{subject}\t20\tF\tmilkyway\tsynonyms\tn/a\n")
    (copy / "sub-116" / "func" / "sub-116_task-milkyway_bold.json").write_text('{"RepetitionTime": 1.5}')
    with pytest.warns(UserWarning, match=r"1 of 3 scans have another repetition time than 1\.52 s.*sub-116"):
        datamodule = ready(copy, stories=["milkywaysynonyms"])
    with pytest.warns(UserWarning, match="left out"):
        assert {scan.subject for scan in datamodule.stories()[0].scans} == {"sub-115", "sub-117"}
    alone = ready(copy, stories=["milkywaysynonyms"], subjects=["sub-116"])
    assert alone.responses.tr == 1.5


def test_a_missing_sidecar_is_an_error(copy):
    (copy / "sub-140" / "func" / "sub-140_task-slumlordreach_bold.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"slumlordreach_bold\.json must state RepetitionTime"):
        ready(copy, stories=["reach"])


@pytest.mark.parametrize("onset", ["2.0", "0.2"])
def test_events_that_disagree_are_said(copy, onset):
    path = copy / "sub-001" / "func" / "sub-001_task-pieman_run-1_events.tsv"
    path.write_text(f"onset\tduration\ttrial_type\tstim_file\n{onset}\t3\tstory\tpieman_audio.wav\n")
    with pytest.warns(UserWarning, match=rf"lets the sound begin at {float(onset):g} s, not at 0 s"):
        ready(copy, stories=["pieman"])


# who heard what


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


def test_nobody_is_told_to_fetch_what_is_excluded(copy):
    with pytest.raises(ValueError, match=r"^sub-003 has no .*\(sub-003_task-pieman\).*exclude=False"):
        ready(copy, stories=["pieman"], subjects=["003"])
    path = copy / "code" / "scan_exclude.json"
    excluded = {name: [f"{name}_task-tunnel"] for name in ("sub-001", "sub-002")}
    path.write_text(json.dumps({"tunnel": excluded}))
    with pytest.raises(ValueError, match=r"^Story tunnel has no .*sub-001_task-tunnel, sub-002_task-tunnel"):
        ready(copy, stories=["tunnel"])
    assert ready(copy, stories=["tunnel"], exclude=False).describe()["stories"] == {"tunnel": 2}


def test_a_run_is_excluded_by_its_number(copy):
    path = copy / "code" / "scan_exclude.json"
    path.write_text(json.dumps({"pieman": {"sub-001": ["sub-001_task-pieman_run-2"]}}))
    datamodule = ready(copy, stories=["pieman"], subjects=["001"])
    assert [scan.scan.key for scan in datamodule.stories()[0].scans] == ["sub-001_task-pieman_run-1"]
    path.write_text(json.dumps({"pieman": ["sub-001"]}))
    with pytest.raises(ValueError, match=r"scan_exclude\.json must map each task"):
        ready(copy)


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


def test_default_stories_tell_each_tale_once(root):
    about = ready(root).describe()
    assert list(about["stories"]) == [
        "pieman",
        "tunnel",
        "prettymouth",
        "milkywaysynonyms",
        "slumlord",
        "reach",
    ]
    with (
        pytest.warns(UserWarning, match="pieman, piemanpni tell the same tale"),
        pytest.warns(UserWarning, match="no offset"),
    ):
        ready(root, stories=["pieman", "piemanpni"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stories": ["pyeman"]}, ValueError, "stories has no 'pyeman': the stories are pieman, tunnel"),
        ({"stories": ["milkyway"]}, ValueError, "no 'milkyway': choose of milkywayoriginal, milkywayvodka"),
        ({"stories": ["schema"]}, ValueError, "no 'schema'"),
        ({"stories": ["pieman", "pieman"]}, ValueError, "each once"),
        ({"stories": "pieman"}, TypeError, "must be a list"),
        ({"stories": ["lucy"]}, FileNotFoundError, "Story lucy must have scans of afni-nosmooth in MNI here"),
        ({"subjects": ["sub-200"]}, FileNotFoundError, r"sub-200 is in participants\.tsv but"),
        ({"subjects": ["sub-999"]}, ValueError, "no 'sub-999'"),
        ({"space": "fsaverage5"}, ValueError, "space must be one of 'MNI', 'fsaverage6'"),
        ({"derivative": "afni"}, ValueError, "derivative must be one of"),
        ({"unaligned": "keep"}, ValueError, "unaligned must be one of"),
        (
            {"high_pass": "sometimes"},
            ValueError,
            "must be a cut-off in Hz, None or 'auto', got 'som",
        ),
        ({"derivative": "afni-smooth"}, FileNotFoundError, "No subject has files here"),
    ],
)
def test_options(root, options, error, message):
    with pytest.raises(error, match=message):
        ready(root, **options)


# words and sound


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
    before, after = (correlate(*planted(datamodule, "pieman")).mean() for datamodule in (dirty, clean))
    assert before < 0.3
    assert after > 0.95
    assert ready(root, **{**options, "high_pass": "auto"}, confounds=("trans_x",)).high_pass == 1 / 128
    assert ready(root, stories=["pieman"]).high_pass is None


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


def test_a_scan_that_was_promised_and_is_not_here(copy):
    for path in (copy / "derivatives" / "afni-nosmooth" / "sub-002").rglob("*_task-pieman_*"):
        path.unlink()
    assert ready(copy, subjects=["002"]).describe()["stories"] == {"tunnel": 1, "prettymouth": 1}
    with pytest.raises(
        FileNotFoundError, match=r"sub-002 heard pieman by participants\.tsv, but has no scan"
    ):
        ready(copy, subjects=["002"], stories=["pieman", "tunnel"])
    # a scan that is left out is here: nothing is to be fetched
    with pytest.raises(ValueError, match=r"sub-003 has no scans here but those that .* leaves out"):
        ready(copy, subjects=["003"], stories=["pieman"])


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


def test_content_that_is_not_here(copy):
    path = next((copy / "derivatives" / "afni-nosmooth" / "sub-002").rglob("*pieman*bold.nii.gz"))
    path.write_text("/annex/objects/MD5E-s1--x.nii.gz\n")
    assert ready(copy, stories=["pieman"]).describe()["stories"] == {"pieman": 1}
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        ready(copy, stories=["pieman"], subjects=["sub-002"])
    (copy / "code" / "scan_exclude.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"scan_exclude\.json"):
        ready(copy)


# the official tables


def test_the_clocks_are_those_of_the_data_set():
    """Each row: onset and duration in volumes, the sound file's offset in seconds."""
    stated = {
        "pieman": (10, 281, 0), "tunnel": (2, 1023, 3), "lucy": (1, 361, 3), "prettymouth": (14, 451, 0),
        "milkywayoriginal": (14, 269, 0), "milkywayvodka": (14, 269, 0), "milkywaysynonyms": (14, 269, 0),
        "21styear": (14, 2225, 0), "slumlord": (20, 602, 4.5), "reach": (646, 550, 4.5),
        "notthefallintact": (20, 365, 4.5), "merlin": (22, 591, 4.5), "sherlock": (22, 701, 4.5),
        "shapesphysical": (33, 270, 4.5), "shapessocial": (33, 272, 4.5), "black": (8, 533, 12),
        "forgot": (8, 558, 12), "bronx": (8, 357, 12), "piemanpni": (8, 267, 12),
    }  # fmt: skip
    held = {name: (c.onset, c.duration, c.wav_offset) for name, c in CLOCKS.items() if "scram" not in name}
    assert held == stated


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


@pytest.mark.shared_data
def test_a_table_of_sentences_is_no_alignment(shared_data, tmp_path):
    with pytest.raises(ValueError, match=r"must have the 4 columns.*got 14 columns"):
        story_words(shared_data / "narratives_align" / "21styear.csv", "21styear", 21.0)


@pytest.mark.shared_data
def test_a_real_alignment_and_official_lengths_pass_strict(shared_data, tmp_path):
    """One subject and pieman, as a user has them who fetched no more; the responses answer one word."""
    root = tmp_path / "ds002345"
    align = root / "stimuli" / "gentle" / "pieman" / "align.csv"
    func = root / "derivatives" / "afni-nosmooth" / "sub-001" / "func"
    for folder in (align.parent, func, root / "code", root / "sub-001" / "func"):
        folder.mkdir(parents=True)
    shutil.copy(shared_data / "narratives_align" / "pieman_align.csv", align)
    (root / "participants.tsv").write_text("participant_id\ttask\tcondition\nsub-001\tpieman,lucy\tn/a,n/a\n")
    (root / "code" / "scan_exclude.json").write_text("{}")
    (root / "sub-001" / "func" / "sub-001_task-pieman_bold.json").write_text('{"RepetitionTime": 1.5}')
    onset = float(read_gentle(align).onset[400])
    affine, origin, shape = tree.GRIDS["pieman"]
    affine = affine.copy()
    affine[:3, 3] = origin
    series = hrf(1.5 * torch.arange(300).double() - onset).numpy()
    name = "sub-001_task-pieman_space-MNI152NLin2009cAsym_res-native_desc-clean_bold.nii.gz"
    nib.Nifti1Image(np.broadcast_to(series, (*shape, 300)).astype(np.float32), affine).to_filename(
        func / name
    )
    datamodule = ready(root, modality="language", strict=True, nuisances=["word_rate"])
    responses = datamodule.responses
    assert datamodule.describe()["stories"] == {"pieman": 1}
    assert len(responses.stimulus_ids) == 957
    assert responses.values.shape[1] == 281 - 6
    word = torch.tensor([[float(name.startswith("pieman_00400_"))] for name in responses.stimulus_ids])
    observed = responses.group_mean[:, ~responses.group_mean.isnan().any(dim=0)]
    assert correlate(responses.carry(word), observed).min() > 0.999
    assert correlate(responses.carry(word).roll(1, 0), observed).max() < 0.95
