"""Trainings under FSDP1 and FSDP2, on two processes."""

import pytest

from tests.helpers.processes import run_group
from tests.helpers.sharded_training import CHECKS, work


@pytest.fixture(scope="module")
def problems():
    """What went wrong, by process and check; all checks run in one pair of processes."""
    return run_group(work, 2)


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_sharded(problems, name):
    assert [of_process[name] for of_process in problems] == ["", ""]
