"""DepthTrajectory: what a Trainer records, in one process and in two, and that it lets go."""

import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.functional import StateSpace, dmd
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.hooks.shards import read_shards
from nfas_lightning.metrics import DepthSpectrum
from nfas_lightning.models import FrozenModel, ModelInputs


class Images(Dataset):
    def __init__(self, n=7):
        self.n = n
        self.image = torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return {"stimulus_id": 10 * i, "image": self.image[i]}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def loader(n=7, **options):
    return DataLoader(Images(n), batch_size=2, **options)


QUIET = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False,
         "enable_model_summary": False, "accelerator": "cpu"}  # fmt: skip


def trainer(callback, **options):
    return pl.Trainer(callbacks=[callback], **{**QUIET, **options})


def expected(net, n=7):
    with DepthRecorder(net) as rec, torch.no_grad():
        net(Images(n).image)
        return rec.states


def n_hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def check(trajectory, net, n=7):
    assert trajectory.stimulus_ids.tolist() == [10 * i for i in range(n)]
    for state, wanted in zip(trajectory.states, expected(net, n), strict=True):
        torch.testing.assert_close(state, wanted)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_stage_records_every_stimulus_once_and_detaches(stage, shuffle):
    callback, net = DepthTrajectory(), network()
    options = {"return_predictions": False} if stage == "predict" else {}
    getattr(trainer(callback), stage)(FrozenModel(net), loader(shuffle=shuffle), **options)
    check(callback.trajectory, net)
    assert callback.trajectory.layer_names == ("0", "1", "2", "3")
    assert not callback.trajectory.states[0].is_inference()
    assert n_hooks(net) == 0


@pytest.mark.parametrize("shard_size", [1, 3, 100])
def test_shards_hold_the_same_trajectory(shard_size, tmp_path):
    callback, net = DepthTrajectory(save_dir=tmp_path, shard_size=shard_size), network()
    model = FrozenModel(net)
    # a longer run first: what it leaves behind must not be read with the second
    for n in (11, 7):
        trainer(callback).predict(model, loader(n), return_predictions=False)
        check(callback.trajectory, net, n)
    check(read_shards(tmp_path / "predict"), net)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("batches", [0, 2])
def test_a_killed_run_is_not_read_as_finished(batches, tmp_path):
    class Killed(pl.Callback):
        def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if batch_idx == batches:
                raise KeyboardInterrupt

    def run(*more):
        one = trainer(DepthTrajectory(save_dir=tmp_path, shard_size=2))
        one.callbacks.extend(more)
        one.predict(FrozenModel(network()), loader(), return_predictions=False)

    run()
    read_shards(tmp_path / "predict")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(Killed())
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no run has finished"):
        read_shards(tmp_path / "predict")
    run()
    check(read_shards(tmp_path / "predict"), network())


def test_with_shards_memory_holds_no_more_than_one_group(tmp_path, monkeypatch):
    callback, rows = DepthTrajectory(save_dir=tmp_path, shard_size=4), []
    collect = DepthRecorder.collect

    def watched(self, *args):
        collect(self, *args)
        rows.append(self.n_collected)

    monkeypatch.setattr(DepthRecorder, "collect", watched)
    trainer(callback).predict(FrozenModel(network()), loader(30), return_predictions=False)
    assert max(rows) == 4
    assert len(rows) == 15


class Equal(nn.Module):
    """Four blocks over (B, 4, 3) tokens; remembers whether what they made is still in memory."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
        self.alive = []
        for block in self.blocks:
            block.register_forward_hook(lambda _, __, output: self.alive.append(weakref.ref(output)))

    def forward(self, image):
        return self.blocks(image.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
@pytest.mark.parametrize("keep", ["memory", "shards", "metric"])
def test_activations_of_a_batch_are_gone_with_the_batch(stage, keep, tmp_path):
    net, most = Equal(), []
    callback = DepthTrajectory(
        save_dir=tmp_path if keep == "shards" else None,
        shard_size=4,
        metric=DepthSpectrum() if keep == "metric" else None,
    )

    class Counting(pl.Callback):
        def on_predict_batch_start(self, *_):
            most.append(sum(ref() is not None for ref in net.alive))

        on_validation_batch_start = on_test_batch_start = on_predict_batch_start

    options = (
        {"return_predictions": True} if stage == "predict" else {}
    )  # whatever is returned, nothing stays
    run = trainer(callback)
    run.callbacks.append(Counting())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(run, stage)(FrozenModel(net), loader(12), **options)
    assert len(net.alive) == 4 * (6 + 2)  # six batches, and two stimuli of the first that were shown alone
    assert max(most) <= 4  # those of the batch just done, at most
    assert sum(ref() is not None for ref in net.alive) <= 4


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_a_metric_is_fed_and_nothing_is_kept(stage):
    net = Equal()
    kept, fed = DepthTrajectory(), DepthTrajectory(metric=DepthSpectrum())
    options = {"return_predictions": False} if stage == "predict" else {"verbose": False}
    for _ in range(2):  # a second run starts anew
        run = trainer(fed)
        getattr(run, stage)(FrozenModel(net), loader(9), **options)
    getattr(trainer(kept), stage)(FrozenModel(net), loader(9), **options)
    wanted = dmd(kept.trajectory.stack())
    torch.testing.assert_close(fed.metric_values["eigenvalues"], wanted.eigenvalues)
    logged = run.callback_metrics[f"{stage}/distance_to_unit_circle"]
    torch.testing.assert_close(logged, wanted.distance_to_unit_circle)
    assert f"{stage}/eigenvalues" not in run.callback_metrics
    with pytest.raises(RuntimeError, match="went to the metric and were not kept"):
        _ = fed.trajectory


def test_a_metric_and_shards_go_together(tmp_path):
    callback = DepthTrajectory(metric=DepthSpectrum(), save_dir=tmp_path, shard_size=3)
    trainer(callback).test(FrozenModel(Equal()), loader(9), verbose=False)
    torch.testing.assert_close(
        callback.metric_values["eigenvalues"], dmd(callback.trajectory.stack()).eigenvalues
    )


def test_metrics_reach_the_logger(tmp_path):
    logger = CSVLogger(str(tmp_path))
    trainer(DepthTrajectory(metric=DepthSpectrum()), logger=logger).test(
        FrozenModel(Equal()), loader(9), verbose=False
    )
    assert "test/reconstruction_error" in Path(logger.log_dir, "metrics.csv").read_text()


def test_a_metric_takes_blocks_of_other_widths():
    fed, kept, model = DepthTrajectory(metric=DepthSpectrum()), DepthTrajectory(), FrozenModel(network())
    for callback in (fed, kept):
        trainer(callback).test(model, loader(), verbose=False)
    H = StateSpace().fit_transform(kept.trajectory.states)
    torch.testing.assert_close(fed.metric_values["eigenvalues"], dmd(H).eigenvalues)


def test_states_are_kept_in_the_dtype_asked_for(tmp_path):
    for save_dir in (None, tmp_path):
        callback = DepthTrajectory(dtype="bfloat16", save_dir=save_dir)
        trainer(callback).test(FrozenModel(network()), loader(), verbose=False)
        assert {state.dtype for state in callback.trajectory.states} == {torch.bfloat16}


def test_layers_and_pooling_come_from_the_model_unless_given():
    model = FrozenModel(network(), layers=["1", "2", "3"])
    own = DepthTrajectory()
    trainer(own).test(model, loader(), verbose=False)
    assert own.trajectory.layer_names == ("1", "2", "3")
    given = DepthTrajectory(layers=["0", "1", "3"])
    trainer(given).test(model, loader(), verbose=False)
    assert given.trajectory.layer_names == ("0", "1", "3")


def test_a_wrong_layer_fails_in_setup_with_the_closest_names():
    class NoData(Images):
        def __getitem__(self, i):
            raise AssertionError("data were read before the layers were resolved")

    with pytest.raises(ValueError, match="'blocks' matches none of the 4 modules"):
        trainer(DepthTrajectory(layers=["blocks"])).test(FrozenModel(network()), DataLoader(NoData()))


def test_the_mask_of_each_batch_is_used():
    def preprocess(batch):
        tokens = batch["image"].flatten(2).transpose(1, 2)  # (B, 4, 3)
        return ModelInputs((tokens,), mask=tokens[..., 0] < tokens[..., 0].amax(1, keepdim=True))

    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    callback = DepthTrajectory()
    trainer(callback).predict(FrozenModel(net, preprocess=preprocess), loader(), return_predictions=False)
    inputs = preprocess({"image": Images().image})
    raw = net[0](inputs.args[0])
    wanted = torch.stack([row[mask].mean(0) for row, mask in zip(raw, inputs.mask, strict=True)])
    torch.testing.assert_close(callback.trajectory.states[0], wanted)


class Classifier(pl.LightningModule):
    """A module that trains, and whose network sits somewhere inside."""

    def __init__(self, attribute="model"):
        super().__init__()
        self.attribute = attribute
        setattr(self, attribute, network())
        self.hooks_while_training = []

    def training_step(self, batch, batch_idx):
        self.hooks_while_training.append(n_hooks(self))
        return getattr(self, self.attribute)(batch["image"]).square().mean()

    def validation_step(self, batch, batch_idx):
        getattr(self, self.attribute)(batch["image"])

    predict_step = test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("attribute", "submodule"),
    [("model", None), ("module", None), ("backbone", "backbone"), ("model", "model")],
)
def test_any_lightning_module_can_be_recorded(attribute, submodule):
    module = Classifier(attribute)
    callback = DepthTrajectory(submodule=submodule)
    trainer(callback).validate(module, loader(), verbose=False)
    check(callback.trajectory, getattr(module, attribute))


def test_the_only_network_or_all_of_the_lightning_module_where_nothing_else_is_there():
    module = Classifier("backbone")
    callback = DepthTrajectory()
    trainer(callback).test(module, loader(), verbose=False)
    check(callback.trajectory, module.backbone)
    assert callback.trajectory.layer_names == tuple("0123")
    module.projector = network()  # now there are two: names begin with theirs
    callback = DepthTrajectory(layers="backbone.*")
    trainer(callback).test(module, loader(), verbose=False)
    assert callback.trajectory.layer_names == tuple(f"backbone.{i}" for i in range(4))


def test_validation_inside_fit_follows_the_network_and_leaves_training_alone():
    module, seen = Classifier(), []

    class Watched(DepthTrajectory):
        def on_validation_end(self, trainer, pl_module):
            super().on_validation_end(trainer, pl_module)
            if trainer.sanity_checking:  # a few batches of an untrained network are no trajectory
                with pytest.raises(RuntimeError, match="No trajectory yet"):
                    _ = self.trajectory
            else:
                seen.append(self.trajectory.states[-1])

    trainer(Watched(), max_epochs=2).fit(module, loader(), loader())
    assert module.hooks_while_training == [0] * 8
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(seen[1], module.model(Images().image).detach())


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_hooks_are_gone_after_an_exception(stage):
    class Fails(Classifier):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            if batch_idx == 1:
                raise ZeroDivisionError

        predict_step = test_step = validation_step

    module, callback = Fails(), DepthTrajectory()
    options = {"return_predictions": False} if stage == "predict" else {}
    with pytest.raises(ZeroDivisionError):
        getattr(trainer(callback), stage)(module, loader(), **options)
    assert n_hooks(module) == 0
    with pytest.raises(RuntimeError, match="No trajectory yet"):
        _ = callback.trajectory


def test_batches_without_ids_are_refused():
    class Bare(Images):
        def __getitem__(self, i):
            return {"image": self.image[i]}

    with pytest.raises(ValueError, match=r"needs batches with a 'stimulus_id', got \['image'\]"):
        trainer(DepthTrajectory()).test(FrozenModel(network()), DataLoader(Bare()))


def test_a_network_that_keeps_its_predictions_is_pointed_out():
    with pytest.warns(UserWarning, match="pass return_predictions=False"):
        trainer(DepthTrajectory()).predict(Classifier(), loader())


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="dtype must be one of"):
        DepthTrajectory(dtype="int8")
    with pytest.raises(ValueError, match="shard_size must be at least 1, got 0"):
        DepthTrajectory(shard_size=0)


TWO_PROCESSES = """
import sys
sys.path.insert(0, {root!r})
from tests.callbacks.test_depth_trajectory import *

fed = DepthTrajectory(metric=DepthSpectrum())
trainer(fed, strategy="ddp", devices=2, num_nodes=1).test(FrozenModel(Equal()), loader(9), verbose=False)
with DepthRecorder(alone := Equal()) as rec, torch.no_grad():
    alone(Images(9).image)
    whole = dmd(torch.stack(rec.states, dim=1))
torch.testing.assert_close(fed.metric_values["eigenvalues"], whole.eigenvalues, atol=1e-6, rtol=1e-5)

for stage, save_dir in (("test", None), ("predict", {shards!r})):
    net, callback = network(), DepthTrajectory(save_dir=save_dir, shard_size=2)
    options = {{"return_predictions": False}} if stage == "predict" else {{"verbose": False}}
    run = trainer(callback, strategy="ddp", devices=2, num_nodes=1)
    getattr(run, stage)(FrozenModel(net), loader(), **options)
    if run.is_global_zero:
        check(callback.trajectory, net)
    else:
        with pytest.raises(RuntimeError, match="read it on rank zero"):
            callback.trajectory
    # one file per process: two processes share one standard output, and their lines interleave
    Path({said!r}, f"{{stage}}-{{run.global_rank}}").touch()
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_with_uneven_shares_give_the_same_trajectory(tmp_path):
    script = tmp_path / "run.py"
    root = str(Path(__file__).parents[2])
    said = tmp_path / "said"
    said.mkdir()
    script.write_text(TWO_PROCESSES.format(root=root, shards=str(tmp_path / "shards"), said=str(said)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(file.name for file in said.iterdir()) == ["predict-0", "predict-1", "test-0", "test-1"]


class Texts(Dataset):
    """Token ids, padded to 9."""

    lengths = (4, 9, 6, 2, 9, 3)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, i):
        ids = torch.randint(1, 20, (9,), generator=torch.Generator().manual_seed(i))
        mask = torch.arange(9) < self.lengths[i]
        return {"stimulus_id": i, "input_ids": ids * mask, "attention_mask": mask.long()}


class Mixing(nn.Module):
    """Adds the mean over all tokens, padding included, unless it is told not to."""

    def __init__(self, heeds_mask):
        super().__init__()
        self.heeds_mask = heeds_mask
        self.n_passes = 0
        self.embed = nn.Embedding(20, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, input_ids, attention_mask):
        self.n_passes += 1
        x = self.embed(input_ids)
        shown = attention_mask.unsqueeze(-1) if self.heeds_mask else torch.ones_like(x[..., :1])
        for block in self.blocks:
            x = block(x + (x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True))
        return (x * shown).sum(1) / shown.sum(1)


class OwnTexts(pl.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.model = network

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.model(batch["input_ids"], attention_mask=batch["attention_mask"]).mean())


@pytest.mark.parametrize("heeds_mask", [True, False])
def test_a_module_of_ones_own_is_looked_at_for_padding(heeds_mask):
    """Its pooling sees padding whatever the network does: each text is shown alone, without."""
    torch.manual_seed(0)
    module, callback = OwnTexts(Mixing(heeds_mask)).eval(), DepthTrajectory("blocks.*")
    texts = DataLoader(Texts(), batch_size=3)
    one = trainer(callback)
    with pytest.warns(UserWarning, match="Mixing makes other states of a stimulus in a batch than alone"):
        one.validate(module, texts, verbose=False)
    assert module.model.n_passes == 2  # what the look counted is put back
    wanted = []
    for i, length in enumerate(Texts.lengths):
        text = Texts()[i]
        with DepthRecorder(module.model, "blocks.*") as rec, torch.no_grad():
            module.model(text["input_ids"][None, :length], text["attention_mask"][None, :length])
            wanted.append(rec.states)
    for found, own in zip(callback.trajectory.states, zip(*wanted, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(own))
    loss = one.callback_metrics["loss"]
    plain = pl.Trainer(**QUIET)
    plain.validate(module, texts, verbose=False)
    assert torch.equal(loss, plain.callback_metrics["loss"])  # of the steps alone


def test_a_module_of_ones_own_without_such_states_is_left_in_its_batches(recwarn):
    class Own(pl.LightningModule):
        def __init__(self, by_parts):
            super().__init__()
            self.model, self.by_parts = network(), by_parts

        def validation_step(self, batch, batch_idx):
            if self.by_parts:  # past the network's own forward
                x = batch["image"]
                for layer in self.model:
                    x = layer(x)
            else:
                self.model(batch["image"])

    for by_parts in (False, True):
        callback, module = DepthTrajectory(), Own(by_parts)
        trainer(callback).validate(module, loader(), verbose=False)
        check(callback.trajectory, module.model)
    assert not [w for w in recwarn if "stimulus" in str(w.message)]
