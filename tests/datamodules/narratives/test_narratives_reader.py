"""Which stories of Narratives are read, and who heard them."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.word_times import read_gentle
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.hrf import hrf
from tests.helpers import narratives_tree as tree
from tests.helpers.narratives_tree import ready


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


@pytest.mark.parametrize("onset", ["2.0", "0.2"])
def test_events_that_disagree_are_said(copy, onset):
    path = copy / "sub-001" / "func" / "sub-001_task-pieman_run-1_events.tsv"
    path.write_text(f"onset\tduration\ttrial_type\tstim_file\n{onset}\t3\tstory\tpieman_audio.wav\n")
    with pytest.warns(UserWarning, match=rf"lets the sound begin at {float(onset):g} s, not at 0 s"):
        ready(copy, stories=["pieman"])


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


def test_content_that_is_not_here(copy):
    path = next((copy / "derivatives" / "afni-nosmooth" / "sub-002").rglob("*pieman*bold.nii.gz"))
    path.write_text("/annex/objects/MD5E-s1--x.nii.gz\n")
    assert ready(copy, stories=["pieman"]).describe()["stories"] == {"pieman": 1}
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        ready(copy, stories=["pieman"], subjects=["sub-002"])
    (copy / "code" / "scan_exclude.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"scan_exclude\.json"):
        ready(copy)


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
