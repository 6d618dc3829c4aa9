"""Rows of a trajectory: sorted, each stimulus once, and shown in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, concatenate, joined_pooling, sort_stimuli


def test_ids_sort_and_deduplicate(encoder):
    x = torch.randn(6, 3, 6)
    with DepthRecorder(encoder, dtype=torch.float64, device="cpu") as rec:
        for rows in ([4, 1], [3, 0], [5, 2], [4, 0]):  # the last batch is a sampler's padding
            encoder(x[rows])
            rec.collect(torch.tensor(rows) * 10)
        assert rec.n_collected == 8
        recorded = rec.trajectory()
        encoder(x)
        wanted = torch.stack(rec.states, dim=1)
    assert recorded.stimulus_ids.tolist() == [0, 10, 20, 30, 40, 50]
    assert recorded.stack().dtype == torch.float64
    torch.testing.assert_close(recorded.stack(), wanted, rtol=1e-4, atol=1e-5)
    assert recorded.layer_names == tuple(f"blocks.{i}" for i in range(4))


def test_one_id_with_two_states_is_refused(encoder):
    with DepthRecorder(encoder) as rec:
        for _ in range(2):
            encoder(torch.randn(2, 3, 6))
            rec.collect([7, 8])
        with pytest.raises(ValueError, match="stimulus_id 7 came twice with different states"):
            rec.trajectory()


def test_a_trajectory_shows_itself_in_a_line(encoder):
    with DepthRecorder(encoder) as rec:
        encoder(torch.randn(2, 3, 6))
        rec.collect([0, 1])
    assert repr(rec.trajectory()) == "Trajectory(2 stimuli x 4 depths of width 6, blocks.0 ... blocks.3)"
    ragged = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)).requires_grad_(False)
    with DepthRecorder(ragged) as rec:
        ragged(torch.randn(2, 3))
        rec.collect([0, 1])
    assert repr(rec.trajectory()) == "Trajectory(2 stimuli x 3 depths of widths 2 to 5, 0 ... 2)"


def test_rows_are_sorted_as_numpy_sorts_them_and_twins_may_differ_by_rounding():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (80,), generator=generator)
    own = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    rows = own[ids] * (1 + 1e-3 * torch.rand(80, 1, generator=generator))
    info = LayerInfo("a", 0, "Linear", (4,), 4, "torch.float64")
    track = sort_stimuli([rows], [info], ids)
    distinct, first = np.unique(ids.numpy(), return_index=True)
    assert track.stimulus_ids.tolist() == distinct.tolist()
    assert torch.equal(track.states[0], rows[first])  # the first of each, as it was seen
    rows[ids == 7] *= torch.linspace(1, 2, int((ids == 7).sum()))[:, None]
    with pytest.raises(ValueError, match="stimulus_id 7 came twice with different states of 'a'"):
        sort_stimuli([rows], [info], ids)


def test_parts_of_one_model_are_joined_and_those_of_another_refused():
    info = LayerInfo("a", 0, "Linear", (2,), 2, "torch.float32", "mean")
    one, other = (
        Trajectory((torch.tensor(rows),), (info,), torch.tensor(ids))
        for rows, ids in (([[3.0, 3.0], [5.0, 5.0]], [3, 5]), ([[1.0, 1.0], [3.0, 3.0]], [1, 3]))
    )
    joined = concatenate([one, other])
    assert joined.stimulus_ids.tolist() == [1, 3, 5]
    assert joined.states[0][:, 0].tolist() == [1, 3, 5]
    wide = Trajectory((torch.zeros(1, 3),), (replace(info, width=3),), torch.tensor([9]))
    with pytest.raises(ValueError, match="Trajectories of different layers can't be joined"):
        concatenate([one, wide])
    with pytest.raises(ValueError, match="at least one trajectory to join"):
        concatenate([])


def test_the_first_token_is_decided_by_the_part_that_tells():
    assert joined_pooling({"a": {"mean", "mean:rest"}}) == {"a": "mean:rest"}
    with pytest.raises(ValueError, match=r"pooled in different ways at 'a': \['mean:all', 'mean:rest'\]"):
        joined_pooling({"a": {"mean:all", "mean:rest"}})
