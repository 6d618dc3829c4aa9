"""The `nfas` command: LightningCLI for single runs and suites, and the commands beside it."""

from nfas_lightning.cli.main import main

__all__ = ["main"]
