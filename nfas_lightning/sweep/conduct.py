"""Run a sweep: estimate, hand out jobs, take up after those that died, gather and list."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape

from nfas_lightning.errors import FailureError
from nfas_lightning.results import COLUMNS, RunResults
from nfas_lightning.sweep.cell import Cell
from nfas_lightning.sweep.config import Sweep
from nfas_lightning.sweep.engines import Engine, InlineEngine, Job, LocalEngine, SubmititEngine
from nfas_lightning.sweep.sweep_tables import cost_table, failure_table, not_estimated, plan_table
from nfas_lightning.sweep.work import estimate_key, run_job
from nfas_lightning.terminal import stdout_console
from nfas_lightning.writing import check_folder, load_yaml, remove_abandoned, safe_name, write_text

__all__ = ["SweepReport", "conduct"]


@dataclass(frozen=True)
class SweepReport:
    """How a sweep ended.

    Attributes:
        done: cells that are done.
        failed: one mapping per failure: benchmark, model, error, log, command.
        runs: folders with the gathered tables, one per benchmark with at least one model.
    """

    done: tuple[Cell, ...]
    failed: tuple[dict[str, Any], ...]
    runs: tuple[Path, ...]


def conduct(sweep: Sweep, source: str | Path, *, only_estimate: bool = False) -> SweepReport:
    """Run every cell that is not finished under the present code, data and settings; gather what is done.

    Args:
        sweep: what is run.
        source: its file: a copy lies in the sweep's folder, and jobs read that.
        only_estimate: print what the sweep will take, and run nothing.

    Raises:
        RuntimeError: another process runs a sweep in the same folder.
    """
    cells = sweep.cells  # refuses a sweep that does not add up before anything is written
    out = Path(sweep.run_dir)
    check_folder(out)
    try:
        with FileLock(out / ".sweep.lock", timeout=0):
            for cell in cells:
                remove_abandoned(cell.folder)
            write_text(out / "sweep.yaml", Path(source).read_text(encoding="utf-8"))
            return _conduct(sweep, cells, only_estimate)
    except Timeout as error:
        raise FailureError(f"Another sweep runs in {out}: wait for it, or choose another run_dir.") from error


def _conduct(sweep: Sweep, cells: Sequence[Cell], only_estimate: bool) -> SweepReport:
    console = stdout_console()
    unknown = [cell for cell in cells if not cell.estimate(estimate_key(sweep, cell))]
    _Conductor(sweep, console, probing=True).run(unknown)
    console.print(plan_table(sweep, cells))
    for line in not_estimated(cells):
        console.print(line, markup=False)
    if only_estimate:
        return SweepReport((), (), ())
    _Conductor(sweep, console).run(cells)
    report = _report(sweep, cells)
    console.print(cost_table(cells))
    if report.failed:
        console.print(failure_table(report.failed))
    counts = f"{len(report.done)} of {len(cells)} done, {len(report.failed)} failed: {sweep.run_dir}"
    console.print(counts, markup=False)
    for line in _next_commands(
        report.runs, out=sweep.run_dir
    ):  # longer than the terminal: whole, to be copied
        console.print(f"Their space: {line}", soft_wrap=True, markup=False, highlight=False)
    return report


def _next_commands(runs: Sequence[Path], out: str) -> list[str]:
    """Return the commands that join runs into spaces: a space has one ROI axis, and each model once."""
    spaces: list[tuple[list[str], set[str], list[str]]] = []  # ROIs, models, folders
    for run in runs:
        rois = sorted(pd.read_parquet(run / "rois.parquet")["roi"])
        models = set(pd.read_parquet(run / "models.parquet")["model"])
        joined = next((s for s in spaces if s[0] == rois and not s[1] & models), None)
        if joined is None:
            spaces.append((rois, models, [str(run)]))
        else:
            joined[1].update(models)
            joined[2].append(str(run))
    names = ["space"] if len(spaces) == 1 else [f"space-{number + 1}" for number in range(len(spaces))]
    folders = (str(Path(out) / name) for name in names)
    return [
        f"nfas space {shlex.join([*own, '--out', folder])}"
        for (*_, own), folder in zip(spaces, folders, strict=True)
    ]


class _Conductor:
    """Hands out jobs and takes up after those that died."""

    def __init__(self, sweep: Sweep, console: Console, *, probing: bool = False) -> None:
        self.sweep, self.console, self.probing = sweep, console, probing
        self.out = Path(sweep.run_dir)
        self.count = 0
        self.before: dict[Path, Any] = {}

    def run(self, cells: Sequence[Cell]) -> None:
        """Run the cells; afterwards each is done or failed, or has an estimate or the reason of none."""
        if not cells:
            return
        self.before = {cell.folder: cell.status().get("mark") for cell in cells}
        engine = self._engine()
        jobs = self._jobs(cells, engine.slots if isinstance(engine, LocalEngine) else 1)
        what = f"{'Estimating' if self.probing else 'Running'} {len(cells)} models x benchmarks"
        self.console.print(f"{what} in {len(jobs)} jobs; logs: {self.out}/logs", markup=False)
        engine.run(jobs, self._ended)

    def _engine(self) -> Engine:
        sweep = self.sweep
        if sweep.cluster is None:
            return LocalEngine(sweep.slots, sweep.accelerator)
        if sweep.cluster != "inline":
            return SubmititEngine(sweep.cluster, self.out / "submitit", sweep.cluster_options, sweep.slots)
        return InlineEngine(lambda job: run_job(sweep, sweep.choose(job.name), only_estimate=self.probing))

    def _jobs(self, cells: Iterable[Cell], slots: int) -> list[Job]:
        """Groups of one benchmark each, as even as can be; the longest first, so that none trails behind."""
        jobs = []
        groups = [list(group) for _, group in groupby(cells, key=lambda cell: cell.benchmark)]
        for group in groups:
            fewest = math.ceil(len(group) / self.sweep.models_per_job)
            count = max(fewest, min(slots, len(group)) if len(groups) < slots else 1)
            ordered = sorted(group, key=_seconds, reverse=True)
            jobs += [self._job(ordered[i::count]) for i in range(count)]
        return [job for _, job in sorted(jobs, key=lambda pair: -pair[0])]

    def _job(self, cells: Sequence[Cell]) -> tuple[float, Job]:
        labels = tuple(cell.spec.label for cell in cells)
        name = f"{cells[0].benchmark}:{','.join(labels)}"
        plan = ["--plan"] if self.probing else []
        command = [sys.executable, *_arguments(self.sweep), "--job", name, *plan]
        self.count += 1
        kind = "plan" if self.probing else "run"
        log = self.out / "logs" / f"{kind}-{safe_name(cells[0].benchmark)}-{self.count:03d}.log"
        memory = max((cell.estimate().get("memory_mb", 0.0) for cell in cells), default=0.0)
        return sum(map(_seconds, cells)), Job(name, command, log, memory)

    def _ended(self, job: Job, how: str) -> list[Job]:
        """Say what became of a job's cells; one that died takes the blame, those after it run again."""
        cells = self.sweep.choose(job.name)
        if self.probing:
            for cell in cells:
                if not cell.estimate():
                    cell.keep_estimate({"error": f"not probed: {how}"})
            return []
        left = []
        for cell in cells:
            state = self._state(cell)
            if state == "running":
                cell.say("failed", error=f"While this model ran, {how or 'its job ended'}.", log=str(job.log))
            elif state == "waiting":
                left.append(cell)
            status = cell.status()
            mark = {"done": "[green]✓[/]", "failed": "[red]✗[/]"}.get(status["state"], "")
            if mark:
                self.console.print(
                    f"{mark} {escape(cell.name)}{' (found finished)' if status.get('found') else ''}"
                )
        if len(left) == len(cells):  # it died before its first model: it would again
            for cell in left:
                error = f"No model was reached, {how or 'its job ended'}. {_tail(job.log)}"
                cell.say("failed", error=error, log=str(job.log))
                self.console.print(f"[red]✗[/] {escape(cell.name)}")
            return []
        return [self._job(left)[1]] if left else []

    def _state(self, cell: Cell) -> str:
        """State of a cell in this run: what an earlier one wrote down counts as waiting."""
        status = cell.status()
        return "waiting" if status.get("mark") == self.before[cell.folder] else str(status["state"])


def _arguments(sweep: Sweep) -> list[str]:
    """What follows Python on the command line of a job, up to its name."""
    file = str(Path(sweep.run_dir) / "sweep.yaml")
    anew = [] if sweep.resume else ["--no_resume"]
    anew += ["--no_cache"] if sweep.cache is False else []
    return ["-m", "nfas_lightning", "sweep", file, "--run_dir", sweep.run_dir, *anew]


def _seconds(cell: Cell) -> float:
    found = cell.estimate()
    return float(found.get("seconds_forward", 0.0)) + float(found.get("seconds_scoring", 0.0))


def _report(sweep: Sweep, cells: Sequence[Cell]) -> SweepReport:
    """Gather what is done into one run per benchmark, and write down what failed."""
    out, runs = Path(sweep.run_dir), []
    done = [cell for cell in cells if cell.status()["state"] == "done"]
    failed = []
    for cell in cells:
        if (status := cell.status())["state"] != "done":
            command = [Path(sys.executable).name, *_arguments(sweep), "--job", cell.name]
            failed.append(
                {
                    "benchmark": cell.benchmark,
                    "model": cell.spec.label,
                    "error": status.get("error", "it did not run"),
                    "traceback": status.get("traceback", ""),
                    "log": status.get("log", ""),
                    "command": shlex.join(command),
                }
            )
    write_text(out / "failures.json", json.dumps(failed, indent=1))
    for name in sweep.benchmarks:
        own = [cell for cell in done if cell.benchmark == name]
        if not own:
            continue
        meta = {
            "name": f"{out.name}/{name}",
            "models": len(own),
            "failed": [failure["model"] for failure in failed if failure["benchmark"] == name],
            "sweep": load_yaml((out / "sweep.yaml").read_text(encoding="utf-8")),
        }
        results = RunResults.concatenate([_named(cell) for cell in own], meta)
        results.save(out / name)
        runs.append(out / name)
    return SweepReport(tuple(done), tuple(failed), tuple(runs))


def _named(cell: Cell) -> RunResults:
    """A cell's tables under its label: two modules of one class have one name on their cards."""
    results = RunResults.load(cell.folder)
    tables = {name: getattr(results, name).assign(model=cell.spec.label) for name in COLUMNS}
    return replace(results, **tables)


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return " / ".join(text.strip().splitlines()[-3:])
