"""The `nfas` command: LightningCLI for single runs and suites, and the commands beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from rich.console import Console
from rich.table import Column, Table

# imported so that their short names resolve in a config
import nfas_lightning.callbacks
import nfas_lightning.datamodules
import nfas_lightning.models  # noqa: F401
from nfas_lightning.callbacks import ScoreWriter
from nfas_lightning.callbacks.logging import wandb_offline_without_key
from nfas_lightning.demo import demo
from nfas_lightning.models.packaged import PACKAGED
from nfas_lightning.results import RunResults, write_text
from nfas_lightning.runner import SuiteTrainer, quiet_lightning, report_run

__all__ = ["NFASCLI", "SaveRunConfig", "main"]


class SaveRunConfig(SaveConfigCallback):
    """Keep the config beside the results, numbered, so that an earlier run's is never overwritten."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml, or config-1.yaml and so on where another config stands already."""
        writers = [c for c in trainer.callbacks if isinstance(c, ScoreWriter)]  # type: ignore[attr-defined]
        folder = Path(writers[0].run_dir if writers else trainer.log_dir or trainer.default_root_dir)
        text = self.parser.dump(self.config, skip_none=False)
        for number in range(1000):
            path = folder / (f"config-{number}.yaml" if number else "config.yaml")
            if not path.exists():
                write_text(path, text)
                return
            if path.read_text() == text:
                return


class NFASCLI(LightningCLI):
    """LightningCLI whose Trainer tests suites, and whose saved configs pile up instead of clashing."""

    def __init__(self, args: Sequence[str] | None = None) -> None:
        wandb_offline_without_key()
        quiet_lightning()
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=SaveRunConfig,
            # the base class would refuse to go on where a config stands already
            save_config_kwargs={"save_to_log_dir": False},
            trainer_class=SuiteTrainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            args=list(args) if args is not None else None,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Quiet defaults: nothing is written but what callbacks and loggers of the config write."""
        parser.set_defaults({"trainer.logger": False, "trainer.enable_checkpointing": False})

    def after_test(self) -> None:
        """Print the tables and write the report of a suite that has been tested."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ScoreWriter) and callback.results is not None:
                report_run(callback.results, callback.run_dir, self.trainer.loggers)


def space(
    runs: list[str], *, out: str = "runs/space", feature: str = "stable_mode", value: str = "r2"
) -> None:
    """Join finished runs into one space of models and write its report.

    Args:
        runs: folders of finished runs; their ROIs are joined by id.
        out: folder of the report and the joined tables.
        feature: which feature's scores place a model.
        value: ``r2`` or ``r``.
    """
    joined = RunResults.concatenate([RunResults.load(run) for run in runs], meta={"name": Path(out).name})
    joined.save(out)
    report_run(joined, out, feature=feature, value=value)


def models() -> None:
    """List the pretrained models whose weights come inside registry packages."""
    name = Column("name", no_wrap=True)
    table = Table(name, "modality", "family", "parameters", "download", "licence", title="Packaged models")
    for entry in PACKAGED.values():
        size = f"{entry.parameters / 1e6:.1f} M", f"{entry.size_mb:.0f} MB"
        table.add_row(entry.name, entry.modality, entry.family, *size, entry.licence)
    Console().print(table)


_USAGE = """Neural Functional Alignment Space

  nfas demo                          pretrained models in a simulated brain space, and a report
  nfas test --config CONFIG          score a model or a suite of models on a benchmark
  nfas fit|validate|predict --config CONFIG
                                     the other commands of LightningCLI
  nfas space RUN [RUN ...]           join finished runs into one space and its report
  nfas models                        list the pretrained models that registry packages carry

`nfas COMMAND --help` lists the options of a command."""

_COMMANDS: dict[str, Callable[..., Any]] = {"demo": demo, "space": space, "models": models}


def _run_command(name: str, args: list[str]) -> None:
    command = _COMMANDS[name]
    parser = ArgumentParser(prog=f"nfas {name}", description=(command.__doc__ or "").split("\n")[0])
    parser.add_argument("--config", action="config", help="options from a YAML file")
    if "runs" in signature(command).parameters:
        parser.add_argument("runs", nargs="+", help="folders of finished runs")
    parser.add_function_arguments(command, skip={"runs"}, as_group=False)
    options = parser.parse_args(args)
    options.pop("config")
    command(**options.as_dict())


def main(args: Sequence[str] | None = None) -> None:
    """Run the `nfas` command.

    Args:
        args: arguments; None takes those of the process.
    """
    given = list(sys.argv[1:] if args is None else args)
    if given and given[0] in _COMMANDS:
        _run_command(given[0], given[1:])
        return
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE)
        return
    NFASCLI(None if args is None else given)


if __name__ == "__main__":
    main()
