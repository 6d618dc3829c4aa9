import pytest

from nfas_lightning.datamodules.catalogue.check_rows import (
    Row,
    check_folder,
    known_files_row,
    participants_row,
)
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from tests.helpers.checks import POINTER

QUIET = Inspector(progress=False)


def test_nothing_recognizable(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(b"x")
    assert check_folder(tmp_path, progress=False) == []


@pytest.mark.parametrize(
    ("row", "complete", "n_missing"),
    [
        (Row("x", 3, 3), True, 0),
        (Row("x", 2, 3), False, 1),
        (Row("x", 0), False, 0),
        (Row("x", 0, 3, needed=False), True, 3),
        (Row("x", 1, 3, needed=False), False, 2),
        (Row("x", 2, 3, unreadable=(("a", "cut short"),)), False, 0),
        (Row("x", 1, None, missing=("a", "b")), False, 2),
    ],
)
def test_when_a_row_is_complete(row, complete, n_missing):
    assert (row.complete, row.n_missing) == (complete, n_missing)


def test_missing_and_unreadable_files_are_named(tmp_path):
    paths = [tmp_path / "sub" / name for name in ("a.txt", "b.txt", "c.txt")]
    paths[0].parent.mkdir()
    paths[0].write_text("words")
    paths[1].write_text(POINTER)
    row, states = known_files_row("texts", tmp_path, paths, QUIET)
    assert (row.found, row.expected, row.missing) == (1, 3, ("sub/c.txt",))
    assert row.unreadable[0][0] == "sub/b.txt"
    assert list(states) == paths[:2]


def test_participants_are_counted_and_groups_stand_for_all_of_theirs(tmp_path):
    def count(subjects, groups=None):
        row = participants_row(tmp_path, QUIET, subjects, 4, groups)
        return row.found, row.expected, row.missing

    (tmp_path / "participants.tsv").write_text("participant_id\nsub-EN1\nsub-EN2\nsub-FR1\n")
    groups = {"EN": 2, "FR": 2}
    assert count(None) == (3, 4, ())
    assert count(["EN1", "sub-FR1"]) == (2, 2, ())
    assert count(["EN", "FR9"], groups) == (2, 3, ("sub-FR9",))
    assert count(["EN", "FR"], groups) == (3, 4, ())
    (tmp_path / "participants.tsv").write_text("name\nx\n")
    assert not participants_row(tmp_path, QUIET, None, 4).complete
