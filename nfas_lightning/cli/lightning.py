"""`nfas fit|validate|test|predict`: LightningCLI for single runs and suites."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# imported so that their short names resolve in a config, as those below
import nfas_lightning.callbacks
import nfas_lightning.datamodules
import nfas_lightning.models.suite
from nfas_lightning.callbacks import ScoreWriter
from nfas_lightning.callbacks.wandb_runs import forget_anonymous, wandb_offline_without_key
from nfas_lightning.cli.check_config import check_lightning
from nfas_lightning.cli.messages import PlainErrors, is_message, missing_file, refusing
from nfas_lightning.leaderboard import leaderboard
from nfas_lightning.runner import SuiteTrainer, quiet_lightning, report_run
from nfas_lightning.versions import installed_version
from nfas_lightning.writing import staging_file

__all__ = ["NFASCLI", "SaveRunConfig"]

for _name in dir(nfas_lightning.datamodules):  # which are imported when they are named
    getattr(nfas_lightning.datamodules, _name)

_CHECKPOINT_WORDS = ("best", "last", "hpc", "registry")  # Lightning looks for the file itself
_REQUIRED = {"model": LightningModule, "data": LightningDataModule}
_CLASSES = {**_REQUIRED, "optimizer": Optimizer, "lr_scheduler": LRScheduler}
_TITLES = {
    "trainer": "The Trainer: --trainer.OPTION",
    "model": "The model: --model NAME, --model.OPTION",
    "data": "The data module: --data NAME, --data.OPTION",
    "optimizer": "The optimizer of fit",
    "lr_scheduler": "The learning rate scheduler of fit",
}


class SaveRunConfig(SaveConfigCallback):
    """Keep the config beside the results, numbered, so that an earlier run's is never overwritten."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml, or config-1.yaml and so on where another config stands already."""
        writers = [c for c in trainer.callbacks if isinstance(c, ScoreWriter)]  # type: ignore[attr-defined]
        folder = Path(writers[0].run_dir if writers else trainer.log_dir or trainer.default_root_dir)
        keep_numbered(folder, self.parser.dump(self.config, skip_unset=False))


def keep_numbered(folder: Path, text: str) -> Path:
    """Write a config under the first of config.yaml, config-1.yaml, ... that is free, or holds the same.

    The file appears whole, and never over another: two runs that start at once get a file each.
    """
    with staging_file(folder / "config.yaml") as staging:
        staging.write_text(text, encoding="utf-8")
        number = 0
        while True:
            path = folder / (f"config-{number}.yaml" if number else "config.yaml")
            try:
                os.link(staging, path)
            except FileExistsError:
                if path.is_file() and path.read_text(encoding="utf-8") == text:
                    return path
                number += 1
                continue
            return path


class NFASParser(LightningArgumentParser, PlainErrors):
    """Lightning's parser with plain errors.

    Lightning calls three methods of jsonargparse by names and options from before 4.49, each of which warns:
    here the calls arrive at the present ones.
    """

    _instantiating: tuple[tuple[Any, type, bool], ...] = ()

    def add_instantiator(
        self, instantiator: Any, class_type: type, subclasses: bool = True, prepend: bool = False
    ) -> None:
        """Keep what makes objects of a class until `instantiate_classes`."""
        entry = ((instantiator, class_type, subclasses),)
        self._instantiating = entry + self._instantiating if prepend else self._instantiating + entry

    def instantiate_classes(self, cfg: Any, **kwargs: Any) -> Any:
        """Build what a config asks for."""
        return self.instantiate(cfg, instantiators=self._instantiating or None, **kwargs)

    def dump(self, *args: Any, skip_none: bool | None = None, **kwargs: Any) -> str:
        """Return a config as text."""
        if skip_none is not None:
            kwargs["skip_unset"] = skip_none
        return str(super().dump(*args, **kwargs))


class NFASCLI(LightningCLI):
    """LightningCLI whose Trainer tests suites, and whose saved configs pile up instead of clashing."""

    def __init__(self, args: Sequence[str], configs: Sequence[Mapping[str, Any]] = ()) -> None:
        self._configs = configs
        self.found: Any = None  # the leaderboard of what was tested, or else the metrics
        self._asked = {args[0]} & set(LightningCLI.subcommands()) if args else set()
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
            parser_class=NFASParser,
            args=list(args),
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static in Lightning, which asks self
        """Return the command that was asked for, if there is one: a parser takes as long as the rest."""
        return {k: v for k, v in LightningCLI.subcommands().items() if not self._asked or k in self._asked}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Check names and values, then parse; Lightning's own would warn of the process's arguments."""
        if args and args[0] in self._subcommand_parsers and not {"-h", "--help"} & set(args):
            actions = self._subcommand_parsers[args[0]]._actions
            flags = [text for action in actions for text in action.option_strings if text.startswith("--")]
            with refusing(f"nfas {args[0]}"):
                check_lightning(args[1:], self._configs, flags, SuiteTrainer, _CLASSES, tuple(_REQUIRED))
        self.config = parser.parse_args(args)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Name the command, and the versions on top of a saved config."""
        names = ("nfas-lightning", "torch", "pytorch-lightning")
        kwargs.setdefault("prog", "nfas")  # python -m nfas_lightning would be called by its file
        kwargs.setdefault("dump_header", [f"{name}=={installed_version(name)}" for name in names])
        return super().init_parser(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Quiet defaults: nothing is written but what callbacks and loggers of the config write."""
        parser.set_defaults({"trainer.logger": False, "trainer.enable_checkpointing": False})

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for group in parser._action_groups:
            name = next((a.dest.partition(".")[0] for a in group._group_actions if a.dest), "")
            group.title = _TITLES.get(name, group.title)
        if subcommand == "predict":  # Lightning's own default keeps every prediction in memory
            parser.set_defaults({"return_predictions": False})
        return parser

    def _parse_ckpt_path(self) -> None:
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path and str(path) not in _CHECKPOINT_WORDS and "://" not in str(path) and not Path(path).exists():
            self._parser(subcommand).error(f"--ckpt_path: {missing_file(path)}")
        super()._parse_ckpt_path()

    def instantiate_classes(self) -> None:
        """Build what the config asks for; an option that a class refuses is an error of the config."""
        try:
            super().instantiate_classes()
            forget_anonymous(self.trainer.loggers)
        except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything; not hidden
            cause = _first_cause(error)
            if not is_message(cause):
                raise cause from None  # without the lists of types that jsonargparse puts around it
            self._parser(self.subcommand).error(str(cause), error)

    def after_test(self) -> None:
        """Print the tables and write the report of a suite that has been tested."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ScoreWriter) and callback.results is not None:
                report_run(callback.results, callback.run_dir, self.trainer.loggers)
                self.found = leaderboard(callback.results)


def _first_cause(error: BaseException) -> BaseException:
    """The error that others were made of: jsonargparse wraps what a class raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
