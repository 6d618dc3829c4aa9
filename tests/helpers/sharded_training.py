"""Trainings whose parameters FSDP shards over two gloo processes: checks that need both of them.

A check's kind has the words ``fsdp1`` or ``fsdp2``; ``root``: the LightningModule is FSDP2's root;
``half``: mixed precision and activation checkpointing; ``group``: group norm in place of batch norm, whose
statistics are each process's own and whose modules do not run in mixed precision.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import tempfile
import traceback
import warnings
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.utils.data import DataLoader

from nfas_lightning import align
from nfas_lightning.alignment import record_trajectory
from nfas_lightning.callbacks import BrainAlignmentHF, DepthTrajectory
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.hooks.processes import from_rank_zero, gather_trajectories
from nfas_lightning.hooks.sharding import is_sharded, root_of, unwrapped
from nfas_lightning.hooks.trajectory import concatenate
from tests.callbacks import test_brain_alignment_hf as hf
from tests.helpers.training import QUICK, RAW, Network, Pictures, StillPictures, classifier, images, monitor

CPU = {"device_id": torch.device("cpu"), "use_orig_params": True}


class FSDP1OnCPU(FSDPStrategy):
    """Lightning's strategy, which asks for a CUDA device and needs nothing of it."""

    with_checkpoints = False

    def _setup_model(self, model):
        model = FullyShardedDataParallel(model, device_id=CPU["device_id"], **self.kwargs)
        if self.with_checkpoints:
            apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
        return model


class Block(nn.Sequential):
    """A block that fails on the second process, if told to."""

    fault = ""

    def forward(self, x):
        if self.training or not self.fault or dist.get_rank() == 0:
            return super().forward(x)
        if self.fault == "memory" and len(x) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        if self.fault == "pass":
            raise RuntimeError("the sensor is unplugged")
        return super().forward(x) * (torch.nan if self.fault == "state" else 1)


class Deep(Network):
    """The network of the other tests, with a class for its blocks and a parameter of the root."""

    def __init__(self, kind=""):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(*block) for block in self.blocks))
        for block in self.blocks if "group" in kind else ():
            block[1] = nn.GroupNorm(2, 8)
        self.gain = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return super().forward(x * self.gain)


def brain():
    """57 stimuli: 29 and 28 for two processes, in batches of 7 five passes and four."""
    x = images(57, seed=1)
    noise = torch.randn(57, 3, generator=torch.Generator().manual_seed(2))
    return ArrayDataModule(x, x.mean((2, 3)) + 0.02 * noise, rois=["V1", "V4", "LOC"], batch_size=7)


def shown(batch):
    """The preprocessing."""
    if Block.fault == "stimulus" and dist.get_rank() == 1:
        raise OSError("no such picture")
    return RAW(batch)


def watch(**options):
    callback = monitor(preprocess=shown, name="deep", **options)
    callback.datamodule = brain()
    return callback


def aligned(network):
    return align(network, brain(), settings=QUICK, preprocess=RAW, progress=False, name="deep")


def shard(module, kind):
    """Let a module shard its network as a user would."""

    def configure_model():
        if is_sharded(module):  # Lightning asks before every stage
            return
        options = {"mesh": module.device_mesh["data_parallel"]}
        for i, block in enumerate(module.model.blocks) if "half" in kind else ():
            options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
            module.model.blocks[i] = checkpoint_wrapper(block)
        for block in module.model.blocks:
            fully_shard(block, **options)
        fully_shard(module if "root" in kind else module.model, **options)
        for name in ("training_step", "validation_step") if "root" in kind else ():
            register_fsdp_forward_method(module, name)

    if "fsdp2" in kind:
        module.configure_model = configure_model
    return module


def make(kind, network, *callbacks, **options):
    """Return a module and its Trainer."""
    if "fsdp2" in kind:
        strategy = ModelParallelStrategy(2, 1, save_distributed_checkpoint=False)
    else:
        strategy = FSDP1OnCPU(auto_wrap_policy=ModuleWrapPolicy({Block, Deep} if "half" in kind else {Block}))
        strategy.with_checkpoints = "half" in kind
        options |= {"precision": "bf16-mixed"} if "half" in kind else {}
    trainer = pl.Trainer(
        callbacks=list(callbacks), strategy=strategy, accelerator="cpu", devices=2, logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    return shard(classifier(network), kind), trainer


def train(kind, *callbacks, epochs=1, ckpt_path=None, **options):
    """Train from a fixed seed; return the module and its Trainer."""
    pl.seed_everything(0, verbose=False)
    module, trainer = make(kind, Deep(kind), *callbacks, max_epochs=epochs, **options)
    held_out = DataLoader(StillPictures(12, seed=5), batch_size=3)
    trainer.fit(module, DataLoader(Pictures(), batch_size=8, shuffle=True), held_out, ckpt_path=ckpt_path)
    return module, trainer


def own_share(module, optimizer, losses):
    """All that this process holds of a training: losses, its shards of the weights and of Adam's state."""
    found = dict(losses=losses, **dict(module.named_parameters()), **dict(module.named_buffers()))
    for key, values in optimizer.state_dict()["state"].items():
        found |= {f"{key}/{name}": value for name, value in values.items()}
    return {key: value.to_local() if hasattr(value, "to_local") else value for key, value in found.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert len(one) > 20
    assert len(one["losses"]) > 0
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


def assert_same_training(first, second):
    assert_same(*(own_share(m, trainer.optimizers[0], m.seen) for m, trainer in (first, second)))


def assert_same_states(found, expected):
    assert found.layers == expected.layers
    assert torch.equal(found.stimulus_ids, expected.stimulus_ids)
    for state, other in zip(found.states, expected.states, strict=True):
        torch.testing.assert_close(state, other, atol=1e-5, rtol=1e-4)


# the checks


def same_training(kind, _):
    """With and without the callback; the scores are those of the whole network."""
    callback = watch(every_n_train_steps=1, at_start=True)
    options = {"accumulate_grad_batches": 2} if "root" in kind else {}
    module, trainer = train(kind, callback, **options)
    assert_same_training(train(kind, **options), (module, trainer))
    weights = trainer.strategy.lightning_module_state_dict()  # on rank zero
    if dist.get_rank() == 0:
        assert callback.curves["step"].unique().tolist() == ([0, 1, 2] if options else [0, 1, 2, 3])
        whole = Deep(kind)
        whole.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
        expected, found = aligned(whole), callback.result
        tolerance = 0.05 if "half" in kind else 1e-4
        for table in ("scores", "depth"):
            pd.testing.assert_frame_equal(
                getattr(found, table), getattr(expected, table), atol=tolerance, rtol=0.1 * tolerance**0.5
            )
        assert found.card["parameters"] == expected.card["parameters"]
        assert found.card["family"] == expected.card["family"]


def failures(kind, _):
    """What fails on one process is a failed evaluation of both, and the training goes on."""
    faults = ["memory", "stimulus", "pass", "state", "", ""]

    class Saboteur(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            Block.fault = faults[trainer.global_step]

        def on_validation_start(self, *_):
            Block.fault = ""

    callback = watch(every_n_train_steps=1, on_error="warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched = train(kind, Saboteur(), callback, epochs=2)
    assert_same_training(train(kind, epochs=2), watched)
    said = " ".join(str(one.message) for one in caught)
    assert ("did not fit into memory" in said) == (dist.get_rank() == 1)
    assert callback._failures == 3
    if dist.get_rank() == 0:
        assert "OSError: no such picture" in said
        assert callback.curves["step"].unique().tolist() == [1, 5, 6]


def resumed(kind, folder):
    """A checkpoint that is loaded after the first look is what the training goes on from."""
    train(kind, ModelCheckpoint(folder / kind, filename="{epoch}"))
    options = {"epochs": 2, "ckpt_path": folder / kind / "epoch=0.ckpt"}
    callback = watch(every_n_train_steps=1)
    watched = train(kind, callback, **options)
    assert_same_training(train(kind, **options), watched)
    if dist.get_rank() == 0:
        assert callback.curves["step"].unique().tolist() == [4, 5, 6]


def stages(kind, _):
    """Both callbacks in a validation; fewer stimuli than processes, in a part of the network."""
    network, depth, callback = Deep(kind), DepthTrajectory(), watch()
    module, trainer = make(kind, copy.deepcopy(network), depth, callback)
    held_out = StillPictures(11, seed=5)
    trainer.validate(module, DataLoader(held_out, batch_size=3), verbose=False)
    if dist.get_rank() == 0:
        data = ArrayDataModule(held_out.pixels, torch.zeros(11, 1))
        data.setup()
        assert_same_states(depth.trajectory, record_trajectory(network, data.stimuli, preprocess=RAW))
        pd.testing.assert_frame_equal(callback.result.scores, aligned(network).scores, atol=1e-4)
    few = {"stimuli": callback.datamodule.stimuli, "preprocess": RAW, "limit": 1}
    top, blocks = root_of(module, trainer.strategy.model), unwrapped(module.model).blocks
    parts = gather_trajectories(record_trajectory(blocks, owner=top, share=(dist.get_rank(), 2), **few))
    if dist.get_rank() == 0:
        assert [one.stimulus_ids.tolist() for one in parts] == [[0], [0]]
        assert_same_states(concatenate(parts), record_trajectory(network.blocks, **few))


def sharded_by_hand(kind, network, block):
    if "fsdp1" in kind:
        return FullyShardedDataParallel(network, auto_wrap_policy=ModuleWrapPolicy({block}), **CPU)
    for module in [module for module in network.modules() if isinstance(module, block)]:
        fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    return fully_shard(network, mesh=init_device_mesh("cpu", (2,)))


def own_loop(kind, _):
    """align() in a loop of one's own."""
    network = Deep(kind)
    expected = aligned(network)
    found = aligned(sharded_by_hand(kind, network, Block))
    pd.testing.assert_frame_equal(found.scores, expected.scores, atol=1e-4)
    assert found.card["parameters"] == expected.card["parameters"]


def hf_trainer(kind, folder):
    """transformers.Trainer, which passes FSDP on to accelerate; that wants an accelerator."""
    shares = []
    for watched in (False, True):
        hf.set_seed(0)
        model = hf.vit()
        model = sharded_by_hand(kind, model, type(model.vit.layers[0]))
        arguments = hf.TrainingArguments(
            str(folder), num_train_epochs=1, per_device_train_batch_size=8, logging_steps=1, report_to=[],
            save_strategy="no", use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        trainer = hf.Trainer(model, arguments, train_dataset=hf.Pictures())
        trainer.accelerator.prepare_model = lambda model, **_: model  # in place of DDP around it
        callback = BrainAlignmentHF(
            hf.brain(), every_n_train_steps=1, settings=QUICK, preprocess=RAW, on_error="raise"
        )
        if watched:
            callback.attach(trainer)
        trainer.train()
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        shares.append(own_share(unwrapped(model), trainer.optimizer.optimizer, losses))
    assert_same(*shares)
    if dist.get_rank() == 0:
        assert callback.result.card["family"] == "vitforimageclassification"
        assert callback.curves["step"].unique().tolist() == [1, 2, 3]


CHECKS = {
    f"{check.__name__} {kind}": functools.partial(check, kind)
    for check, kinds in (
        (same_training, ("fsdp2", "fsdp1", "fsdp2 root half group", "fsdp1 half group")),
        (failures, ("fsdp2", "fsdp1")),
        (resumed, ("fsdp2", "fsdp1")),
        (stages, ("fsdp2 group", "fsdp1 group", "fsdp2 root group")),
        (own_loop, ("fsdp2", "fsdp1")),
        (hf_trainer, ("fsdp2", "fsdp1")),
    )
    for kind in kinds
}


def work(rank, world, names=tuple(CHECKS)):
    """Run checks on one of two processes; return what went wrong, by check."""
    of_this_process = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    of_both = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(world)) | {"GROUP_RANK": "0"}
    launched = {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    os.environ |= of_this_process | of_both | launched
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    problems = dict.fromkeys(names, "did not run")
    for name in names:
        problems[name] = ""
        try:
            with tempfile.TemporaryDirectory() as folder:
                CHECKS[name](Path(from_rank_zero(folder)))
                dist.barrier()
        except Exception:  # noqa: BLE001 - the test shows it
            problems[name] = traceback.format_exc()
            break  # the processes are out of step
    return problems
