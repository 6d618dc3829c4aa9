"""Rows by stimulus id: kept on the host, any integers as ids."""

import numpy as np
import pytest
import torch

from nfas_lightning.metrics import DepthSpectrum, DMDAlignment, RoiAlignment
from tests.helpers.metrics import planted

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")


def test_states_do_not_alias_the_batch_and_stay_on_the_host():
    H, _ = planted()
    metric = DepthSpectrum()
    batch, ids = H.clone(), torch.arange(len(H))
    metric.update(batch, ids)
    batch.zero_()
    ids.fill_(3)
    assert torch.equal(metric.trajectories()[0], H)
    moved = metric.to("meta")  # any other device: what moved there would be lost
    assert torch.equal(moved.trajectories()[0], H)
    assert moved.device.type == "meta"


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
