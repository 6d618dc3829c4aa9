from __future__ import annotations

import json

import pytest

from nfas_lightning.data.bids import (
    add_sub,
    is_here,
    pick_subjects,
    read_json,
    read_participants,
    scan_tr,
    strip_sub,
)


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_nearest_sidecar_that_states_it_wins(tmp_path):
    assert scan_tr(tmp_path, "sub-1", "a") is None
    put(tmp_path / "task-a_bold.json", {"RepetitionTime": 1.5})
    assert scan_tr(tmp_path, "sub-1", "a", "1") == 1.5
    put(tmp_path / "sub-1" / "func" / "sub-1_task-a_run-1_bold.json", {"RepetitionTime": 1.52})
    assert scan_tr(tmp_path, "sub-1", "a", "1") == 1.52
    assert scan_tr(tmp_path, "sub-1", "a", "2") == 1.5
    put(tmp_path / "sub-1" / "func" / "sub-1_task-a_run-2_bold.json", {"EchoTime": 0.03})
    assert scan_tr(tmp_path, "sub-1", "a", "2") == 1.5


@pytest.mark.parametrize("value", ["1.5", 1500, 0, True, [2.0]])
def test_a_repetition_time_that_is_none(tmp_path, value):
    put(tmp_path / "task-a_bold.json", {"RepetitionTime": value})
    with pytest.raises(ValueError, match="RepetitionTime must be a number of seconds"):
        scan_tr(tmp_path, "sub-1", "a")


def test_sidecars_that_are_no_objects_or_not_here(tmp_path):
    path = tmp_path / "task-a_bold.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="JSON object, got list"):
        read_json(path)
    path.unlink()
    path.symlink_to(tmp_path / "gone" / "annex" / "objects" / "x")
    with pytest.raises(FileNotFoundError, match="git-annex content"):
        scan_tr(tmp_path, "sub-1", "a")
    assert not is_here(path)


def test_participants_with_a_mark(tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\ttask\nsub-1\ta,b\n", encoding="utf-8-sig")
    assert read_participants(tmp_path, ["task"])["task"].tolist() == ["a,b"]
    with pytest.raises(ValueError, match=r"missing \['condition'\]"):
        read_participants(tmp_path, ["condition"])


def test_subjects_with_and_without_what_folders_put_before_them():
    for name in ("EN057", "sub-EN057"):
        assert (add_sub(name), strip_sub(name)) == ("sub-EN057", "EN057")


def test_picking_subjects():
    here, listed = ["sub-2", "sub-1"], ["sub-1", "sub-2", "sub-3"]
    assert pick_subjects(None, here, listed) == ["sub-1", "sub-2"]
    assert pick_subjects(["2", "sub-1"], here, listed) == ["sub-2", "sub-1"]
    with pytest.raises(FileNotFoundError, match=r"sub-3 is in participants\.tsv but"):
        pick_subjects(["3"], here, listed)
    with pytest.raises(ValueError, match=r"no 'sub-4'\. Here are sub-1, sub-2"):
        pick_subjects(["4"], here, listed)
    with pytest.raises(ValueError, match="each once"):
        pick_subjects(["1", "sub-1"], here, listed)
    with pytest.raises(TypeError, match="must be a list"):
        pick_subjects("sub-1", here, listed)
    with pytest.raises(FileNotFoundError, match="No subject has files here"):
        pick_subjects(None, [], listed)
