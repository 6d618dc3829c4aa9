"""Alice as a datamodule: language, 27 listeners, six ROIs, twelve minutes."""

from __future__ import annotations

import os
from typing import Literal

from nfas_lightning.data.files import find_folder
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.alice.alice_reader import ALICE_FILES, FOLDER, load_alice
from nfas_lightning.datamodules.base import BrainDataModule

__all__ = ["AliceDataModule"]


class AliceDataModule(BrainDataModule):
    """Words of a story, each with the words before it, and the listeners' cleaned ROI time series.

    Args:
        root: folder that holds ``alice_fmri/``; None: the environment variable ``NFAS_DATA``.
        window: words of context before each word; 0 shows the word alone.
        radius: of the ROI spheres, ``"6mm"`` or ``"10mm"``.
        temporal: ``"hrf"`` convolves with a haemodynamic response, ``"fir"`` stacks `delays`.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes of 2 s.
        high_pass: cut-off of the drift filter in Hz, None for none.
        confounds: regress out six motion parameters and their changes.
        drop_volumes: volumes dropped at the start.
        batch_size: words per batch.
        num_workers: worker processes of the loaders.
        subjects: listeners to keep; None: all.
        event_rate: make the rate of events a nuisance, see `Responses.with_event_rate`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        window: int = 20,
        radius: Literal["6mm", "10mm"] = "6mm",
        temporal: Literal["hrf", "fir"] = "hrf",
        hrf: Literal["spm", "glover"] = "spm",
        delays: tuple[int, ...] = (1, 2, 3, 4),
        high_pass: float | None = 1 / 128,
        confounds: bool = True,
        drop_volumes: int = 10,
        batch_size: int = 64,
        num_workers: int = 0,
        subjects: list[str] | None = None,
        event_rate: bool = True,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, subjects=subjects, event_rate=event_rate
        )
        self.save_hyperparameters()
        self.root = root
        self.window = window
        self.radius = radius
        self.temporal = temporal
        self.hrf = hrf
        self.delays = delays
        self.high_pass = high_pass
        self.confounds = confounds
        self.drop_volumes = drop_volumes

    def prepare_data(self) -> None:
        """Check that the files are there."""
        find_folder(self.root, FOLDER, ALICE_FILES)

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read and clean; see `nfas_lightning.datamodules.alice.alice_reader.load_alice`."""
        return load_alice(
            self.root,
            window=self.window,
            radius=self.radius,
            temporal=self.temporal,
            hrf=self.hrf,
            delays=self.delays,
            high_pass=self.high_pass,
            confounds=self.confounds,
            drop_volumes=self.drop_volumes,
            subjects=self.subjects,
        )
