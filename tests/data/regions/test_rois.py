from __future__ import annotations

import numpy as np
import pytest
from nilearn import datasets

from nfas_lightning.data.regions.rois import ATLASES, coordinate_atlas, roi_table


@pytest.mark.parametrize(("name", "count"), [("seitzman", 300), ("dosenbach", 160), ("power", 264)])
def test_atlases_are_complete_and_unique(name, count):
    table = coordinate_atlas(name)
    assert len(table) == count
    assert table["roi"].is_unique
    assert table[["x", "y", "z"]].notna().all().all()
    assert ((table["hemisphere"] == "L") == (table["x"] < 0)).all()


def test_seitzman_rows_keep_nilearns_number_network_and_place():
    source = datasets.fetch_coords_seitzman_2018()
    table = coordinate_atlas("seitzman").set_index("roi")
    for k in (0, 150, 299):
        side = "L" if source.rois.iloc[k]["x"] < 0 else "R"
        row = table.loc[f"{source.networks[k]}_{side}_{source.rois.index[k]:03d}"]
        np.testing.assert_allclose(row[["x", "y", "z"]].astype(float), source.rois.iloc[k].astype(float))


def test_auditory_rois_lie_in_or_near_temporal_cortex_in_every_atlas():
    for name in ATLASES:
        table = coordinate_atlas(name)
        auditory = table[table["network"].str.lower() == "auditory"]
        assert len(auditory) >= 5
        assert auditory["x"].abs().min() > 25


def test_bad_tables():
    with pytest.raises(ValueError, match="atlas must be one of"):
        coordinate_atlas("schaefer")
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(1, 3\)"):
        roi_table(["a", "b"], coordinates=np.zeros((1, 3)))
