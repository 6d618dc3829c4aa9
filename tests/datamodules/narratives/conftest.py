"""A small tree of Narratives, and two parcels on its meshes."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

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
    """Two parcels and a medial wall on fsaverage6, one file per hemisphere."""
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
