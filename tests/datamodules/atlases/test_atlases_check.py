import pytest

from tests.helpers.checks import check_one, rows_of


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
