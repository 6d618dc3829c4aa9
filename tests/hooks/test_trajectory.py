"""Rows of a trajectory: sorted, each stimulus once, and shown in one line."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.recorder import DepthRecorder


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
