"""A training is bit-identical with and without the callbacks and align()."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment, DepthTrajectory
from tests.helpers.training import QUICK, RAW, Network, assert_same_training, brain, monitor, train


def watchers(which):
    """Callbacks that evaluate as often as they can."""
    brain_alignment = monitor(every_n_train_steps=1, at_start=True)
    return {"brain": [brain_alignment], "depth": [DepthTrajectory()]}.get(
        which, [brain_alignment, DepthTrajectory()]
    )


@pytest.mark.parametrize(
    ("which", "options"),
    [
        ("brain", {}),
        ("depth", {}),
        ("both", {}),
        ("both", {"accumulate_grad_batches": 3}),
        ("both", {"precision": "bf16-mixed"}),
        ("both", {"precision": "bf16-true"}),
        ("both", {"workers": 2}),
    ],
    ids=["brain", "depth", "plain", "accumulation", "mixed", "half", "workers"],
)
def test_one_process(tmp_path, which, options):
    callbacks = watchers(which)
    common = {"validate": True, "epochs": 1, **options}
    plain = train(logger=CSVLogger(tmp_path, "plain"), **common)
    watched = train(*callbacks, logger=CSVLogger(tmp_path, "watched"), **common)
    assert_same_training(plain, watched)
    if which != "depth":
        assert len(callbacks[0].curves["step"].unique()) >= 3
    if which != "brain":
        assert len(callbacks[-1].trajectory.stimulus_ids) == 12


def test_the_benchmarks_own_workers_and_setup_draw_nothing():
    datamodule = brain(num_workers=1)
    load = datamodule.load

    def careless():
        torch.rand(3)
        return load()

    datamodule.load = careless
    callback = BrainAlignment(datamodule, settings=QUICK, on_error="raise", preprocess=RAW)
    assert_same_training(train(epochs=1), train(callback, epochs=1))


def test_a_compiled_network_trains_the_same():
    def compiled():
        return torch.compile(Network(), backend="aot_eager")

    callback = monitor(every_n_train_steps=2)
    assert_same_training(train(network=compiled, epochs=1), train(callback, network=compiled, epochs=1))


def step(network, optimizer, images):
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(images).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("inside_autocast", [False, True])
def test_a_loop_of_ones_own(inside_autocast):
    networks = []
    for watched in (False, True):
        torch.manual_seed(0)
        network = Network().train()
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(3):
            if watched:
                with torch.autocast("cpu", torch.bfloat16, enabled=inside_autocast):
                    align(network, brain(), settings=QUICK, progress=False, preprocess=RAW)
                    if inside_autocast:  # weights cast during the evaluation must not be used for a gradient
                        step(network, optimizer, torch.rand(8, 3, 16, 16))
                        continue
            step(network, optimizer, torch.rand(8, 3, 16, 16))
        networks.append(network)
    for (name, a), b in zip(networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True):
        assert torch.equal(a, b), name


TWO_PROCESSES = """
import sys
sys.path.insert(0, {root!r})
from tests.integration.test_training_identity import *

common = dict(strategy="ddp", devices=2, epochs=1, validate=True, workers=1, use_distributed_sampler=True)
plain = train(logger=CSVLogger({said!r}, "plain"), **common)
both = watchers("both")
watched = train(*both, logger=CSVLogger({said!r}, "watched"), **common)
assert_same_training(plain, watched)
rank = watched[1].global_rank
values = watched[1].callback_metrics["brain/mean_r2"]
if rank == 0:
    assert sorted(both[0].curves["step"].unique()) == [0, 1, 2, 3], both[0].curves["step"].unique()
    assert len(both[1].trajectory.stimulus_ids) == 12
    again = align(watched[0].model, brain(), settings=QUICK, progress=False, preprocess=RAW)
    assert abs(again.scores["r2"].mean() - float(values)) < 1e-6
Path({said!r}, f"{{rank}}-{{float(values):.12f}}").touch()
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_share_the_work_and_train_as_if_alone(tmp_path):
    said = tmp_path / "said"
    said.mkdir()
    script = tmp_path / "run.py"
    script.write_text(TWO_PROCESSES.format(root=str(Path(__file__).parents[2]), said=str(said)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = sorted(file.name for file in said.iterdir() if file.is_file())
    assert [name[0] for name in files] == ["0", "1"]
    assert files[0][2:] == files[1][2:]
