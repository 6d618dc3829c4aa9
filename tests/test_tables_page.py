"""docs/tables.md names every column of every table, and none that is not there."""

import re
from pathlib import Path

import pytest

from nfas_lightning.results import COLUMNS

PAGE = (Path(__file__).parents[1] / "docs/tables.md").read_text(encoding="utf-8")
MORE = {"models": {"objective"}}  # of models that say so


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_explained_once(table):
    section = PAGE.split(f"\n## {table}: ")[1].split("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(named) == len(set(named))
    assert set(named) == set(COLUMNS[table]) | MORE.get(table, set())
