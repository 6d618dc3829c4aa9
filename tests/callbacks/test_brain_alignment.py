"""The training goes on as if nobody had looked, and what was seen is right."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import FSDPStrategy
from torch.utils.data import DataLoader

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.scoring import ScoringSettings
from tests.helpers.training import (
    QUICK,
    RAW,
    Network,
    Pictures,
    assert_same_training,
    brain,
    classifier,
    images,
    train,
)


def test_a_look_is_what_align_finds_on_the_same_weights():
    callback = BrainAlignment(brain(), settings=ScoringSettings(n_permutations=0), name="net", preprocess=RAW)
    module, _ = train(callback)
    again = align(module.model, brain(), name="net", progress=False, preprocess=RAW)
    pd.testing.assert_frame_equal(callback.result.scores, again.scores)
    last = callback.curves.query("step == step.max() and network == 'all ROIs' and feature == 'stable_mode'")
    assert float(last["r"].iloc[0]) == pytest.approx(
        again.scores.query("feature == 'stable_mode'")["r"].mean()
    )


def test_planted_responses_are_found_and_noise_is_not():
    found, missed = (
        BrainAlignment(brain(signal), settings=QUICK, preprocess=RAW) for signal in (True, False)
    )
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
    callback = BrainAlignment(brain(), settings=QUICK, **schedule, preprocess=RAW)
    train(callback)
    table = callback.curves.drop_duplicates("step")
    assert dict(zip(table["step"], table["moment"], strict=True)) == moments


def test_accumulated_batches_are_looked_at_once():
    callback = BrainAlignment(
        brain(), every_n_epochs=0, every_n_steps=1, at_end=False, settings=QUICK, preprocess=RAW
    )
    train(callback, accumulate_grad_batches=3)
    assert sorted(callback.curves["step"].unique()) == [1, 2, 3, 4]


def test_checkpoints_can_watch_the_alignment(tmp_path):
    keeper = ModelCheckpoint(tmp_path, monitor="brain/mean_r2", mode="max", save_top_k=1)
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW)
    train(callback, keeper)
    best = callback.curves.query("network == 'all ROIs'")["r2"].max()
    assert float(keeper.best_model_score) == pytest.approx(best)


def test_checkpoints_can_call_for_a_look(tmp_path):
    keeper = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1)
    callback = BrainAlignment(
        brain(),
        every_n_epochs=0,
        at_end=False,
        on_checkpoint=True,
        settings=QUICK,
        on_error="raise",
        preprocess=RAW,
    )
    assert_same_training(train(keeper), train(callback, keeper))
    assert sorted(callback.curves["step"].unique()) == [4, 8, 12]


def test_sanity_checks_and_dry_runs_log_nothing(tmp_path):
    callback = BrainAlignment(
        brain(), settings=QUICK, run_dir=tmp_path / "run", on_error="raise", preprocess=RAW
    )
    train(callback, fast_dev_run=True)
    assert callback.curves.empty
    assert not (tmp_path / "run").exists()


def test_loggers_get_scalars_and_figures(tmp_path):
    logger = CSVLogger(tmp_path)
    callback = BrainAlignment(brain(), details_every=2, preprocess=RAW)
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
        return BrainAlignment(
            brain(),
            settings=QUICK,
            run_dir=tmp_path / "run",
            every_n_steps=2,
            on_error="raise",
            preprocess=RAW,
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


class Failing(Network):
    """Fails in evaluation, once it has trained: what it is shown before the first step is several passes."""

    has_trained = False

    def forward(self, x):
        self.has_trained |= self.training
        if self.has_trained and not self.training:
            raise self.failure
        return super().forward(x)


class Broken(Failing):
    failure = RuntimeError("the sensor is unplugged")


def test_a_failed_look_is_reported_once_and_the_training_goes_on():
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW)
    with pytest.warns(UserWarning, match="the sensor is unplugged") as caught:
        module, _ = train(callback, network=Broken)
    assert sum("sensor" in str(w.message) for w in caught) == 1
    assert len(module.seen) == 12
    assert module.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_shares_that_do_not_fit_together_are_a_failed_look(monkeypatch):
    def refuse(own):
        raise ValueError("All processes must record the same layers")

    monkeypatch.setattr("nfas_lightning.callbacks.watch.gather_trajectories", refuse)
    with pytest.warns(UserWarning, match="failed, .* ValueError: All processes must record"):
        module, _ = train(BrainAlignment(brain(), settings=QUICK, preprocess=RAW))
    assert len(module.seen) == 12


def test_a_failed_look_stops_the_training_where_asked():
    callback = BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW)
    network = Broken()
    with pytest.raises(RuntimeError, match="step 6 failed: RuntimeError: the sensor is unplugged"):
        train(callback, network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class Interrupted(Failing):
    failure = KeyboardInterrupt


def test_hooks_are_gone_after_an_interruption():
    network = Interrupted()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(BrainAlignment(brain(), settings=QUICK, preprocess=RAW), network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert network.blocks.training


class Hungry(Network):
    """Runs out of memory above three images."""

    def forward(self, x):
        if not self.training and len(x) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved():
    plain = BrainAlignment(brain(), settings=QUICK, preprocess=RAW)
    train(plain)
    halved = BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW)
    with pytest.warns(UserWarning, match="A batch of 7 stimuli did not fit into memory: going on with 3"):
        train(halved, network=Hungry)
    pd.testing.assert_frame_equal(halved.curves, plain.curves)


class Starving(Failing):
    failure = torch.cuda.OutOfMemoryError("out of memory")


def test_a_stimulus_that_never_fits_is_a_failure():
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW)
    with pytest.warns(UserWarning, match=r"step 6 failed.*OutOfMemoryError: out of memory") as caught:
        module, _ = train(callback, network=Starving)
    halvings = [str(w.message) for w in caught if "did not fit" in str(w.message)]
    assert [text.split()[3] for text in halvings[:2]] == ["7", "3"]
    assert len(module.seen) == 12


def test_a_logger_that_fails_does_not_end_the_training(tmp_path):
    class Offended(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if any(key.startswith("brain/") for key in metrics):
                raise OSError("disk full")
            super().log_metrics(metrics, step)

    with pytest.warns(UserWarning, match="OSError: disk full"):
        module, _ = train(BrainAlignment(brain(), settings=QUICK, preprocess=RAW), logger=Offended(tmp_path))
    assert len(module.seen) == 12
    with pytest.raises(RuntimeError, match="OSError: disk full"):
        train(
            BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW),
            logger=Offended(tmp_path),
        )


def test_stimuli_have_a_preprocessing_of_their_own():
    def negative(batch):
        return 1 - batch["image"]

    callback = BrainAlignment(brain(), settings=QUICK, preprocess=negative, name="net", on_error="raise")
    module, _ = train(callback)
    scores = {
        given: align(
            module.model, brain(), settings=QUICK, preprocess=given, name="net", progress=False
        ).scores
        for given in (negative, RAW)
    }
    pd.testing.assert_frame_equal(callback.result.scores, scores[negative])
    assert not np.allclose(callback.result.scores["r"], scores[RAW]["r"])


def test_sharded_parameters_are_refused():
    trainer = SimpleNamespace(strategy=FSDPStrategy(), callbacks=[])
    with pytest.raises(ValueError, match="can't look inside FSDPStrategy, which shards the parameters"):
        BrainAlignment(brain(), preprocess=RAW).setup(trainer, classifier(Network()), "fit")


def test_compiled_networks_run_uncompiled_and_stay_compiled():
    eager = BrainAlignment(brain(), settings=QUICK, preprocess=RAW)
    train(eager)
    wrapped = BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW)
    train(wrapped, network=lambda: torch.compile(Network(), backend="eager"))
    pd.testing.assert_frame_equal(wrapped.curves, eager.curves)

    def in_place():
        network = Network()
        network.compile(backend="eager")
        return network

    module, _ = train(
        BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW), network=in_place
    )
    assert module.model._compiled_call_impl is not None


def test_a_compiled_part_calls_its_hooks_and_is_not_compiled_again_for_a_look():
    """Each new compilation counts against the limit after which the training itself would run uncompiled."""
    compilations = []

    def backend(graph, inputs):
        compilations.append(len(inputs))
        return graph.forward

    torch.manual_seed(0)
    network = Network().eval()
    expected = align(network, brain(), settings=QUICK, progress=False, preprocess=RAW)
    network.blocks = torch.compile(network.blocks, backend=backend)
    network(images(7))
    before = len(compilations)
    found = align(
        network, brain(), layers="blocks._orig_mod.*", settings=QUICK, progress=False, preprocess=RAW
    )
    assert before > 0
    assert len(compilations) == before
    pd.testing.assert_frame_equal(found.scores, expected.scores)


def test_an_average_of_the_weights_can_be_watched():
    averaging = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging")
    average = averaging.WeightAveraging(avg_fn=lambda mean, new, count: mean + (new - mean) / (count + 1))
    live, smooth = (
        BrainAlignment(brain(), settings=QUICK, average=a, on_error="raise", preprocess=RAW)
        for a in (False, True)
    )
    train(average, live, smooth)
    assert not np.allclose(live.curves["r"], smooth.curves["r"])
    with pytest.raises(ValueError, match="average=True needs Lightning's WeightAveraging"):
        train(BrainAlignment(brain(), settings=QUICK, average=True, on_error="raise", preprocess=RAW))


def silent_brain() -> ArrayDataModule:
    return ArrayDataModule(images(), torch.full((len(images()), 2), torch.nan))


def test_mistakes_show_before_the_first_step():
    with pytest.raises(TypeError, match="a BrainDataModule such as ArrayDataModule; got LightningDataModule"):
        BrainAlignment(pl.LightningDataModule())
    with pytest.raises(ValueError, match="on_error must be one of"):
        BrainAlignment(brain(), on_error="ignore", preprocess=RAW)
    with pytest.raises(ValueError, match="never due"):
        BrainAlignment(brain(), every_n_epochs=0, at_end=False, preprocess=RAW)
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, or 0 for never, got -1"):
        BrainAlignment(brain(), every_n_steps=-1, preprocess=RAW)
    with pytest.raises(ValueError, match=r"blocks\.7"):
        train(BrainAlignment(brain(), layers=["blocks.7"], preprocess=RAW))
    with pytest.raises(
        ValueError,
        match=r"^submodule must be the dotted name of a module inside \w+, got 'modell'\. Did you mean",
    ):
        train(BrainAlignment(brain(), submodule="modell", preprocess=RAW))
    with pytest.raises(ValueError, match=r"got 'qqq'\. It holds .*'model'"):
        train(BrainAlignment(brain(), submodule="qqq", preprocess=RAW))
    with (
        pytest.warns(UserWarning, match="no value at all"),
        pytest.raises(ValueError, match="NaN throughout for 1 of 1 subjects"),
    ):
        train(BrainAlignment(silent_brain(), preprocess=RAW))
    for settings, reason in (
        (ScoringSettings(gap=40, selection="folds"), "leaves no training data beside a test block"),
        (ScoringSettings(n_folds=61), "need at least that many volumes, got 60"),
    ):
        with pytest.raises(ValueError, match=reason):
            train(BrainAlignment(brain(), settings=settings, preprocess=RAW))
    texts = ArrayDataModule([f"text {i}" for i in range(12)], torch.zeros(12, 2))
    with pytest.raises(ValueError, match="Give the model a preprocess"):
        train(BrainAlignment(texts, preprocess=RAW))


@pytest.mark.parametrize("aligned", [True, False])
def test_a_checkpoint_ranked_by_an_older_look_is_said(tmp_path, aligned):
    keeper = ModelCheckpoint(
        tmp_path, monitor="brain/mean_r2", mode="max", every_n_epochs=2 if aligned else 1,
        save_on_train_epoch_end=True, save_top_k=-1,
    )  # fmt: skip
    callback = BrainAlignment(brain(), every_n_epochs=2, settings=QUICK, on_error="raise", preprocess=RAW)
    said = "step 18 was ranked by the brain alignment of step 12"
    with warnings.catch_warnings() if aligned else pytest.warns(UserWarning, match=said):
        if aligned:
            warnings.filterwarnings("error", message=".*was ranked by")
        train(callback, keeper, epochs=3 if not aligned else 4)


def test_early_stopping_where_validation_is_more_often_than_a_look():
    callback = BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW)
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


def test_a_due_step_inside_a_batch_is_looked_at_after_it():
    callback = BrainAlignment(
        brain(),
        every_n_epochs=0,
        every_n_steps=3,
        at_end=False,
        settings=QUICK,
        on_error="raise",
        preprocess=RAW,
    )
    trainer = pl.Trainer(
        callbacks=[callback], max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(Twice(), DataLoader(Pictures(), batch_size=8))
    assert trainer.global_step == 12
    assert sorted(callback.curves["step"].unique()) == [4, 6, 10, 12]
