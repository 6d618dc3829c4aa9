"""The table of packaged models agrees with itself and with its page."""

import re
from pathlib import Path

import pytest

from nfas_lightning.packaged_models import PACKAGED

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.read_text(encoding="utf-8").partition("\n## Packaged models")[2].splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 7
}


def test_every_name_has_a_row():
    assert set(ROWS) == set(PACKAGED)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_row_is_true(name):
    entry, (_, source, license, size, parameters, blocks, check) = PACKAGED[name], ROWS[name]
    assert (source, license) == (entry.source, entry.license)
    assert int(size) == entry.size_mb
    assert parameters == f"{entry.parameters / 1e6:.1f} M"
    assert int(blocks) >= 4  # the trajectory tests count them
    assert ("dequantized" in check) == ("dequantized" in entry.note)


@pytest.mark.parametrize("name", PACKAGED)
def test_an_entry_is_complete(name):
    entry = PACKAGED[name]
    assert entry.name == name
    assert entry.modality in ("vision", "audio", "language")
    assert entry.license
    assert entry.note
    files = [path.rpartition("/")[2] for wheel in entry.wheels for path in wheel.members]
    assert len(files) == len(set(files))  # builders ask for files by these names
    for wheel in entry.wheels:
        assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in (wheel.sha256, *wheel.members.values()))
