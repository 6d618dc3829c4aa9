"""Fixtures that the whole suite shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from nfas_lightning.results import CaptureCache

# the suite runs in several processes: more threads each would wait for one another
torch.set_num_threads(1)
# a test counts its own forward passes: nothing is taken from earlier runs unless it asks, see `captures`
os.environ["NFAS_CAPTURES_GB"] = "0"


def pytest_collection_finish() -> None:
    """Leave what the imports made out of later collections: each would walk through a million objects."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give them back: libraries complain of objects that are there when Python ends."""
    gc.unfreeze()


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report.html, whose figures take most of a small run; the tables are printed all the same."""
    monkeypatch.setattr("nfas_lightning.runner.run_report.write_report", lambda path, *_, **__: path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """report.html without the figures beside it, which take most of its time."""
    monkeypatch.setattr("nfas_lightning.plotting.page.draw_figures", lambda *_, **__: ())


@pytest.fixture
def captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CaptureCache:
    """An empty cache of captured trajectories, the usual one of this test."""
    monkeypatch.setenv("NFAS_CAPTURES_GB", "1")
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path / "cache"))
    return CaptureCache()


@pytest.fixture
def passes() -> Iterator[list[str]]:
    """Names of the classes of all modules that have run a forward pass."""
    seen: list[str] = []
    handle = register_module_forward_pre_hook(lambda module, _: seen.append(type(module).__name__))
    yield seen
    handle.remove()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data: NFAS_DATA, or shared/data beside the checkout; else the test is skipped."""
    given = os.environ.get("NFAS_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "alice_fmri").is_dir():
        pytest.skip(f"the real data are not here: no alice_fmri/ in {folder} (set NFAS_DATA to their folder)")
    return folder
