"""Toy tones as a datamodule."""

from __future__ import annotations

import os

from nfas_lightning.data.files import find_folder
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules import BrainDataModule

from . import BENCHMARK
from .toy_tones_reader import FILES, load_toy_tones


class ToyTonesDataModule(BrainDataModule):
    """Twelve sounds and the responses of three ROIs.

    Args:
        root: folder that holds ``toy_tones/``; None: the environment variable ``NFAS_DATA``.
        batch_size: sounds per batch.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, batch_size: int = 16) -> None:
        super().__init__(batch_size=batch_size)
        self.save_hyperparameters()
        self.root = root

    def prepare_data(self) -> None:
        """Check that the files are there."""
        find_folder(self.root, BENCHMARK.folder, tuple(FILES))

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the archive."""
        return load_toy_tones(find_folder(self.root, BENCHMARK.folder, tuple(FILES)))
