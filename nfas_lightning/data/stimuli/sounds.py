"""Sound files as stimuli, read when asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from nfas_lightning.data.stimuli.acoustics import check_sampling_rate
from nfas_lightning.data.stimuli.audio_windows import read_wav
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles

__all__ = ["SoundFiles"]


class SoundFiles(StimulusFiles):
    """Wav files as stimuli of `StimulusSet`: entry i is the samples of file i, mono.

    Args:
        paths: the files, in the order of the responses.
        sampling_rate: Hz that they are resampled to; models resample to their own.
        in_order: see `StimulusFiles`.

    Raises:
        ValueError: no path, a single string, or a rate that is no whole number from 1.
    """

    suffixes = (".wav",)
    kind = "sound"

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        sampling_rate: int = 16_000,
        *,
        in_order: bool = False,
    ) -> None:
        super().__init__(paths, in_order=in_order)
        check_sampling_rate(sampling_rate)
        self.sampling_rate = int(sampling_rate)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(read_wav(self.paths[index], self.sampling_rate)[0])

    def sha256(self) -> str:
        """Hash files and rate; nothing is decoded."""
        digest = hashlib.sha256(f"sounds {self.sampling_rate}".encode())
        for value in self.hashes:
            digest.update(value.encode())
        return digest.hexdigest()
