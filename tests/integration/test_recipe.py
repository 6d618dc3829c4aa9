"""The recipe for fMRIPrep's derivatives in docs/data.md, run as it stands on a small made-up data set."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nfas_lightning.data import clean_series
from nfas_lightning.functional.hrf import hrf

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TR, T, N = 2.0, 40, 6
AFFINE = np.array([[8, 0, 0, -64], [0, 8, 0, -64], [0, 0, 8, -64], [0, 0, 0, 1]])
MOTION = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
ORDER = {1: [4, 0, 2], 2: [5, 3, 1]}


def recipe():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    (block,) = [block for block in blocks if "clean_series(scan.values" in block]
    return block


def write_bids(root):
    """Parcel V1 follows the brightness of the images, under motion; PPA is noise; GONE has no voxels."""
    rng = np.random.default_rng(0)
    (root / "bids" / "stimuli").mkdir(parents=True)
    for i in range(N):
        Image.new("RGB", (8, 8), (40 * i,) * 3).save(root / "bids" / "stimuli" / f"img{i}.png")
    labels = np.zeros((16, 16, 16), dtype=np.int16)
    labels[2:5, 2:5, 2:5], labels[10:13, 2:5, 2:5] = 1, 2
    nib.Nifti1Image(labels, AFFINE).to_filename(root / "atlas_dseg.nii.gz")
    (root / "atlas_dseg.tsv").write_text("index\tname\n0\tBackground\n1\tV1\n2\tPPA\n3\tGONE\n")
    for subject in ("sub-01", "sub-02"):
        func = root / "bids" / subject / "func"
        clean = root / "bids" / "derivatives" / "fmriprep" / subject / "func"
        func.mkdir(parents=True)
        clean.mkdir(parents=True)
        for run, order in ORDER.items():
            name = f"{subject}_task-view_run-{run}"
            onset = 4.0 + 20 * np.arange(3)
            files = [f"stimuli/img{i}.png" for i in order]
            events = pd.DataFrame({"onset": onset, "duration": 0.0, "trial_type": "x", "stim_file": files})
            events.to_csv(func / f"{name}_events.tsv", sep="\t", index=False)
            confounds = pd.DataFrame(rng.normal(size=(T, 6)), columns=MOTION)
            confounds["framewise_displacement"] = [np.nan, *rng.random(T - 1)]
            confounds.to_csv(clean / f"{name}_desc-confounds_timeseries.tsv", sep="\t", na_rep="n/a")
            times = torch.arange(T) * TR
            signal = sum(i * hrf(times - o).numpy() for i, o in zip(order, onset, strict=True))
            volumes = rng.normal(size=(*labels.shape, T)) * 1e-3 + 100
            volumes[labels > 0] += 3 * confounds["trans_x"].to_numpy()
            volumes[labels == 1] += signal
            path = clean / f"{name}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
            nib.Nifti1Image(volumes, AFFINE).to_filename(path)


def test_the_recipe_runs_and_pairs_images_with_what_they_evoke(tmp_path, monkeypatch):
    write_bids(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    with pytest.warns(UserWarning, match="1 of 3 ROIs have no value at all"):
        exec(compile(recipe(), str(PAGE), "exec"), names)
    responses = names["brain"].responses
    assert responses.values.shape == (2, 2 * T, 3)
    assert responses.subjects == ("sub-01", "sub-02")
    assert list(responses.rois["roi"]) == ["V1_L", "PPA_R", "GONE"]
    assert responses.runs.tolist() == [1] * T + [2] * T
    assert responses.values[..., 2].isnan().all()
    # the planted brightness, through the operators of the events, against what was extracted and cleaned
    planted = responses.carry(torch.arange(N)[:, None].double())
    for name, run in (("run-1", slice(0, T)), ("run-2", slice(T, None))):
        table = next(tmp_path.glob(f"bids/derivatives/fmriprep/sub-01/func/*{name}*.tsv"))
        lost = pd.read_csv(table, sep="\t")[MOTION]
        expected = clean_series(planted[run], tr=TR, confounds=lost)[:, 0]
        follows = [np.corrcoef(expected, responses.values[0, run, roi])[0, 1] for roi in (0, 1)]
        assert follows[0] > 0.99
        assert abs(follows[1]) < 0.5
    # subjects who saw another order stop it
    path = tmp_path / "bids" / "sub-02" / "func" / "sub-02_task-view_run-1_events.tsv"
    pd.read_csv(path, sep="\t").assign(onset=[5.0, 24.0, 44.0]).to_csv(path, sep="\t", index=False)
    with pytest.raises(AssertionError, match="the subjects differ"):
        exec(compile(recipe(), str(PAGE), "exec"), {})
