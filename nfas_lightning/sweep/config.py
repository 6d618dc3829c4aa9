"""A sweep as its file has it, and its cells: one per model and benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from nfas_lightning.callbacks.depth_trajectory import DepthTrajectory
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.sweep.cell import Cell
from nfas_lightning.sweep.model_specs import ModelSpec, instantiate, resolve_models
from nfas_lightning.writing import load_yaml, safe_name

__all__ = ["Benchmark", "Sweep", "read_sweep"]

_OWN_FOLDERS = ("cells", "logs", "submitit")  # of a sweep, beside those of its benchmarks


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of a sweep.

    Attributes:
        modality: models of this modality meet it.
        data: the benchmark; its constructor reads nothing.
        settings: how its trajectories are scored; None: the sweep's own.
    """

    modality: str
    data: BrainDataModule
    settings: ScoringSettings | None = None


@dataclass(frozen=True)
class Sweep:
    """Models x benchmarks, and how they are run.

    Attributes:
        models: names, patterns, config files or mappings, see `resolve_models`.
        benchmarks: by name; a model meets those of its modality.
        run_dir: folder of the results.
        settings: how trajectories become scores.
        random_twins: also run each model's architecture without its training.
        seed: of the random twins.
        dtype: of the recorded states, see `DepthTrajectory`.
        precision: of the forward passes, see Lightning's Trainer.
        accelerator: see Lightning's Trainer.
        slots: processes at a time; None: one per GPU, or one for every four cores.
        models_per_job: models that share a process, and with it one reading of a benchmark.
        share_gb: decoded stimuli are kept in memory for the models of a job, up to so many gigabytes.
        cluster: ``"slurm"``, or ``"local"``, to hand jobs to submitit; None: processes on this machine;
            ``"inline"``: this very process, one job after another, for a debugger.
        cluster_options: of submitit's ``update_parameters``, e.g. ``{"timeout_min": 240, "mem_gb": 32}``.
        resume: take finished results, and states that are kept; False: compute every model anew, and replace
            them.
        cache: folder that keeps states, true for the usual one, see `CaptureCache`; false: none.
    """

    models: list[str | dict[str, Any]]
    benchmarks: dict[str, Benchmark]
    run_dir: str = "runs/sweep"
    settings: ScoringSettings = field(default_factory=ScoringSettings)
    random_twins: bool = True
    seed: int = 0
    dtype: str = "float32"
    precision: str = "32-true"
    accelerator: str = "auto"
    slots: int | None = None
    models_per_job: int = 8
    share_gb: float = 4.0
    cluster: Literal["slurm", "local", "inline"] | None = None
    cluster_options: dict[str, Any] = field(default_factory=dict)
    resume: bool = True
    cache: bool | str = True

    def __post_init__(self) -> None:
        DepthTrajectory(dtype=self.dtype)  # refuses a type of states that it can't keep
        if self.models_per_job < 1 or (self.slots is not None and self.slots < 1):
            raise InputError(
                f"models_per_job and slots must be at least 1, got {self.models_per_job} and {self.slots}."
            )
        if not self.benchmarks:
            raise InputError("benchmarks must name at least one benchmark, got none.")
        for name, benchmark in self.benchmarks.items():
            if safe_name(name.lower()) != name.lower() or name.lower() in _OWN_FOLDERS:
                raise InputError(
                    "A benchmark's name is that of its folder: at most 60 letters, digits, . _ -, "
                    f"without a dot at its ends, and none of {', '.join(_OWN_FOLDERS)}; got {name!r}."
                )
            check_option("modality", benchmark.modality, MODALITIES)
        lower = [name.lower() for name in self.benchmarks]
        if alike := [name for name in self.benchmarks if lower.count(name.lower()) > 1]:
            raise InputError(f"Names of benchmarks must differ in more than capitals, got {alike}.")

    @cached_property
    def specs(self) -> list[ModelSpec]:
        """The models, resolved."""
        return resolve_models(self.models)

    @cached_property
    def cells(self) -> list[Cell]:
        """One cell per benchmark and model of its modality, benchmark by benchmark.

        Raises:
            ValueError: a model that meets no benchmark, or a benchmark that no model meets.
        """
        cells = [
            Cell(name, spec, Path(self.run_dir) / "cells" / name / safe_name(spec.label))
            for name, benchmark in self.benchmarks.items()
            for spec in self.specs
            if spec.modality == benchmark.modality
        ]
        idle = [spec.label for spec in self.specs if spec.label not in {c.spec.label for c in cells}]
        if idle:
            met = sorted({benchmark.modality for benchmark in self.benchmarks.values()})
            raise InputError(f"No benchmark is of the modality of {idle}: the benchmarks' are {met}.")
        empty = [name for name in self.benchmarks if name not in {cell.benchmark for cell in cells}]
        if empty:
            raise InputError(
                f"No model is of the modality of the benchmarks {empty}: drop them or add models."
            )
        return cells

    def choose(self, job: str) -> list[Cell]:
        """Return the cells of a job, ``"benchmark:model,model"``; without models, all of the benchmark's.

        Raises:
            ValueError: a benchmark or a model that this sweep does not have.
        """
        benchmark, _, labels = job.partition(":")
        own = {cell.spec.label: cell for cell in self.cells if cell.benchmark == benchmark}
        if not own:
            raise InputError(f"The sweep has no benchmark {benchmark!r}: it has {list(self.benchmarks)}.")
        wanted = labels.split(",") if labels else list(own)
        if unknown := [label for label in wanted if label not in own]:
            raise InputError(f"No model of {benchmark} is called {unknown}: there are {list(own)}.")
        return [own[label] for label in wanted]

    def scoring(self, benchmark: str) -> ScoringSettings:
        """Settings of a benchmark: its own, else the sweep's."""
        return self.benchmarks[benchmark].settings or self.settings


def read_sweep(
    path: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    parser: ArgumentParser | None = None,
) -> Sweep:
    """Read a sweep's file.

    Args:
        path: YAML with the attributes of `Sweep`.
        changes: values that take the place of the file's.
        parser: one whose errors are to be shown; None: errors are raised.

    Raises:
        ArgumentError: a key or value that no sweep has, where no `parser` is given.
    """
    parser = parser or ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Sweep)  # without a group of their own: an error names keys as the file does
    given = load_yaml(Path(path).read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise InputError(
            f"{path} must hold keys and values (models:, benchmarks:), got {type(given).__name__}."
        )
    built = instantiate(parser, parser.parse_object({**given, **(changes or {})}))
    return Sweep(**{field.name: built[field.name] for field in fields(Sweep)})
