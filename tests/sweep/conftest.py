"""A folder for a sweep of toy networks."""

import os
import sys

import pytest

from tests.helpers.sweeps import TOY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with toy_sweep.py in it, where the test stands."""
    (tmp_path / "toy_sweep.py").write_text(TOY)
    os.utime(tmp_path / "toy_sweep.py", (0, 0))  # older than this process, or its source would not be trusted
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # the scoring of each cell, six times: test_cost has it
    monkeypatch.setattr("nfas_lightning.sweep.cost.seconds_scoring", lambda *given: 1.0)
    yield tmp_path
    sys.modules.pop("toy_sweep", None)
