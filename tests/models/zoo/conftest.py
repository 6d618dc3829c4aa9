"""A folder without a lock file of models."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_lock_file(tmp_path, monkeypatch):
    """Neither a lock file nor a folder of weights is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NFAS_MODELS_LOCK", raising=False)
    monkeypatch.delenv("NFAS_WEIGHTS", raising=False)
