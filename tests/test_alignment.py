"""One call, wherever the network is, and what a pass that does not fit leaves behind."""

import weakref
from types import SimpleNamespace

import pytest
import torch

from nfas_lightning import align
from nfas_lightning.alignment import record_trajectory
from nfas_lightning.models import FrozenModel
from tests.helpers.training import QUICK, Network, brain


def test_a_named_network_runs_on_the_device_that_was_asked_for():
    pytest.importorskip("timm")
    # the meta device computes nothing, so the recorder refuses it: the weights have arrived there
    with pytest.raises(ValueError, match="meta device"):
        align(
            FrozenModel("timm:test_vit", weights="random"),
            brain(),
            settings=QUICK,
            device="meta",
            progress=False,
        )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_finds_what_the_cpu_finds():
    pytest.importorskip("timm")
    datamodule = brain()
    datamodule.setup()
    cpu, cuda = (
        record_trajectory(
            FrozenModel("timm:test_vit", weights="random").to(device), datamodule.stimuli, limit=8
        ).stack()
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(cuda, cpu, rtol=1e-2, atol=1e-2)  # convolutions run in TF32


class Hungry(Network):
    """Runs out of memory above three images, and looks at what is left of the passes that did."""

    def __init__(self):
        super().__init__()
        self.notes = SimpleNamespace(failed=[], held=[])  # a list of its own would be put back

    def forward(self, x):
        self.notes.held += [made() is not None for made in self.notes.failed]
        if len(x) > 3:
            activation = self.blocks(x)
            self.notes.failed += [weakref.ref(x), weakref.ref(activation)]
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_nothing_of_a_pass_that_did_not_fit_is_held_while_the_next_runs(monkeypatch):
    network, datamodule = Hungry(), brain()
    notes = network.notes
    datamodule.setup()
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: notes.held.extend(made() is not None for made in notes.failed)
    )

    def preprocess(batch):
        return batch["image"] + 1  # the inputs of this pass alone

    with pytest.warns(UserWarning, match="A batch of 7 stimuli did not fit into memory: going on with 3"):
        halved = record_trajectory(network, datamodule.stimuli, preprocess=preprocess, batch_size=7)
    assert len(notes.failed) == 2
    assert len(notes.held) > 2
    assert not any(notes.held)
    torch.testing.assert_close(
        halved.stack(),
        record_trajectory(network, datamodule.stimuli, preprocess=preprocess, batch_size=3).stack(),
    )
