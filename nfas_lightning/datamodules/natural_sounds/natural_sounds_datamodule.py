"""Natural sounds as a datamodule: audio, 165 sounds, six response components."""

from __future__ import annotations

import os

from nfas_lightning.data.files import find_folder
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.natural_sounds.natural_sounds_reader import (
    FOLDER,
    NATURAL_SOUNDS_FILES,
    load_natural_sounds,
)

__all__ = ["NaturalSoundsDataModule"]


class NaturalSoundsDataModule(BrainDataModule):
    """Two-second natural sounds and the six components of auditory cortex that answer them.

    Args:
        root: folder that holds ``natsound165/``; None: the environment variable ``NFAS_DATA``.
        seed: of the sounds' order. The files list them by category: None keeps that order, so that folds hold
            out whole categories.
        batch_size: sounds per batch.
        num_workers: worker processes of the loaders.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        seed: int | None = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers)
        self.save_hyperparameters()
        self.root = root
        self.seed = seed

    def prepare_data(self) -> None:
        """Check that the files are there."""
        find_folder(self.root, FOLDER, NATURAL_SOUNDS_FILES)

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read both files; see `natural_sounds_reader.load_natural_sounds`."""
        return load_natural_sounds(self.root, seed=self.seed)
