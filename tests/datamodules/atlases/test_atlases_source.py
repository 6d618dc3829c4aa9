from pathlib import Path
from types import SimpleNamespace

import pytest
from nilearn import datasets

from nfas_lightning.datamodules.atlases.atlases_source import SOURCE
from tests.helpers.checks import check_one, rows_of


@pytest.mark.parametrize("kind", SOURCE.kinds)
def test_the_image_is_the_one_that_load_atlas_asks_for(tmp_path, monkeypatch, kind):
    def fetch(n_rois, yeo_networks, resolution_mm, data_dir, verbose):
        assert (f"schaefer{n_rois}", yeo_networks, resolution_mm) == (kind, 7, 1)
        return SimpleNamespace(maps=f"{data_dir}/{n_rois}.nii.gz")

    monkeypatch.setattr(datasets, "fetch_atlas_schaefer_2018", fetch)
    (image,) = SOURCE.fetch(kind, tmp_path / "atlases")
    assert image.parent == tmp_path / "atlases"
    assert image.parent.is_dir()  # nilearn would look elsewhere for a folder that is not there
    assert SOURCE.fetch(kind, None) == [Path(f"None/{kind.removeprefix('schaefer')}.nii.gz")]


# what `nfas data check` finds


def test_annotations_come_in_pairs(tmp_path):
    (tmp_path / "lh.aparc.annot").write_bytes(b"x")
    row = rows_of(tmp_path)["annotations"]
    assert row.missing == ("rh.aparc.annot",)
    assert "no FreeSurfer annotation" in row.unreadable[0][1]


@pytest.mark.shared_data
def test_the_real_data(shared_data):
    check = check_one(shared_data / "atlases", deep=True)
    assert check.complete
    assert check.benchmark.glance(check.folder) == "10 annotations, 1 label images"
