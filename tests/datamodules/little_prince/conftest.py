"""A small tree of The Little Prince."""

from __future__ import annotations

import shutil

import pytest

from tests.helpers import little_prince_tree as tree


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lpp")
    tree.write_little_prince(folder)
    return folder


@pytest.fixture
def copy(root, tmp_path):
    """A tree to spoil."""
    shutil.copytree(root / "ds003643", tmp_path / "ds003643", symlinks=True)
    return tmp_path / "ds003643"
