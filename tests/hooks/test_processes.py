"""What processes hand each other: uneven shares, none at all, in blocks, and the same error everywhere."""

import pytest
import torch

from nfas_lightning.hooks import LayerInfo, Trajectory, processes
from tests.helpers.processes import run_group

# stimuli of each process: uneven, one per process, none for the first or the last
SHARES = {
    2: [[[5, 1, 0, 7, 2, 8, 9], [3, 4, 6]], [[], [2, 0, 1]], [[], []]],
    3: [[[4], [0, 1, 2, 3, 5, 6, 7], []], [[], [1], [0]]],
}
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def share(ids, rank):
    """Rows that name their stimulus and block; shapes before pooling differ between processes."""
    if not ids:
        return None
    rows = torch.tensor(ids)
    states = tuple(
        (100.0 * depth + rows[:, None] + torch.arange(width) / 64).to(dtype)
        for depth, (width, dtype) in enumerate(zip((3, 1, 40), DTYPES, strict=True))
    )
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (rank, state.shape[1]), state.shape[1], str(state.dtype))
        for i, state in enumerate(states)
    )
    return Trajectory(states, layers, rows)


def work(rank, world):
    processes._BLOCK_BYTES = 400  # several blocks, the last one short
    found = [processes.gather_trajectories(share(shares[rank], rank)) for shares in SHARES[world]]
    with torch.inference_mode():
        found.append(processes.gather_trajectories(share(SHARES[world][0][rank], rank)))
    mine = share([rank], rank)
    other = Trajectory(mine.states[: 3 - (rank == 1)], mine.layers[: 3 - (rank == 1)], mine.stimulus_ids)
    halved = Trajectory(tuple(s.half() if rank else s for s in mine.states), mine.layers, mine.stimulus_ids)
    said = []
    for wrong in (other, halved):
        try:
            processes.gather_trajectories(wrong)
        except ValueError as error:
            said.append(str(error))

    def fail_in_the_last():
        if rank == world - 1:
            raise OSError("disk full")

    try:
        processes.together(fail_in_the_last)
    except (OSError, RuntimeError) as error:
        said.append(processes.reason_of(error))
    return found, said, processes.highest(rank)


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_rank_zero_gets_every_share_and_the_others_nothing(world):
    results = run_group(work, world)
    for case, shares in enumerate([*SHARES[world], SHARES[world][0]]):
        wanted = [one for rank, ids in enumerate(shares) if (one := share(ids, rank)) is not None]
        got = results[0][0][case]
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert one.layers == other.layers
            assert torch.equal(one.stimulus_ids, other.stimulus_ids)
            for state, expected in zip(one.states, other.states, strict=True):
                assert state.dtype == expected.dtype
                assert torch.equal(state, expected)
        assert all(found[case] == [] for found, *_ in results[1:])
    layers, dtypes, reasons = zip(*(said for _, said, _ in results), strict=True)
    assert len(set(layers)) == len(set(dtypes)) == 1
    assert layers[0].startswith("All processes must record the same layers of the same widths")
    assert "one shape and dtype" in dtypes[0]
    assert set(reasons) == {"OSError: disk full"}
    assert [highest for *_, highest in results] == [world - 1] * world


def test_a_single_process_talks_to_itself():
    own = share([2, 0], 0)
    assert processes.gather_trajectories(own) == [own]
    assert processes.gather_trajectories(None) == []
    assert processes.together(lambda: 3) == processes.highest(3) == 3
    with pytest.raises(ZeroDivisionError):
        processes.together(lambda: 1 / 0)
