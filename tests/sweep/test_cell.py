"""The notes of a model on a benchmark."""

import pytest

from nfas_lightning.sweep import read_sweep
from tests.helpers.sweeps import write


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"done"', b"null", b'{"state": 3}', b"\xff\xfe", b'{"memory_mb": 1}']
)
def test_a_damaged_note_of_a_cell_is_none(folder, content):
    (cell,) = read_sweep(write(folder, ("one", {}))).cells
    cell.say("done")
    cell.keep_estimate({"error": "no such model"})
    assert (cell.status()["state"], cell.estimate()) == ("done", {"error": "no such model"})
    for name in ("status.json", "estimate.json"):
        (cell.folder / name).write_bytes(content)
    assert cell.status() == {"state": "waiting"}
    assert cell.estimate() == {}
