"""165 natural sounds and the six response components of auditory cortex (Norman-Haignere et al. 2015)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nfas_lightning.data.files import find_folder, read_npz, sha256_file
from nfas_lightning.data.regions.cleaning import zscore
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.acoustics import sound_power, spectral_centroid
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.natural_sounds import BENCHMARK
from nfas_lightning.errors import InputError

__all__ = ["FOLDER", "NATURAL_SOUNDS_FILES", "load_natural_sounds", "read_sounds"]

FOLDER = BENCHMARK.folder
NATURAL_SOUNDS_FILES = ("components.npz", "sounds_16k.npz")


def read_sounds(
    folder: Path,
) -> tuple[list[str], list[str], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read both archives: names of sounds and of components, and the arrays of either file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is incomplete, or the two list the sounds in different orders.
    """
    brain = read_npz(
        folder / "components.npz", {"R": (None, None), "component_names": (None,), "stim_names": (None,)}
    )
    sound = read_npz(folder / "sounds_16k.npz", {"audio": (None, None), "sr": (), "names": (None,)})
    names = [str(name) for name in brain["stim_names"]]
    components = [str(name) for name in brain["component_names"]]
    if brain["R"].shape != (len(names), len(components)):
        raise InputError(
            f"components.npz: R must have one row per sound and one column per component, ({len(names)}, "
            f"{len(components)}), got {brain['R'].shape}."
        )
    if len(sound["audio"]) != len(names) or [str(name) for name in sound["names"]] != names:
        raise InputError(
            f"sounds_16k.npz and components.npz must list the same sounds in the same order, got "
            f"{len(sound['audio'])} and {len(names)}. Row i of R belongs to sound i."
        )
    return names, components, brain, sound


def load_natural_sounds(
    root: str | os.PathLike[str] | None = None, *, seed: int | None = 0
) -> tuple[StimulusSet, Responses]:
    """Read sounds and component responses, one response per sound, no time axis.

    The components were inferred from the voxels of ten listeners together, so there is one "subject" and no
    noise ceiling; their network is ``Auditory`` and, spread over both hemispheres, they have no coordinates.

    The files list the sounds by category, so that contiguous folds would hold out whole categories. There is
    no time axis that an order could betray: the sounds are put in a seeded random order instead.

    Args:
        root: data folder; None: ``NFAS_DATA``.
        seed: of the order; None keeps the files' order, to test on categories never trained on.

    Returns:
        165 sounds of 2 s at 16 kHz, and responses (1, 165, 6) with z-scored components.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is incomplete, or the two files list the sounds in different orders.

    Reference:
        doi:10.1016/j.neuron.2015.11.035
    """
    folder = find_folder(root, FOLDER, NATURAL_SOUNDS_FILES)
    names, components, brain, sound = read_sounds(folder)
    order = np.arange(len(names)) if seed is None else np.random.default_rng(seed).permutation(len(names))
    rate = int(sound["sr"])
    stimuli = StimulusSet(torch.from_numpy(sound["audio"][order]), "audio", sampling_rate=rate)
    waves = torch.stack([stimuli[i][1] for i in range(len(stimuli))])
    values = zscore(torch.from_numpy(brain["R"][order]).double())
    nuisances = torch.stack([sound_power(waves), spectral_centroid(waves, rate).clamp_min(1.0).log2()], dim=1)
    responses = Responses(
        values=values.float()[None],
        rois=roi_table(components, network="Auditory"),
        stimulus_ids=tuple(names[i] for i in order),
        dataset="natural_sounds",
        modality="audio",
        subjects=("components",),
        runs=torch.zeros(len(names), dtype=torch.long),
        nuisances=nuisances,
        nuisance_names=("sound_power_db", "spectral_centroid_log2_hz"),
        hashes={file: sha256_file(folder / file) for file in NATURAL_SOUNDS_FILES}
        | {"stimuli": stimuli.sha256()},
    )
    return stimuli, responses
