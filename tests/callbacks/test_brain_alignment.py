"""When Lightning's Trainer calls for an evaluation, and what it does with the result."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from nfas_lightning import align
from nfas_lightning.callbacks import DepthTrajectory
from tests.callbacks.test_first_look import Flat
from tests.callbacks.test_monitor import Broken
from tests.helpers.ordinary import Ordinary, loader, trainer
from tests.helpers.training import (
    QUICK,
    RAW,
    Network,
    Pictures,
    StillPictures,
    assert_same_training,
    brain,
    monitor,
    train,
)


@pytest.mark.parametrize(
    ("schedule", "moments"),
    [
        ({}, {6: "epoch", 12: "epoch"}),
        ({"every_n_epochs": 2, "at_start": True}, {0: "start", 12: "epoch"}),
        ({"every_n_epochs": 0, "every_n_train_steps": 4}, {4: "step", 8: "step", 12: "step"}),
        ({"every_n_epochs": 0, "every_n_train_steps": 5, "at_end": False}, {5: "step", 10: "step"}),
        ({"every_n_epochs": 0}, {12: "end"}),
    ],
)
def test_schedule(schedule, moments):
    callback = monitor(**schedule)
    train(callback)
    table = callback.curves.drop_duplicates("step")
    assert dict(zip(table["step"], table["moment"], strict=True)) == moments


def test_accumulated_batches_count_as_one_step():
    callback = monitor(every_n_epochs=0, every_n_train_steps=1, at_end=False)
    train(callback, accumulate_grad_batches=3)
    assert sorted(callback.curves["step"].unique()) == [1, 2, 3, 4]


def test_checkpoints_can_watch_the_alignment(tmp_path):
    keeper = ModelCheckpoint(tmp_path, monitor="brain/mean_r2", mode="max", save_top_k=1)
    callback = monitor()
    train(callback, keeper)
    best = callback.curves.query("network == 'all ROIs'")["r2"].max()
    assert float(keeper.best_model_score) == pytest.approx(best)


def test_checkpoints_can_call_for_an_evaluation(tmp_path):
    keeper = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1)
    callback = monitor(every_n_epochs=0, at_end=False, on_checkpoint=True)
    assert_same_training(train(keeper), train(callback, keeper))
    assert sorted(callback.curves["step"].unique()) == [4, 8, 12]


def test_sanity_checks_and_dry_runs_log_nothing(tmp_path):
    callback = monitor(run_dir=tmp_path / "run")
    train(callback, fast_dev_run=True)
    assert callback.curves.empty
    assert not (tmp_path / "run").exists()


def test_loggers_get_scalars_and_figures(tmp_path):
    logger = CSVLogger(tmp_path)
    callback = monitor(settings=None, details_every=2)
    train(callback, logger=logger, log_every_n_steps=1)
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    seen = table.dropna(subset="brain/mean_r2")
    assert sorted(seen["step"]) == [6, 12]
    joined = table.groupby("epoch")[["loss", "brain/mean_r2"]].last()  # as docs/monitoring.md reads them
    assert joined.notna().all(axis=None)
    assert joined["brain/mean_r2"].tolist() == seen["brain/mean_r2"].tolist()
    assert {"brain/mean_r", "brain/stable_modulus", "brain/best_baseline_r2", "brain/seconds"} <= set(table)
    assert table["loss"].notna().sum() == 12
    assert len(list(Path(logger.log_dir).glob("figures/brain_curves-*.png"))) == 1


def test_a_resumed_training_continues_its_curve_and_another_one_is_refused(tmp_path):
    def callback():
        return monitor(run_dir=tmp_path / "run", every_n_train_steps=2)

    whole = callback()
    train(
        whole, ModelCheckpoint(tmp_path, save_last=True, every_n_epochs=1, filename="{epoch}", save_top_k=-1)
    )
    # as if the machine had failed in the second epoch: its evaluations are done again
    resumed = callback()
    train(resumed, fit_options={"ckpt_path": tmp_path / "epoch=0.ckpt"})
    assert list(resumed.curves["step"].unique()) == [2, 4, 6, 8, 10, 12]
    saved = pd.read_parquet(tmp_path / "run" / "curves.parquet")
    pd.testing.assert_frame_equal(saved, resumed.curves)
    with pytest.raises(FileExistsError, match="curve of an earlier training"):
        train(callback())


def test_parameters_that_are_split_otherwise_than_by_fsdp_are_refused():
    def zero_3():  # as DeepSpeed marks them; see tests/hooks/test_sharding.py for others
        network = Network()
        network.head.weight.ds_id = 0
        return network

    with pytest.raises(ValueError, match="got DeepSpeed ZeRO-3"):
        train(monitor(), network=zero_3)
    with pytest.raises(ValueError, match="got DeepSpeed ZeRO-3"):
        train(DepthTrajectory(), network=zero_3, validate=True)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_recorder_of_the_stage_sees_nothing_of_an_evaluation(stage):
    depth = DepthTrajectory()
    module = Ordinary()
    getattr(trainer(depth, monitor()), stage)(module, still(), verbose=False)
    alone = DepthTrajectory()
    getattr(trainer(alone), stage)(module, still(), verbose=False)
    for state, expected in zip(depth.trajectory.states, alone.trajectory.states, strict=True):
        torch.testing.assert_close(state, expected)


def still():
    return DataLoader(StillPictures(8), batch_size=4)


def test_an_average_of_the_weights_can_be_watched():
    averaging = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging")
    average = averaging.WeightAveraging(avg_fn=lambda mean, new, count: mean + (new - mean) / (count + 1))
    live, smooth = (monitor(average=a) for a in (False, True))
    train(average, live, smooth)
    assert not np.allclose(live.curves["r"], smooth.curves["r"])
    with pytest.raises(ValueError, match="average=True needs Lightning's WeightAveraging"):
        train(monitor(average=True))


@pytest.mark.parametrize("aligned", [True, False])
def test_a_checkpoint_ranked_by_an_older_evaluation_is_said(tmp_path, aligned):
    keeper = ModelCheckpoint(
        tmp_path, monitor="brain/mean_r2", mode="max", every_n_epochs=2 if aligned else 1,
        save_on_train_epoch_end=True, save_top_k=-1,
    )  # fmt: skip
    callback = monitor(every_n_epochs=2)
    said = "step 18 was ranked by the brain alignment of step 12"
    with warnings.catch_warnings() if aligned else pytest.warns(UserWarning, match=said):
        if aligned:
            warnings.filterwarnings("error", message=".*was ranked by")
        train(callback, keeper, epochs=3 if not aligned else 4)


def test_early_stopping_where_validation_is_more_often_than_an_evaluation():
    callback = monitor()
    stop = EarlyStopping(
        "brain/mean_r2", mode="max", patience=1, min_delta=1.0, check_on_train_epoch_end=True
    )
    _, trainer = train(callback, stop, epochs=5, validate=True, val_check_interval=0.5)
    assert trainer.current_epoch == 2
    assert stop.stopped_epoch == 1


class Twice(pl.LightningModule):
    """Two optimizers, so that a batch takes two steps."""

    def __init__(self):
        super().__init__()
        self.model = Network()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.model(batch["image"]).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        blocks, head = self.model.blocks, self.model.head
        return [torch.optim.SGD(blocks.parameters(), 0.01), torch.optim.SGD(head.parameters(), 0.01)]


def test_a_due_step_inside_a_batch_is_evaluated_after_it():
    callback = monitor(every_n_epochs=0, every_n_train_steps=3, at_end=False)
    trainer = pl.Trainer(
        callbacks=[callback], max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(Twice(), DataLoader(Pictures(), batch_size=8))
    assert trainer.global_step == 12
    assert sorted(callback.curves["step"].unique()) == [4, 6, 10, 12]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_validate_and_test_end_with_an_evaluation(tmp_path, stage):
    module = Ordinary()
    callback = monitor()
    run = trainer(callback, logger=CSVLogger(tmp_path))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    getattr(run, stage)(module, loader(), verbose=False)
    again = align(module, brain(), settings=QUICK, preprocess=RAW, progress=False)
    stable = again.scores.query("feature == 'stable_mode'")
    value = run.callback_metrics[f"{stage}/brain/mean_r"]
    assert float(value) == pytest.approx(stable["r"].mean(), abs=1e-6)
    assert callback.curves.empty  # which is of a training
    assert callback.result is not None
    assert f"{stage}/brain/mean_r2" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    for name, value in module.state_dict().items():
        if name != "net.passes":  # the stage's own
            assert torch.equal(value, before[name])


def test_a_training_s_own_validation_is_none_and_a_test_after_it_is_one():
    callback = monitor()
    module, run = Ordinary(), trainer(callback)
    run.fit(module, loader(), loader())
    assert callback.curves["moment"].unique().tolist() == ["epoch"]
    with torch.no_grad():
        module.net.head.weight.zero_()
        module.net.blocks[0][0].weight.mul_(-1)  # as where another checkpoint is tested
    last = callback.result.scores["r"].to_numpy()
    run.test(module, loader(), verbose=False)
    assert not np.allclose(callback.result.scores["r"].to_numpy(), last)
    assert len(callback.curves["step"].unique()) == 1


def test_a_network_that_can_not_be_shown_the_stimuli_is_refused_before_a_stage():
    with pytest.raises(RuntimeError, match="Flat can't be shown the stimuli"):
        trainer(monitor()).test(Ordinary(net=Flat()), loader(), verbose=False)


def test_a_csv_logger_keeps_keys_that_appear_later(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    with pytest.warns(UserWarning, match="the sensor is unplugged"):
        train(monitor(on_error="warn"), network=Broken, logger=logger)
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert table["brain/failures"].dropna().tolist() == [1, 2]
    assert table["loss"].notna().sum() == 12
