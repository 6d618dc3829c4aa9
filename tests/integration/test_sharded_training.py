"""Trainings under FSDP1 and FSDP2, on two processes."""

import sys
from pathlib import Path
from unittest import mock

import pytest
import torch.multiprocessing as mp

from tests.helpers.sharded_training import CHECKS, work


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """What went wrong, by check and process; all checks run in one pair of processes."""
    folder = tmp_path_factory.mktemp("sharded")
    # a spawned process takes over this one's path, on which pytest's import mode leaves the repository out
    with mock.patch.object(sys, "path", [str(Path(__file__).parents[2]), *sys.path]):
        context = mp.spawn(work, args=(str(folder),), nprocs=2, join=False)
        for process in context.processes:
            process.join()
    return {file.name: file.read_text() for file in folder.glob("* [01]")}


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_sharded(problems, name):
    assert [problems.get(f"{name} {rank}", "did not run") for rank in (0, 1)] == ["", ""]
