"""Trainings whose parameters FSDP shards over two gloo processes: checks that need both, run one by one."""

from __future__ import annotations

import datetime
import json
import logging
import os
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
from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.hooks.processes import gather_trajectories
from nfas_lightning.hooks.sharded import unwrapped
from tests.helpers.training import QUICK, RAW, Network, Pictures, StillPictures, classifier, images, monitor

N = 57  # stimuli: 29 and 28, in batches of 7 five passes and four


class FSDP1OnCPU(FSDPStrategy):
    """Lightning's strategy, which wants a CUDA device and nothing of it that gloo does not have."""

    def _setup_model(self, model):
        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"), **self.kwargs)
        if self.checkpoints:
            apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
        return model

    checkpoints = False


class Block(nn.Sequential):
    """A block that fails on the second process, if told to."""

    fault = ""

    def forward(self, x):
        if self.fault and not self.training and dist.get_rank() == 1:
            if self.fault == "memory" and len(x) > 3:
                raise torch.cuda.OutOfMemoryError("out of memory")
            if self.fault == "pass":
                raise RuntimeError("the sensor is unplugged")
            if self.fault == "state":
                return super().forward(x) * torch.nan
        return super().forward(x)


class Deep(Network):
    """The same network out of named blocks, and a parameter that belongs to the root."""

    def __init__(self, kind=""):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(*block) for block in self.blocks))
        for block in self.blocks if "half" in kind else []:  # batch norm does not run in mixed precision
            block[1] = nn.GroupNorm(2, 8)
        self.gain = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return super().forward(x * self.gain)


def brain(n=N):
    x = images(n, seed=1)
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(2))
    return ArrayDataModule(x, x.mean((2, 3)) + 0.02 * noise, rois=["V1", "V4", "LOC"], batch_size=7)


def preprocess(batch):
    if Block.fault == "stimulus" and dist.get_rank() == 1:
        raise OSError("no such picture")
    return RAW(batch)


def watch(**options):
    return monitor(**options | {"preprocess": preprocess}) if "datamodule" in options else _watch(**options)


def _watch(**options):
    callback = monitor(**options | {"preprocess": preprocess})
    callback.datamodule = brain()
    return callback


def shard(module, kind):
    """Let a module shard its network as a user would, where Lightning asks it to."""

    def configure_model():
        mesh = module.device_mesh["data_parallel"]
        options = {"mesh": mesh}
        if kind == "fsdp2-half":
            options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
            for i, block in enumerate(module.model.blocks):
                module.model.blocks[i] = checkpoint_wrapper(block)
        for block in module.model.blocks:
            fully_shard(block, **options)
        if kind == "fsdp2-root":
            fully_shard(module, **options)
            for name in ("training_step", "validation_step"):
                register_fsdp_forward_method(module, name)
        else:
            fully_shard(module.model, **options)

    if kind.startswith("fsdp2"):
        module.configure_model = configure_model
    return module


def strategy_of(kind):
    if kind.startswith("fsdp2"):
        return ModelParallelStrategy(2, 1, save_distributed_checkpoint=False)
    wrapped = {Block, Deep} if kind == "fsdp1-half" else {Block}
    strategy = FSDP1OnCPU(auto_wrap_policy=ModuleWrapPolicy(wrapped))
    strategy.checkpoints = kind == "fsdp1-half"
    return strategy


def train(kind, *callbacks, epochs=1, ckpt_path=None, **options):
    """Train from a fixed seed; return the module and its Trainer."""
    pl.seed_everything(0, verbose=False)
    module = shard(classifier(Deep(kind)), kind)
    if kind == "fsdp1-half":
        options["precision"] = "bf16-mixed"
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), strategy=strategy_of(kind), accelerator="cpu", devices=2,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks), **quiet, **options,
    )  # fmt: skip
    held_out = DataLoader(StillPictures(12, seed=5), batch_size=3)
    trainer.fit(module, DataLoader(Pictures(), batch_size=8, shuffle=True), held_out, ckpt_path=ckpt_path)
    return module, trainer


def own_share(module, trainer):
    """All that this process holds of a training: losses, draws, shards of weights and optimizer state."""

    def local(value):
        value = getattr(value, "to_local", lambda: value)()
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

    found = {"seen": module.seen} | {
        name: local(value) for name, value in [*module.named_parameters(), *module.named_buffers()]
    }
    for key, values in trainer.optimizers[0].state_dict()["state"].items():
        found |= {f"{key}/{name}": local(value) for name, value in values.items()}
    return found


def assert_same(first, second):
    one, other = own_share(*first), own_share(*second)
    assert one.keys() == other.keys()
    assert len(one) > 20
    assert len(one["seen"]) > 0
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


def whole(kind, trainer):
    """The trained network on one process; only rank zero has its weights."""
    weights = trainer.strategy.lightning_module_state_dict()
    network = Deep(kind)
    if dist.get_rank() == 0:
        network.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    return network


# the checks


def same_training(kind):
    """With and without the callback, and as one process finds it with the whole network."""
    callback = watch(every_n_train_steps=1, at_start=True)
    options = {"accumulate_grad_batches": 2} if kind.endswith("root") else {}
    watched = train(kind, callback, **options)
    assert_same(train(kind, **options), watched)
    network = whole(kind, watched[1])
    if dist.get_rank() == 0:
        assert len(callback.curves["step"].unique()) == (3 if options else 4)
        found = align(network, brain(), settings=QUICK, preprocess=RAW, progress=False, name="deep")
        if "half" in kind:
            apart = (found.scores["r"] - callback.result.scores["r"]).abs().max()
            assert apart < 0.05, apart
        else:
            pd.testing.assert_frame_equal(found.scores, callback.result.scores, atol=1e-4)
            pd.testing.assert_frame_equal(found.depth, callback.result.depth, atol=1e-4, rtol=1e-3)
        for key in ("parameters", "family", "depth"):
            assert callback.result.card.get(key) == found.card.get(key), key


def failures(kind):
    """What fails on one process is a failed evaluation of both, and the training goes on."""
    faults = ["memory", "stimulus", "pass", "state", "", ""]

    class Saboteur(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            Block.fault = faults[trainer.global_step]

        def on_validation_start(self, *_):
            Block.fault = ""  # the training's own passes are whole

    callback = watch(every_n_train_steps=1, on_error="warn", at_end=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched = train(kind, Saboteur(), callback, epochs=2)
    Block.fault = ""
    assert_same(train(kind, epochs=2), watched)
    said = [str(one.message) for one in caught]
    assert any("did not fit into memory" in text for text in said) == (dist.get_rank() == 1), said
    assert callback._failures == 3
    if dist.get_rank() == 0:
        assert any("no such picture" in text for text in said), said
        assert list(callback.curves["step"].unique()) == [1, 5, 6]


def resumed(kind, folder):
    """A checkpoint that is loaded after the first look is what the training goes on from."""
    keeper = ModelCheckpoint(folder / kind, save_last=True, every_n_epochs=1, filename="{epoch}", save_top_k=-1)
    train(kind, keeper, epochs=1)
    path = folder / kind / "epoch=0.ckpt"
    callback = watch(every_n_train_steps=1)
    watched = train(kind, callback, epochs=2, ckpt_path=path)
    assert_same(train(kind, epochs=2, ckpt_path=path), watched)
    if dist.get_rank() == 0:
        assert list(callback.curves["step"].unique()) == [4, 5, 6]


def one_stimulus(kind):
    """Fewer stimuli than processes; a part of the network; validate and test; DepthTrajectory."""
    module, trainer = train(kind)
    network = whole(kind, trainer)
    top = trainer.strategy.model if unwrapped(trainer.strategy.model) is module else module
    part = unwrapped(module.model.blocks)
    stimuli = brain().stimuli
    share = dist.get_rank(), 2
    own = record_trajectory(part, stimuli, preprocess=RAW, share=share, limit=1, owner=top)
    parts = gather_trajectories(own)
    if dist.get_rank() == 0:
        again = record_trajectory(network.blocks, stimuli, preprocess=RAW, limit=1)
        assert [list(one.stimulus_ids) for one in parts] == [[0], [0]]
        assert parts[0].layers == again.layers
        for one in parts:
            for state, expected in zip(one.states, again.states, strict=True):
                torch.testing.assert_close(state, expected, atol=1e-4, rtol=1e-4)


def work(rank, folder):
    """Run all checks on one of two processes; write down what failed."""
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "TORCHELASTIC_RUN_ID": "1",
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    }  # fmt: skip
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for package in ("pytorch_lightning", "lightning"):
        logging.getLogger(package).setLevel(logging.ERROR)
    folder = Path(folder)
    dist.init_process_group(
        "gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2,
        timeout=datetime.timedelta(seconds=int(os.environ.get("T","60"))),
    )  # fmt: skip
    found = {}
    for name, check in CHECKS.items():
        if os.environ.get("ONLY", name) not in name: continue
        import time; t = time.time()
        try:
            check(folder)
            found[name] = ""
        except BaseException:
            found[name] = traceback.format_exc()
        (folder / f"{rank}.json").write_text(json.dumps(found))
        print(rank, name, found[name], round(time.time() - t, 1), flush=True)
        if found[name]:
            os._exit(1)  # the other one waits
        dist.barrier()
    dist.destroy_process_group()


CHECKS = {
    f"{check.__name__} {kind}": (lambda folder, check=check, kind=kind: check(kind, *([folder] if check is resumed else [])))
    for check, kinds in (
        (same_training, ("fsdp2", "fsdp1", "fsdp2-root", "fsdp2-half", "fsdp1-half")),
        (failures, ("fsdp2", "fsdp1")),
        (resumed, ("fsdp2", "fsdp1")),
        (one_stimulus, ("fsdp2", "fsdp1", "fsdp2-root")),
    )
    for kind in kinds
}
