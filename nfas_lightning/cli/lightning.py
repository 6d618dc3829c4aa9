"""`nfas fit|validate|test|predict`: LightningCLI for single runs and suites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

# imported so that their short names resolve in a config
import nfas_lightning.callbacks
import nfas_lightning.datamodules
import nfas_lightning.models  # noqa: F401
from nfas_lightning.callbacks import ScoreWriter
from nfas_lightning.callbacks.logging import wandb_offline_without_key
from nfas_lightning.results import write_text
from nfas_lightning.runner import SuiteTrainer, quiet_lightning, report_run

__all__ = ["NFASCLI", "SaveRunConfig"]


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
