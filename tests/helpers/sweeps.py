"""A sweep of toy networks on a toy benchmark."""

import json
from pathlib import Path

import pandas as pd

from nfas_lightning.results import RunResults
from nfas_lightning.sweep import conduct, read_sweep

TOY = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.responses import Responses
import pandas as pd

class Net(nn.Module):
    def __init__(self, seed: int = 0, does: str = "run", seconds: float = 0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.Sequential(*(nn.Linear(48 if i == 0 else 6, 6) for i in range(3)))
        self.does, self.seconds = does, seconds
    def forward(self, x):
        time.sleep(self.seconds)
        if len(x) > 4:  # more than a probe
            with open("calls.txt", "a") as log:
                log.write(f"{self.does}\\n")
            if self.does == "raise":
                raise RuntimeError("this network is broken")
            if self.does == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return self.blocks(x.flatten(1))

class Brain(BrainDataModule):
    def __init__(self, n: int = 30, name: str = "toy", missing: bool = False, slow: float = 0.0):
        super().__init__(batch_size=10)
        self.save_hyperparameters()
        self.n, self.name, self.missing = n, name, missing
    def prepare_data(self):
        if self.missing:
            raise FileNotFoundError("toy data are not here")
    def load(self):
        images = torch.rand(self.n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        noise = torch.randn(self.n, 4, generator=torch.Generator().manual_seed(1))
        values = images.flatten(1)[:, :4] + 0.1 * noise
        responses = Responses(
            values=values[None], rois=pd.DataFrame({"roi": ["V1", "V2", "V3", "IT"]}),
            stimulus_ids=tuple(map(str, range(self.n))), dataset=self.name, modality="vision",
            subjects=("s1",), runs=torch.zeros(self.n, dtype=torch.long),
        )
        return StimulusSet(images, "vision"), responses
"""

HEAD = """
run_dir: {out}
benchmarks:
  toy:
    modality: vision
    data: {{class_path: toy_sweep.Brain, init_args: {{missing: {missing}}}}}
settings: {{n_permutations: 9}}
random_twins: {twins}
cluster: {cluster}
slots: 1
models:
"""


def write(path, *nets, out="runs", missing=False, twins=False, cluster="inline"):
    """A sweep of toy networks: (file stem, init_args) each, as config files of models."""
    for name, args in nets:
        file = path / "nets" / "vision" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        model = {"class_path": "toy_sweep.Net", "init_args": args}
        layers = ["blocks.0", "blocks.1", "blocks.2"]
        frozen = {
            "class_path": "nfas_lightning.models.FrozenModel",
            "init_args": {"model": model, "layers": layers},
        }
        file.write_text(json.dumps({"model": frozen}))
    text = HEAD.format(out=out, missing=str(missing).lower(), twins=str(twins).lower(), cluster=cluster)
    source = path / f"{Path(out).name}.yaml"
    source.write_text(text + "".join(f"  - nets/vision/{name}.yaml\n" for name, _ in nets))
    return source


def run(source, **changes):
    return conduct(read_sweep(source, changes=changes), source)


def estimate(source):
    """Estimate in this process, so that no other has to be started for it."""
    conduct(read_sweep(source, changes={"cluster": "inline"}), source, only_estimate=True)


def calls(path):
    log = path / "calls.txt"
    return len(log.read_text().splitlines()) if log.exists() else 0


def tables(path):
    """What a run found, without what the clock says."""
    results = RunResults.load(path)
    models = results.models.drop(columns=["seconds_capture", "seconds_scoring"])
    return [results.scores, results.spectra, results.depth, models, results.rois]


def assert_equal(first, second):
    for one, other in zip(tables(first), tables(second), strict=True):
        pd.testing.assert_frame_equal(one, other)
