"""Where jobs run: this process, processes of this machine, or a cluster through submitit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nfas_lightning.models.optional import require
from nfas_lightning.runner.memory import available_mb
from nfas_lightning.runner.workers import cores
from nfas_lightning.sweep.work import PARENT

__all__ = ["Engine", "InlineEngine", "Job", "LocalEngine", "SubmititEngine"]

_POLL = 0.2  # seconds


@dataclass(frozen=True)
class Job:
    """One process's work.

    Attributes:
        name: unique in a sweep.
        command: what is run, and can be run by hand.
        log: where its output goes.
        memory_mb: what it is estimated to need; 0 where nothing is known.
    """

    name: str
    command: list[str]
    log: Path
    memory_mb: float = 0.0

    def __call__(self) -> int:
        """Run it to its end; return its exit code."""
        return self.start().wait()

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the process, with its output in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        whole = {**os.environ, "NFAS_SWEEP_LOG": str(self.log), **environment}
        streams: Any = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, env=whole, **streams)


class Engine(ABC):
    """Runs jobs, at most `slots` at a time."""

    slots: int = sys.maxsize

    def run(self, jobs: Iterable[Job], ended: Callable[[Job, str], Iterable[Job]]) -> None:
        """Run all jobs to their end; `ended` is called with each and how it ended, and may return more."""
        waiting, running = list(jobs), list[tuple[Job, Any]]()
        try:
            while waiting or running:
                with self._together() if waiting else nullcontext():
                    while len(running) < self.slots and (job := self._choose(waiting, bool(running))):
                        waiting.remove(job)
                        running.append((job, self._start(job)))
                for job, handle in list(running):
                    if (how := self._how(handle)) is not None:
                        running.remove((job, handle))
                        waiting += ended(job, how)
                if running:
                    time.sleep(_POLL)
        finally:
            for _, handle in running:  # Ctrl-C and errors here: no job outlives the sweep
                self._stop(handle)

    def _choose(self, waiting: list[Job], others: bool) -> Job | None:
        """Return the job to start next, if one may start now; `others` are running."""
        return waiting[0] if waiting else None

    def _together(self) -> AbstractContextManager[Any]:
        """Context in which the jobs of one round start."""
        return nullcontext()

    @abstractmethod
    def _start(self, job: Job) -> Any:
        """Start a job; return what `_how` and `_stop` know it by."""

    @abstractmethod
    def _how(self, handle: Any) -> str | None:
        """Return how a job ended; None while it runs."""

    @abstractmethod
    def _stop(self, handle: Any) -> None:
        """End a job that runs."""


class InlineEngine(Engine):
    """Runs jobs in this very process with the function `work`, for a debugger and for tests."""

    slots = 1

    def __init__(self, work: Callable[[Job], object]) -> None:
        self.work = work

    def _start(self, job: Job) -> object:
        return self.work(job)

    def _stop(self, handle: object) -> None: ...

    def _how(self, handle: object) -> str:
        return ""  # an error would have ended the sweep


class LocalEngine(Engine):
    """One process per slot: each has a GPU where there are GPUs, else a share of the cores.

    A job that is estimated to need more memory than the machine has left waits for those before it.

    Args:
        slots: processes at a time; None: one per GPU, or one for every four cores.
        accelerator: ``"cpu"`` leaves GPUs alone.
    """

    def __init__(self, slots: int | None = None, accelerator: str = "auto") -> None:
        count = 0 if accelerator == "cpu" else torch.cuda.device_count()
        given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        self.gpus = given[:count] or [str(i) for i in range(count)]
        self.slots = slots or count or max(1, cores() // 4)
        self.threads = max(1, cores() // self.slots)
        self.taken: dict[int, subprocess.Popen[bytes]] = {}

    def _choose(self, waiting: list[Job], others: bool) -> Job | None:
        room = available_mb() if others else math.inf  # alone it is tried, whatever it needs
        return next((job for job in waiting if job.memory_mb <= room), None)

    def _start(self, job: Job) -> int:
        slot = next(slot for slot in range(self.slots) if slot not in self.taken)
        environment = {PARENT: str(os.getpid())}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        elif "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        self.taken[slot] = job.start(**environment)
        return slot

    def _how(self, handle: int) -> str | None:
        if (code := self.taken[handle].poll()) is None:
            return None
        del self.taken[handle]
        if code == -9:
            return "its process was killed (signal 9); the usual reason is that memory ran out"
        return f"its process ended by signal {-code}" if code < 0 else f"its process ended with code {code}"

    def _stop(self, handle: int) -> None:
        self.taken[handle].terminate()
        self.taken[handle].wait()


class SubmititEngine(Engine):
    """Jobs of a cluster, in one array per round.

    submitit carries a command line and nothing else: what a job found is read from its folder, never from
    the pickle that submitit writes.

    Args:
        cluster: ``"slurm"``, or ``"local"`` to try it on this machine.
        folder: for submitit's files and logs.
        options: of ``update_parameters``.
        slots: jobs of an array at a time; None: as many as the cluster gives.
    """

    def __init__(
        self, cluster: str, folder: Path, options: Mapping[str, Any], slots: int | None = None
    ) -> None:
        self.executor = require("submitit", "cluster").AutoExecutor(folder=folder, cluster=cluster)
        options = {"name": "nfas-sweep", "timeout_min": 24 * 60, **options}
        if cluster == "slurm" and slots:
            options["slurm_array_parallelism"] = slots
        self.executor.update_parameters(**options)

    def _together(self) -> AbstractContextManager[Any]:
        batch: AbstractContextManager[Any] = self.executor.batch()
        return batch

    def _start(self, job: Job) -> Any:
        return self.executor.submit(job)

    def _how(self, handle: Any) -> str | None:
        return f"its job ended on the cluster ({handle.state})" if handle.done() else None

    def _stop(self, handle: Any) -> None:
        handle.cancel(check=False)
