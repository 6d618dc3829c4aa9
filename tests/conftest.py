"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# the suite runs in several processes: more threads each would wait for one another
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data: NFAS_DATA, or shared/data beside the checkout; else the test is skipped."""
    given = os.environ.get("NFAS_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "alice_fmri").is_dir():
        pytest.skip(f"the real data are not here: no alice_fmri/ in {folder} (set NFAS_DATA to their folder)")
    return folder
