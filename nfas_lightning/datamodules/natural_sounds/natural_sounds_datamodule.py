"""Natural sounds as a datamodule: audio, 165 sounds, six response components."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from nfas_lightning.data.files import find_folder, sha256_file
from nfas_lightning.data.regions.cleaning import zscore
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.acoustics import sound_power, spectral_centroid
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.natural_sounds import BENCHMARK
from nfas_lightning.datamodules.natural_sounds.natural_sounds_reader import NATURAL_SOUNDS_FILES, read_sounds


class NaturalSoundsDataModule(BrainDataModule):
    """165 sounds of two seconds, and the six components of auditory cortex that answer them.

    The components, z-scored, were inferred from the voxels of ten listeners together: there is one "subject",
    no noise ceiling, one network, ``Auditory``, and no coordinates, since they spread over both hemispheres.

    Args:
        root: folder that holds ``natsound165/``; None: the environment variable ``NFAS_DATA``.
        seed: of the sounds' order. The files list them by category: None keeps that order, so that folds hold
            out whole categories.
        **options: of `BrainDataModule`: batch_size, num_workers and more.

    Reference:
        Norman-Haignere et al. (2015), Neuron 88, doi:10.1016/j.neuron.2015.11.035.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, seed: int | None = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        self.root, self.seed = root, seed

    def prepare_data(self) -> None:
        """Check that the files are there."""
        find_folder(self.root, BENCHMARK.folder, NATURAL_SOUNDS_FILES)

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read both files: one response per sound, no time axis."""
        folder = find_folder(self.root, BENCHMARK.folder, NATURAL_SOUNDS_FILES)
        names, components, brain, sound = read_sounds(folder)
        order = np.arange(len(names))
        if self.seed is not None:
            order = np.random.default_rng(self.seed).permutation(len(names))
        rate = int(sound["sr"])
        stimuli = StimulusSet(torch.from_numpy(sound["audio"][order]), "audio", sampling_rate=rate)
        waves = torch.stack([stimuli[i][1] for i in range(len(stimuli))])
        pitch = spectral_centroid(waves, rate).clamp_min(1.0).log2()
        return stimuli, Responses(
            values=zscore(torch.from_numpy(brain["R"][order]).double()).float()[None],
            rois=roi_table(components, network="Auditory"),
            stimulus_ids=tuple(names[i] for i in order),
            dataset="natural_sounds",
            modality="audio",
            subjects=("components",),
            runs=torch.zeros(len(names), dtype=torch.long),
            nuisances=torch.stack([sound_power(waves), pitch], dim=1),
            nuisance_names=("sound_power_db", "spectral_centroid_log2_hz"),
            hashes={file: sha256_file(folder / file) for file in NATURAL_SOUNDS_FILES}
            | {"stimuli": stimuli.sha256()},
        )
