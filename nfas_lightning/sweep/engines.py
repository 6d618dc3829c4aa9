"""Where jobs run: processes of this machine, or a cluster through submitit."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from nfas_lightning.models.optional import require
from nfas_lightning.runner.memory import available_mb
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


Ended = Callable[[Job, str], Iterable[Job]]
"""Called with a job that ended and how; returns jobs to run in its place."""


class Engine(ABC):
    """Runs jobs; `ended` is told of each and may ask for others."""

    @abstractmethod
    def run(self, jobs: Iterable[Job], ended: Ended) -> None:
        """Run all jobs to their end, those that `ended` returns included."""


class InlineEngine(Engine):
    """Runs jobs in this very process, for a debugger and for tests.

    Args:
        work: runs one job.
    """

    def __init__(self, work: Callable[[Job], object]) -> None:
        self.work = work

    def run(self, jobs: Iterable[Job], ended: Ended) -> None:
        """See the base class."""
        waiting = list(jobs)
        while waiting:
            job = waiting.pop(0)
            self.work(job)
            waiting += ended(job, "")


class LocalEngine(Engine):
    """One process per slot: each has a GPU where there are GPUs, else a share of the cores.

    A job that is estimated to need more memory than the machine has left waits for those before it.

    Args:
        slots: processes at a time; None: one per GPU, or one for every four cores.
        accelerator: ``"cpu"`` leaves GPUs alone.
    """

    def __init__(self, slots: int | None = None, accelerator: str = "auto") -> None:
        self.gpus = 0 if accelerator == "cpu" else torch.cuda.device_count()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.slots = slots or self.gpus or max(1, cores // 4)
        self.threads = max(1, cores // self.slots)

    def run(self, jobs: Iterable[Job], ended: Ended) -> None:
        """See the base class."""
        waiting, running = list(jobs), dict[int, tuple[Job, subprocess.Popen[bytes], IO[bytes]]]()
        try:
            while waiting or running:
                free = [slot for slot in range(self.slots) if slot not in running]
                if waiting and free and (job := self._next(waiting, bool(running))):
                    waiting.remove(job)
                    running[free[0]] = (job, *self._start(job, free[0]))
                    continue
                time.sleep(_POLL)
                for slot, (job, process, log) in list(running.items()):
                    if process.poll() is not None:
                        log.close()
                        del running[slot]
                        waiting += ended(job, _how(process.returncode))
        finally:
            # Ctrl-C and errors here: no process outlives the sweep
            for _, process, log in running.values():
                process.terminate()
                process.wait()
                log.close()

    def _next(self, waiting: list[Job], others: bool) -> Job | None:
        if not others:
            return waiting[0]
        room = available_mb()
        return next((job for job in waiting if job.memory_mb <= room), None)

    def _start(self, job: Job, slot: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        environment = {**os.environ, PARENT: str(os.getpid()), "NFAS_SWEEP_LOG": str(job.log)}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = _device(slot % self.gpus)
        else:
            environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("ab")
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        return process, log


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
        self.submitit = require("submitit", "cluster")
        self.executor = self.submitit.AutoExecutor(folder=folder, cluster=cluster)
        options = {"name": "nfas-sweep", "timeout_min": 24 * 60, **options}
        if cluster == "slurm" and slots:
            options["slurm_array_parallelism"] = slots
        self.executor.update_parameters(**options)

    def run(self, jobs: Iterable[Job], ended: Ended) -> None:
        """See the base class."""
        pending = self._submit(list(jobs))
        try:
            while pending:
                time.sleep(_POLL)
                for job, handle in list(pending):
                    if not handle.done():
                        continue
                    pending.remove((job, handle))
                    pending += self._submit(
                        list(ended(job, f"its job ended on the cluster ({handle.state})"))
                    )
        except BaseException:
            for _, handle in pending:
                handle.cancel(check=False)
            raise

    def _submit(self, jobs: list[Job]) -> list[tuple[Job, Any]]:
        if not jobs:
            return []
        with self.executor.batch():
            handles = [self.executor.submit(_Command(job.command, str(job.log))) for job in jobs]
        return list(zip(jobs, handles, strict=True))


class _Command:
    """A job's command line, run with its output in the job's log."""

    def __init__(self, command: list[str], log: str) -> None:
        self.command, self.log = command, log

    def __call__(self) -> int:
        Path(self.log).parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "NFAS_SWEEP_LOG": self.log}
        with open(self.log, "ab") as log:
            return subprocess.run(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode


def _device(index: int) -> str:
    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return given[index] if given else str(index)


def _how(code: int) -> str:
    if code == -9:
        return "its process was killed (signal 9); the usual reason is that memory ran out"
    return f"its process ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
