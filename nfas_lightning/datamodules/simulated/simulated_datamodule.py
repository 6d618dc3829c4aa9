"""A benchmark whose truth is known: simulated brains that answer real or generated stimuli."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.events import response_gap
from nfas_lightning.data.files import sha256_file
from nfas_lightning.data.pairing import pick
from nfas_lightning.data.regions.cleaning import zscore
from nfas_lightning.data.regions.rois import ATLASES
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.acoustics import sound_power
from nfas_lightning.data.stimuli.images import check_size
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES, Modality, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.simulated.planted_brain import Cause, plan_rois, schedule, simulate_brain
from nfas_lightning.datamodules.simulated.planted_features import (
    image_features,
    principal_components,
    sound_features,
    text_features,
)
from nfas_lightning.datamodules.simulated.sample_images import sample_crops
from nfas_lightning.datamodules.simulated.sample_sounds import SAMPLING_RATE, sample_sounds
from nfas_lightning.datamodules.simulated.sample_texts import sample_sentences, words_of
from nfas_lightning.errors import FailureError
from nfas_lightning.functional.checks import check_count, check_option, check_seed

_NUISANCE = {"vision": "luminance", "audio": "sound_power", "language": "words"}


class SimulatedBrainDataModule(BrainDataModule):
    """Simulated subjects that see crops of photographs, hear generated sounds or read sentences.

    Nothing here was measured: responses are planted from stimulus features that no network computed (Gabor
    energy and color; cochleagram and modulation; word statistics and topics), so a test can ask whether a
    pipeline finds what is there. Visual networks follow images, auditory ones sounds, association networks
    text, and eight integrative ROIs every modality; the other ROIs are noise. The ROI axis and the plan are
    the same for the three modalities of one atlas. After `setup`, `truth` says what was planted where.

    Args:
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        n_stimuli: number of stimuli; text is limited by what installed packages carry (about 800).
        n_subjects: simulated subjects.
        n_runs: runs of the experiment.
        tr: repetition time in seconds.
        isi: mean seconds from one stimulus onset to the next.
        signal: ``"planted"``, or ``"none"`` for noise everywhere.
        atlas: ``"seitzman"`` (300 ROIs), ``"dosenbach"`` (160) or ``"power"`` (264).
        snr: standard deviation of a subject's signal over that of the noise, per volume.
        n_components: stimulus features are reduced to so many principal components before they are planted.
        image_size: side of the crops in pixels.
        seed: of stimuli, order, weights and noise.
        **options: of `BrainDataModule`: batch_size, num_workers, subjects (``"sim-01"``, ...) and event_rate.
    """

    def __init__(
        self,
        modality: Modality = "vision",
        *,
        n_stimuli: int = 240,
        n_subjects: int = 4,
        n_runs: int = 4,
        tr: float = 2.0,
        isi: float = 4.0,
        signal: Literal["planted", "none"] = "planted",
        atlas: Literal["seitzman", "dosenbach", "power"] = "seitzman",
        snr: float = 0.7,
        n_components: int = 12,
        image_size: int = 224,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_option("modality", modality, MODALITIES)
        check_option("signal", signal, ("planted", "none"))
        check_option("atlas", atlas, ATLASES)
        counts = {"n_stimuli": n_stimuli, "n_subjects": n_subjects, "n_runs": n_runs}
        for argument, value in {**counts, "n_components": n_components}.items():
            check_count(argument, value, 1)
        check_size(image_size, "image_size")
        check_seed(seed)
        self.save_hyperparameters()
        self.modality, self.signal, self.atlas, self.seed = modality, signal, atlas, seed
        self.n_stimuli, self.n_subjects, self.n_runs = n_stimuli, n_subjects, n_runs
        self.tr, self.isi, self.snr = tr, isi, snr
        self.n_components, self.image_size = n_components, image_size
        self._truth: pd.DataFrame | None = None

    @property
    def truth(self) -> pd.DataFrame:
        """What was planted; there after `setup`.

        R rows: roi, network, driven_by (``"vision"``, ``"audio"``, ``"language"``, ``"all"``, ``"none"``),
        integrative, zone (an integrative ROI's name), planted (in this modality) and ceiling.
        """
        if self._truth is None:
            raise FailureError("SimulatedBrainDataModule has no truth yet: call setup() first.")
        return self._truth

    def load(self) -> tuple[StimulusSet, Responses]:
        """Make stimuli, their features, and the responses that are planted from them."""
        # independent draws for the three modalities of one seed, the same plan for all of them
        seed = 3 * self.seed + MODALITIES.index(self.modality)
        stimuli, names, features, nuisance, files = self._make_stimuli(seed)
        timing = schedule(self.n_stimuli, n_runs=self.n_runs, tr=self.tr, isi=self.isi, seed=seed)
        truth = plan_rois(self.atlas)
        planted = truth["driven_by"].isin([self.modality, "all"]) & (self.signal == "planted")
        brain = simulate_brain(
            [Cause(principal_components(features, self.n_components), planted.to_numpy(), timing)],
            truth["network"],
            n_subjects=self.n_subjects,
            snr=self.snr,
            seed=seed,
        )
        truth["planted"] = planted
        truth["ceiling"] = brain.ceiling.numpy()
        columns = ["roi", "network", "driven_by", "integrative", "zone", "planted", "ceiling"]
        self._truth = truth[columns]

        subjects = [f"sim-{s + 1:02d}" for s in range(self.n_subjects)]
        kept = pick("subjects", self.subjects, subjects)
        design = timing.design()
        responses = Responses(
            values=brain.responses[kept],
            rois=truth[["roi", "network", "hemisphere", "x", "y", "z"]].copy(),
            stimulus_ids=tuple(names),
            dataset=f"simulated_{self.modality}",
            modality=self.modality,
            subjects=tuple(subjects[s] for s in kept),
            runs=timing.volume_runs,
            design=design,
            tr=self.tr,
            volume_times=timing.volume_times,
            nuisances=nuisance_on_volumes(nuisance, design),
            nuisance_names=(_NUISANCE[self.modality],),
            # the ceiling is that of the mean of all subjects
            noise_ceiling=brain.ceiling if len(kept) == self.n_subjects else None,
            gap=response_gap("hrf", self.tr),
            simulated=True,
            hashes={name: sha256_file(path) for name, path in files.items()} | {"stimuli": stimuli.sha256()},
        )
        return stimuli, responses

    def describe(self) -> dict[str, Any]:
        """Return the plan of the base class and what is planted."""
        return {**super().describe(), "signal": self.signal, "planted_rois": int(self.truth["planted"].sum())}

    def _make_stimuli(self, seed: int) -> tuple[StimulusSet, list[str], Tensor, Tensor, Mapping[str, Path]]:
        """Stimuli, their names, (N, P) features, an (N,) nuisance, and the files that were read."""
        if self.modality == "vision":
            crops, names, files = sample_crops(self.n_stimuli, size=self.image_size, seed=seed)
            features = torch.cat([image_features(part.float() / 255) for part in torch.split(crops, 32)])
            luminance = crops.float().mean(dim=(1, 2, 3)) / 255
            return StimulusSet(crops, "vision"), names, features, luminance, files
        if self.modality == "audio":
            waves, names = sample_sounds(self.n_stimuli, seed=seed)
            features = sound_features(waves, SAMPLING_RATE)
            return StimulusSet(waves, "audio", SAMPLING_RATE), names, features, sound_power(waves), {}
        texts, names, corpus = sample_sentences(self.n_stimuli, seed=seed)
        features = text_features(texts, [sentence for found in corpus.values() for sentence in found])
        n_words = torch.tensor([float(len(words_of(text))) for text in texts])
        return StimulusSet(texts, "language"), names, features, n_words, {}


def nuisance_on_volumes(nuisance: Tensor, design: tuple[Tensor, ...]) -> Tensor:
    """Carry one stimulus property to volumes as the features are, standardized over the experiment."""
    (operator,) = design
    carried = operator.double() @ zscore(nuisance.double()[:, None])
    return zscore(carried).float()
