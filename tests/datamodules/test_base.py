from __future__ import annotations

import pickle

import pytest
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.rois import roi_table
from nfas_lightning.data.stimulus_set import StimulusSet
from nfas_lightning.datamodules import BrainDataModule


class Letters(BrainDataModule):
    """Seven letters and one row each; counts how often it is loaded."""

    loaded = 0
    names = tuple("abcdefg")

    def load(self):
        self.loaded += 1
        responses = Responses(
            values=torch.zeros(2, 7, 3),
            rois=roi_table(["x", "y", "z"], network=["b", "a", ""]),
            stimulus_ids=self.names,
            dataset="letters",
            modality="language",
            subjects=("one", "two"),
            runs=torch.zeros(7, dtype=torch.long),
        )
        return StimulusSet(list("abcdefg"), "language"), responses


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_every_loader_gives_all_stimuli_once_and_in_order(loader):
    datamodule = Letters(batch_size=3)
    datamodule.setup("predict")
    batches = list(getattr(datamodule, loader)())
    assert [len(batch["text"]) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch["stimulus_id"] for batch in batches]).tolist() == list(range(7))
    assert [t.text for batch in batches for t in batch["text"]] == list("abcdefg")


def test_setup_twice_loads_once():
    datamodule = Letters()
    datamodule.setup("validate")
    first = datamodule.responses
    datamodule.setup("test")
    datamodule.setup()
    assert datamodule.loaded == 1
    assert datamodule.responses is first


def test_nothing_is_there_before_setup():
    datamodule = Letters()
    for name in ("responses", "stimuli"):
        with pytest.raises(RuntimeError, match=r"Letters has no .* yet: call setup\(\) first"):
            getattr(datamodule, name)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        Letters(batch_size=0)


def test_counts_must_agree():
    datamodule = Letters()
    original = datamodule.load

    def one_short():
        stimuli, responses = original()
        return StimulusSet(stimuli.items[:6], "language"), responses

    datamodule.load = one_short
    with pytest.raises(ValueError, match="got 6 stimuli and 7 names"):
        datamodule.setup()


def test_describe():
    datamodule = Letters()
    datamodule.setup()
    plan = datamodule.describe()
    assert plan["networks"] == ["a", "b"]
    assert (plan["stimuli"], plan["volumes"], plan["rois"], plan["subjects"]) == (7, 7, 3, 2)
    assert plan["tr"] is None
    assert plan["simulated"] is False


def test_picklable_and_read_by_workers():
    datamodule = Letters(batch_size=4, num_workers=1)
    datamodule.setup()
    copy = pickle.loads(pickle.dumps(datamodule))
    ids = torch.cat([batch["stimulus_id"] for batch in copy.predict_dataloader()])
    assert ids.tolist() == list(range(7))
