"""Rows by stimulus id: kept on the metric's device, any integers as ids."""

import numpy as np
import pytest
import torch

from nfas_lightning.metrics import DepthSpectrum, DMDAlignment, RoiAlignment
from tests.helpers.metrics import planted
from tests.helpers.pretended_device import DEVICE, PretendedDevice, pretend, reveal

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")


def test_states_do_not_alias_the_batch_and_go_where_the_metric_goes():
    H, _ = planted()
    metric = DepthSpectrum()
    batch, ids = H.clone(), torch.arange(len(H))
    metric.update(batch, ids)
    batch.zero_()
    ids.fill_(3)
    assert torch.equal(metric.trajectories()[0], H)
    with PretendedDevice():
        moved = metric.to(DEVICE)
        assert {row.device for row in moved.rows} == {DEVICE}
        moved.update(pretend(H[:3]), torch.arange(3))
        assert torch.equal(reveal(moved.trajectories()[0]), H)


@pytest.mark.parametrize("budget", [0, 1000, None])
def test_no_value_depends_on_where_rows_lie(budget):
    H, _ = planted()
    metric, other = DepthSpectrum(), DepthSpectrum(memory_budget=budget)
    expected = metric(H, torch.arange(len(H)))
    for rows in torch.arange(len(H)).split(7):
        other.update(H[rows], rows)
    assert torch.equal(other.compute(), expected)
    for name, value in metric.details.items():
        assert torch.equal(other.details[name], value)


@pytest.mark.parametrize(
    "ids",
    [
        ["0", "1"],
        [True, False],
        [0.0, 1.0],
        [0, "a"],
        None,
        {0, 1},
        np.array([0.0, 1.0]),
        np.array([True, False]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([True, False]),
    ],
    ids=str,
)
def test_ids_that_are_no_integers_are_one_error(ids):
    H, responses = planted()
    for metric, rows in (
        (DMDAlignment(responses), H),
        (DepthSpectrum(), H),
        (RoiAlignment(responses), H.flatten(1)),
    ):
        with pytest.raises(TypeError, match=r"stimulus_id must be an integer tensor \(B,\)"):
            metric.update(rows[:2], ids)
        assert not len(metric.collected()[1])


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor, torch.CharTensor])
def test_ids_may_be_integers_of_any_kind(form):
    H, responses = planted()
    for metric, rows in (
        (DMDAlignment(responses), H),
        (DepthSpectrum(), H),
        (RoiAlignment(responses), H.flatten(1)),
    ):
        ids = torch.arange(60)
        metric.update(rows[30:], form(ids[30:].tolist()))
        metric.update(rows[:30], ids[:30])
        assert torch.equal(metric.collected()[0], rows.flatten(1))
    with pytest.raises(ValueError, match="below the 60 stimuli of 'toy', got 60"):
        DMDAlignment(responses).update(H[:1], [60])
