"""One call, wherever the network is, and what a pass that does not fit leaves behind."""

import weakref
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from nfas_lightning import align
from nfas_lightning.alignment import record_trajectory
from nfas_lightning.models import FrozenModel, RawStimuli
from nfas_lightning.runner import score_models
from tests.helpers import suites
from tests.helpers.networks import Net, seeded
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


def test_other_settings_and_responses_are_scored_without_a_pass(captures, passes):
    def aligned(**options):
        model = FrozenModel(seeded(Network), layers="blocks.*")
        return align(model, options.pop("brain", brain()), progress=False, **{"settings": QUICK, **options})

    first = aligned()
    passes.clear()
    fewer = brain()
    fewer.setup()
    fewer._responses = replace(fewer.responses, values=fewer.responses.values.flip(1))
    changed = [{"settings": replace(QUICK, operator="pooled")}, {"brain": fewer}]
    found = [aligned(**options).scores for options in changed]
    assert not passes
    for options, scores in zip(changed, found, strict=True):
        assert not scores["r"].equals(first.scores["r"])
        pd.testing.assert_frame_equal(scores, aligned(**options, cache=False).scores)
        assert passes
        passes.clear()
    network = seeded(Network)  # in training mode, as a fresh module is: its weights are about to change
    for _ in range(2):
        align(network, brain(), settings=QUICK, preprocess=RawStimuli(), progress=False)
        assert passes
        passes.clear()
    assert len(captures.files()) == 1
    align(network.eval(), brain(), settings=QUICK, preprocess=RawStimuli(), progress=False)
    with torch.no_grad():
        network.blocks[0][0].weight.mul_(2)
    passes.clear()
    align(network, brain(), settings=QUICK, preprocess=RawStimuli(), progress=False)
    assert passes


def test_states_are_shared_between_align_and_a_suite(captures, passes, tmp_path):
    spec = {"model": seeded(Net), "layers": "blocks.*"}
    options = {"settings": QUICK, "random_twins": False, "report": False, "enable_progress_bar": False}
    run = score_models(spec, suites.brain(), tmp_path, **options)
    passes.clear()
    result = align(FrozenModel(**spec), suites.brain(), settings=QUICK, progress=False)
    assert not passes
    pd.testing.assert_frame_equal(result.scores, run.scores)


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
