"""The archive of the toy tones, for the datamodule and for the check."""

from __future__ import annotations

from pathlib import Path

import torch

from nfas_lightning.data.files import read_npz, sha256_file
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet

FILES = {"tones.npz": {"tones": (12, 1600), "responses": (12, 3)}}


def load_toy_tones(folder: Path) -> tuple[StimulusSet, Responses]:
    """Read 12 sounds, and responses (1, 12, 3) to them."""
    path = folder / "tones.npz"
    arrays = read_npz(path, FILES[path.name])
    stimuli = StimulusSet(torch.from_numpy(arrays["tones"]), "audio", sampling_rate=16_000)
    responses = Responses(
        values=torch.from_numpy(arrays["responses"]).float()[None],
        rois=roi_table(["A1", "A2", "A3"], network="Auditory"),
        stimulus_ids=tuple(f"tone{i}" for i in range(len(stimuli))),
        dataset="toy_tones",
        modality="audio",
        subjects=("mean",),
        runs=torch.zeros(len(stimuli), dtype=torch.long),
        hashes={path.name: sha256_file(path), "stimuli": stimuli.sha256()},
    )
    return stimuli, responses
