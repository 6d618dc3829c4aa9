"""Small atlases."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nfas_lightning.data.regions.atlas import load_atlas
from tests.helpers.brain_images import LABEL_AFFINE


@pytest.fixture
def label_file(tmp_path):
    """Eight blocks with ids out of order on a 2 mm grid with an empty border."""
    labels = np.zeros((25, 30, 24), dtype=np.int16)
    for i, label in enumerate((30, 4, 11, 2, 57, 8, 21, 16)):
        x, y, z = i & 1, i >> 1 & 1, i >> 2
        labels[3 + 9 * x : 11 + 9 * x, 3 + 11 * y : 13 + 11 * y, 3 + 9 * z : 11 + 9 * z] = label
    affine = np.array([[2.0, 0, 0, -24], [0, 2, 0, -30], [0, 0, 2, -22], [0, 0, 0, 1]])
    path = tmp_path / "blocks.nii.gz"
    nib.Nifti1Image(labels, affine).to_filename(path)
    return path


@pytest.fixture
def atlas(label_file):
    """The blocks of `label_file`, named after their ids."""
    ids = [2, 4, 8, 11, 16, 21, 30, 57]
    return load_atlas(label_file, table=pd.DataFrame({"id": ids, "name": [f"p{i}" for i in ids]}))


@pytest.fixture
def surface_atlas(tmp_path):
    """642 vertices per hemisphere: wall, A, B."""
    paths = []
    for side, seed in (("lh", 1), ("rh", 2)):
        labels = np.random.default_rng(seed).integers(0, 3, 642)
        colors = np.array([[i * 20, 10, 30, 0] for i in range(3)])
        paths.append(tmp_path / f"{side}.toy.annot")
        nib.freesurfer.write_annot(paths[-1], labels, colors, ["Medial_wall", "A", "B"], fill_ctab=True)
    return load_atlas(paths)


@pytest.fixture
def label_image(tmp_path):
    """12 x 10 x 8 labels: 3 on the left, 7 on the right, 12 across the midline, 20 on the left."""
    labels = np.zeros((12, 10, 8), dtype=np.int16)
    x = 22 - 4.0 * np.arange(12)
    labels[x < -10, 1:5] = 3
    labels[x > 10, 1:5] = 7
    labels[:, 6:8] = 12
    labels[x < -14, 8:] = 20
    path = tmp_path / "toy.nii.gz"
    nib.Nifti1Image(labels, LABEL_AFFINE).to_filename(path)
    return path


@pytest.fixture
def annotations(tmp_path):
    """Two hemispheres of 642 vertices: medial wall, A and B; B has no vertex on the right."""
    entries = ["Medial_wall", "A", "B", "unknown", "corpuscallosum"]
    colors = np.array([[i * 20, 10, 30, 0] for i in range(5)])
    paths = []
    for side, modulus in (("lh", 5), ("rh", 2)):
        path = tmp_path / f"{side}.toy.annot"
        nib.freesurfer.write_annot(path, np.arange(642) % modulus, colors, entries, fill_ctab=True)
        paths.append(path)
    return paths
