"""States within a budget: the same values wherever they lie."""

import pytest
import torch

from nfas_lightning.hooks.spill import Spill
from tests.helpers.pretended_device import DEVICE, PretendedDevice, pretend, reveal

PARTS = [torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows)) for rows in (3, 1, 4, 2)]
SIZE = 10 * 5 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("budget", "host_budget"), [(0, 0), (80, 0), (80, 60), (0, None), (SIZE, 0), (None, None)]
)
def test_nothing_depends_on_where_it_lies(budget, host_budget, dtype):
    parts = [part.to(dtype) for part in PARTS]
    with PretendedDevice():
        spill = Spill(budget, host_budget=host_budget)
        kept = [spill.keep(pretend(part)) for part in parts]
        n_here = sum(part.device == DEVICE for part in kept)
        assert n_here == {0: 0, 80: 80 // (20 * parts[0].element_size())}.get(budget, 4) or budget == 80
        whole = spill.join(kept, DEVICE)
    assert all(torch.equal(reveal(one), other) for one, other in zip(kept, parts, strict=True))
    assert torch.equal(reveal(whole), torch.cat(parts))


def test_parts_that_are_joined_make_room_for_the_whole():
    with PretendedDevice():
        spill = Spill(SIZE, host_budget=0)
        kept = [spill.keep(pretend(part)) for part in PARTS]
        assert {part.device for part in kept} == {DEVICE}
        assert spill.join(kept, DEVICE).device == DEVICE
        assert spill.keep(pretend(PARTS[0])).device == torch.device("cpu")  # now it is full
        spill.clear()
        assert spill.keep(pretend(PARTS[0])).device == DEVICE


def test_on_disk_nothing_is_left_behind(tmp_path):
    spill = Spill(0, host_budget=0, folder=tmp_path)
    kept = [spill.keep(part) for part in PARTS]
    assert kept[0] is not PARTS[0]
    assert torch.equal(spill.join(kept, torch.device("cpu")), torch.cat(PARTS))
    assert not list(tmp_path.iterdir())
    assert spill.keep(torch.empty(0, 4)).shape == (0, 4)


def test_a_negative_budget_is_refused():
    with pytest.raises(ValueError, match="memory_budget must be at least 0 bytes, got -1"):
        Spill(-1)
