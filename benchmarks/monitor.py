"""What monitoring a training costs: a callback that is never due, and a pass over the brain stimuli.

The first table compares training steps with and without an idle `BrainAlignment` in one run of one Trainer:
the callback is in and out of the Trainer's list step by step, in random order within each pair. Beside the
median ratio stand its bootstrap interval and, free of the machine's noise, the time of its hooks per step.
The second compares the brain pass (`record_trajectory`: reading, hooks, pooling, copies, restoring the
network) with bare forward passes over the same batches, in turns; an evaluation adds the scoring. On a CUDA
device the networks are of the usual size, and the bare passes find their batches there already.

    python benchmarks/monitor.py --pairs 300 --repeats 20 --device cpu
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from statistics import median
from typing import Any

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from timing import seconds, synchronize
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nfas_lightning.alignment import card_of, record_trajectory
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings, score_trajectory

N_ROIS = 100
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


class Classifier(pl.LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


class InAndOut(pl.Callback):
    """Take a callback in and out of the Trainer's list, and time the steps with and without it."""

    def __init__(self, watched: pl.Callback, warm_up: int) -> None:
        self.watched, self.warm_up = watched, warm_up
        self.seconds: list[tuple[float, float]] = []  # (with, without), one pair per two neighbors
        self._random = np.random.default_rng(0)
        self._times: dict[bool, float] = {}
        self._order = [True, False]
        self._started = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Between two steps: everything that the loop does for the callback lies between two calls."""
        synchronize()
        now = clock()
        step = trainer.global_step
        if step > self.warm_up:
            self._times[self._order[(step - 1) % 2]] = now - self._started
            if step % 2 == 0:
                self.seconds.append((self._times[True], self._times[False]))
        if step % 2 == 0:
            self._order = [bool(flag) for flag in self._random.permutation([True, False])]
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if self.watched in callbacks:
            callbacks.remove(self.watched)
        if self._order[step % 2]:
            callbacks.append(self.watched)
        self._started = clock()


def images_of(n: int, size: int) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def benchmark_of(n: int, size: int) -> ArrayDataModule:
    responses = torch.randn(n, N_ROIS, generator=torch.Generator().manual_seed(1))
    datamodule = ArrayDataModule(images_of(n, size), responses, batch_size=16)
    datamodule.setup()
    return datamodule


def idle(name: str, size: int, batch: int, pairs: int, device: str) -> tuple[float, ...]:
    """Return seconds per step without it, the median ratio, its 95 % interval, seconds of its hooks."""
    torch.manual_seed(0)
    data = [(images_of(batch, size), torch.zeros(batch, dtype=torch.long))] * (2 * pairs + 22)
    watch = BrainAlignment(
        benchmark_of(20, size), every_n_epochs=0, every_n_train_steps=10**9, at_end=False, on_error="raise"
    )
    timer = InAndOut(watch, warm_up=20)
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[timer, watch],
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Classifier(timm.create_model(name))
    trainer.fit(module, DataLoader(data, batch_size=None))
    ratios = np.array([a / b for a, b in timer.seconds])
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return (
        median(b for _, b in timer.seconds),
        float(np.median(ratios)),
        low,
        high,
        hooks(trainer, module, watch),
    )


def hooks(trainer: pl.Trainer, module: Classifier, watch: BrainAlignment) -> float:
    """Time what Lightning calls on the callback in one step, the way it calls it."""
    from pytorch_lightning.trainer import call

    trainer.callbacks = [watch]  # type: ignore[attr-defined]
    names: list[tuple[str, tuple[Any, ...]]] = [
        ("on_train_batch_start", (None, 0)),
        ("on_before_zero_grad", (None,)),
        ("on_before_backward", (None,)),
        ("on_after_backward", ()),
        ("on_before_optimizer_step", (None,)),
        ("on_train_batch_end", (None, None, 0)),
    ]

    def one_step() -> None:
        for hook, args in names:
            call._call_callback_hooks(trainer, hook, *args)

    def no_callback() -> None:
        trainer.callbacks = []  # type: ignore[attr-defined]
        one_step()
        trainer.callbacks = [watch]  # type: ignore[attr-defined]

    times = [(seconds(one_step, clock), seconds(no_callback, clock)) for _ in range(2000)]
    return median(a for a, _ in times) - median(b for _, b in times)


def evaluation(name: str, size: int, n: int, repeats: int, device: str) -> tuple[float, ...]:
    """Return blocks, seconds of bare passes and of the brain pass, their median ratio, and of the scoring."""
    torch.manual_seed(0)
    options = {"img_size": size} if name.startswith("vit") else {}
    network = timm.create_model(name, **options).to(device)
    datamodule = benchmark_of(n, size)
    batches = [part.to(device) for part in images_of(n, size).split(16)]
    settings = ScoringSettings(n_permutations=0)
    kept: list[Trajectory | None] = []

    def bare() -> None:
        network.eval()
        with torch.no_grad():
            for batch in batches:
                network(batch)
        network.train()

    def brain_pass() -> None:
        kept[:] = [record_trajectory(network, datamodule.stimuli, preprocess=RawStimuli(), batch_size=16)]

    def score() -> None:
        assert kept[0] is not None
        card = card_of(network, datamodule.responses, name, "auto", seconds=0.0)
        score_trajectory(kept[0], datamodule.responses, card, settings)

    pairs, scoring = [], []
    for i in range(repeats + 2):
        pair = seconds(bare, clock), seconds(brain_pass, clock)
        if i >= 2:  # the first two warm up
            pairs.append(pair)
        if i < 3:
            scoring.append(seconds(score, clock))
    assert kept[0] is not None
    ratio = median(b / a for a, b in pairs)
    return (
        len(kept[0].states),
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        ratio,
        median(scoring),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300, help="pairs of training steps")
    parser.add_argument("--repeats", type=int, default=20, help="pairs of passes over the stimuli")
    parser.add_argument("--stimuli", type=int, default=96)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: of this process, on a busy machine"
    )
    options = parser.parse_args()
    global clock
    clock = CLOCKS[options.clock]
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*|.*LeafSpec.*|.*logging interval.*")
    large = options.device == "cuda"
    size, batch = (224, 64) if large else (64, 8)
    titles = ("idle callback", "a step", "with / without", "95 %", "its hooks", "of a step")
    print("{:32s} {:>10s} {:>15s} {:>15s} {:>10s} {:>10s}".format(*titles), flush=True)
    for name in ("resnet50",) if large else ("mobilenetv3_small_050", "resnet10t"):
        step, ratio, low, high, own = idle(name, size, batch, options.pairs, options.device)
        print(
            f"{f'{name}, {batch} x {size} px':32s} {1e3 * step:7.1f} ms {ratio:15.4f} {low:8.4f}-{high:.4f} "
            f"{1e6 * own:7.1f} us {100 * own / step:8.3f} %",
            flush=True,
        )
    size = 224 if large else 128
    titles = ("brain pass", "blocks", "forward", "pass", "ratio", "scoring")
    print("\n{:32s} {:>6s} {:>10s} {:>10s} {:>7s} {:>10s}".format(*titles), flush=True)
    small = ("resnet18", "convnext_atto", "vit_tiny_patch16_224")
    for name in ("resnet50", "convnext_small", "vit_base_patch16_224") if large else small:
        blocks, bare, own, ratio, scoring = evaluation(
            name, size, options.stimuli, options.repeats, options.device
        )
        print(
            f"{f'{name}, {options.stimuli} x {size} px':32s} {blocks:6.0f} {1e3 * bare:7.1f} ms "
            f"{1e3 * own:7.1f} ms {ratio:7.3f} {1e3 * scoring:7.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
