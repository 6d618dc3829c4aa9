"""The training goes on as if nobody had looked, and what was seen is right."""

import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.scoring import ScoringSettings

QUICK = ScoringSettings(n_permutations=0, baselines=False)


class Network(nn.Module):
    """Everything that a careless look would disturb: dropout, batch statistics, a count of passes."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)),
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)),
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))


class Classifier(pl.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.model = network
        self.losses = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        # noise from the global generator: a look that drew from it would show in every later loss
        loss = nn.functional.cross_entropy(self.model(images + 0.1 * torch.randn_like(images)), labels)
        self.losses.append((float(loss.detach()), random.random(), np.random.rand()))  # noqa: NPY002
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def images(n=48, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def brain(signal=True, **options):
    """Responses that follow the images' colours, or nothing."""
    colours = torch.rand(60, 3, 1, 1, generator=torch.Generator().manual_seed(4))
    x = 0.7 * colours + 0.3 * images(60, seed=1)
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    y = x.mean((2, 3)) + 0.02 * noise if signal else noise
    return ArrayDataModule(x, y, rois=["V1", "V4", "LOC"], batch_size=7, **options)


def train(*callbacks, network=Network, epochs=2, fit_options=None, **options):
    pl.seed_everything(0)
    module = Classifier(network())  # after the seed
    labels = torch.randint(0, 4, (48,), generator=torch.Generator().manual_seed(3))
    data = DataLoader(TensorDataset(images(), labels), batch_size=8, shuffle=True)
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **(defaults | options))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.fit(module, data, **(fit_options or {}))
    return module, trainer


def assert_same_training(first, second):
    (a, trainer_a), (b, trainer_b) = first, second
    assert a.losses == b.losses
    assert len(a.losses) > 0
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
    state_a, state_b = (t.optimizers[0].state_dict()["state"] for t in (trainer_a, trainer_b))
    for key in state_a:
        for name, value in state_a[key].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state_b[key][name]))


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {"precision": "bf16-true"}],
    ids=["plain", "accumulation", "mixed", "half"],
)
def test_not_a_bit_of_the_training_changes(options):
    callback = BrainAlignment(
        brain(num_workers=0), every_n_steps=1, at_start=True, settings=QUICK, on_error="raise"
    )
    assert_same_training(train(**options), train(callback, **options))
    assert len(callback.curves["step"].unique()) >= 5


def test_worker_processes_of_the_benchmark_do_not_change_the_training_either():
    callback = BrainAlignment(brain(num_workers=1), settings=QUICK, on_error="raise")
    assert_same_training(train(epochs=1), train(callback, epochs=1))


def test_a_look_is_what_align_finds_on_the_same_weights():
    callback = BrainAlignment(brain(), settings=ScoringSettings(n_permutations=0), name="net")
    module, _ = train(callback)
    again = align(module.model, brain(), name="net", progress=False)
    pd.testing.assert_frame_equal(callback.result.scores, again.scores)
    last = callback.curves.query("step == step.max() and network == 'all ROIs' and feature == 'stable_mode'")
    assert float(last["r"].iloc[0]) == pytest.approx(
        again.scores.query("feature == 'stable_mode'")["r"].mean()
    )


def test_planted_responses_are_found_and_noise_is_not():
    found, missed = (BrainAlignment(brain(signal), settings=QUICK) for signal in (True, False))
    train(found, missed)
    signal, noise = (c.curves.query("network == 'all ROIs'")["r"].iloc[-1] for c in (found, missed))
    assert signal > 0.5
    assert abs(noise) < 0.25


@pytest.mark.parametrize(
    ("schedule", "moments"),
    [
        ({}, {6: "epoch", 12: "epoch"}),
        ({"every_n_epochs": 2, "at_start": True}, {0: "start", 12: "epoch"}),
        ({"every_n_epochs": 0, "every_n_steps": 4}, {4: "step", 8: "step", 12: "step"}),
        ({"every_n_epochs": 0, "every_n_steps": 5, "at_end": False}, {5: "step", 10: "step"}),
        ({"every_n_epochs": 0}, {12: "end"}),
    ],
)
def test_schedule(schedule, moments):
    callback = BrainAlignment(brain(), settings=QUICK, **schedule)
    train(callback)
    table = callback.curves.drop_duplicates("step")
    assert dict(zip(table["step"], table["moment"], strict=True)) == moments


def test_accumulated_batches_are_looked_at_once():
    callback = BrainAlignment(brain(), every_n_epochs=0, every_n_steps=1, at_end=False, settings=QUICK)
    train(callback, accumulate_grad_batches=3)
    assert sorted(callback.curves["step"].unique()) == [1, 2, 3, 4]


def test_checkpoints_can_watch_the_alignment(tmp_path):
    keeper = ModelCheckpoint(tmp_path, monitor="brain/mean_r2", mode="max", save_top_k=1)
    callback = BrainAlignment(brain(), settings=QUICK)
    train(callback, keeper)
    best = callback.curves.query("network == 'all ROIs'")["r2"].max()
    assert float(keeper.best_model_score) == pytest.approx(best)


def test_checkpoints_can_call_for_a_look(tmp_path):
    keeper = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1)
    callback = BrainAlignment(
        brain(), every_n_epochs=0, at_end=False, on_checkpoint=True, settings=QUICK, on_error="raise"
    )
    assert_same_training(train(keeper), train(callback, keeper))
    assert sorted(callback.curves["step"].unique()) == [4, 8, 12]


def test_sanity_checks_and_dry_runs_log_nothing(tmp_path):
    callback = BrainAlignment(brain(), settings=QUICK, run_dir=tmp_path / "run", on_error="raise")
    train(callback, fast_dev_run=True)
    assert callback.curves.empty
    assert not (tmp_path / "run").exists()


def test_loggers_get_scalars_and_figures(tmp_path):
    logger = CSVLogger(tmp_path)
    callback = BrainAlignment(brain(), details_every=2)
    train(callback, logger=logger, log_every_n_steps=1)
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    seen = table.dropna(subset="brain/mean_r2")
    assert sorted(seen["step"]) == [6, 12]
    assert {"brain/mean_r", "brain/stable_modulus", "brain/best_baseline_r2", "brain/seconds"} <= set(table)
    assert table["loss"].notna().sum() == 12
    assert len(list(Path(logger.log_dir).glob("figures/brain_curves-*.png"))) == 1


def test_a_resumed_training_continues_its_curve_and_another_one_is_refused(tmp_path):
    def callback():
        return BrainAlignment(
            brain(), settings=QUICK, run_dir=tmp_path / "run", every_n_steps=2, on_error="raise"
        )

    whole = callback()
    train(
        whole, ModelCheckpoint(tmp_path, save_last=True, every_n_epochs=1, filename="{epoch}", save_top_k=-1)
    )
    # as if the machine had failed in the second epoch: its looks are done again
    resumed = callback()
    train(resumed, fit_options={"ckpt_path": tmp_path / "epoch=0.ckpt"})
    assert list(resumed.curves["step"].unique()) == [2, 4, 6, 8, 10, 12]
    saved = pd.read_parquet(tmp_path / "run" / "curves.parquet")
    pd.testing.assert_frame_equal(saved, resumed.curves)
    with pytest.raises(FileExistsError, match="curve of an earlier training"):
        train(callback())


class Broken(Network):
    def forward(self, x):
        if not self.training:
            raise RuntimeError("the sensor is unplugged")
        return super().forward(x)


def test_a_failed_look_is_reported_once_and_the_training_goes_on():
    callback = BrainAlignment(brain(), settings=QUICK)
    with pytest.warns(UserWarning, match="the sensor is unplugged") as caught:
        module, _ = train(callback, network=Broken)
    assert sum("sensor" in str(w.message) for w in caught) == 1
    assert len(module.losses) == 12
    assert module.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_failed_look_stops_the_training_where_asked():
    callback = BrainAlignment(brain(), settings=QUICK, on_error="raise")
    network = Broken()
    with pytest.raises(RuntimeError, match="step 6 failed: RuntimeError: the sensor is unplugged"):
        train(callback, network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class Interrupted(Network):
    def forward(self, x):
        if not self.training:
            raise KeyboardInterrupt
        return super().forward(x)


def test_hooks_are_gone_after_an_interruption():
    network = Interrupted()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(BrainAlignment(brain(), settings=QUICK), network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert network.blocks.training


class Hungry(Network):
    """Runs out of memory above three images."""

    def forward(self, x):
        if not self.training and len(x) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved():
    plain = BrainAlignment(brain(), settings=QUICK)
    train(plain)
    halved = BrainAlignment(brain(), settings=QUICK, on_error="raise")
    with pytest.warns(UserWarning, match="A batch of 7 stimuli did not fit into memory: going on with 3"):
        train(halved, network=Hungry)
    pd.testing.assert_frame_equal(halved.curves, plain.curves)


def test_compiled_networks_run_uncompiled_and_stay_compiled():
    eager = BrainAlignment(brain(), settings=QUICK)
    train(eager)
    wrapped = BrainAlignment(brain(), settings=QUICK, on_error="raise")
    train(wrapped, network=lambda: torch.compile(Network(), backend="eager"))
    pd.testing.assert_frame_equal(wrapped.curves, eager.curves)

    def in_place():
        network = Network()
        network.compile(backend="eager")
        return network

    module, _ = train(BrainAlignment(brain(), settings=QUICK, on_error="raise"), network=in_place)
    assert module.model._compiled_call_impl is not None


def test_an_average_of_the_weights_can_be_watched():
    averaging = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging")
    average = averaging.WeightAveraging(avg_fn=lambda mean, new, count: mean + (new - mean) / (count + 1))
    live, smooth = (
        BrainAlignment(brain(), settings=QUICK, average=a, on_error="raise") for a in (False, True)
    )
    train(average, live, smooth)
    assert not np.allclose(live.curves["r"], smooth.curves["r"])
    with pytest.raises(ValueError, match="average=True needs Lightning's WeightAveraging"):
        train(BrainAlignment(brain(), settings=QUICK, average=True, on_error="raise"))


def test_mistakes_show_before_the_first_step():
    with pytest.raises(TypeError, match="a BrainDataModule such as ArrayDataModule; got LightningDataModule"):
        BrainAlignment(pl.LightningDataModule())
    with pytest.raises(ValueError, match="on_error must be one of"):
        BrainAlignment(brain(), on_error="ignore")
    with pytest.raises(ValueError, match="never due"):
        BrainAlignment(brain(), every_n_epochs=0, at_end=False)
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, or 0 for never, got -1"):
        BrainAlignment(brain(), every_n_steps=-1)
    with pytest.raises(ValueError, match=r"blocks\.7"):
        train(BrainAlignment(brain(), layers=["blocks.7"]))
    with pytest.raises(ValueError, match="modell"):
        train(BrainAlignment(brain(), submodule="modell"))


TWO_PROCESSES = """
import sys
sys.path.insert(0, {root!r})
from tests.callbacks.test_brain_alignment import *

callback = BrainAlignment(brain(), every_n_steps=2, settings=QUICK, on_error="raise")
watched = train(callback, strategy="ddp", devices=2, num_nodes=1)
rank = watched[1].global_rank
plain = train(strategy="ddp", devices=2, num_nodes=1)
assert_same_training(plain, watched)
values = watched[1].callback_metrics["brain/mean_r2"]
if rank == 0:
    assert sorted(callback.curves["step"].unique()) == [2, 3, 4, 6], callback.curves["step"].unique()
    again = align(watched[0].model, brain(), settings=QUICK, progress=False)
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
    files = sorted(file.name for file in said.iterdir())
    assert [name[0] for name in files] == ["0", "1"]
    assert files[0][2:] == files[1][2:]
