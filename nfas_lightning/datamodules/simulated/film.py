"""A simulated film: pictures, sound and words over the same volumes of the same simulated brains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.events import response_gap
from nfas_lightning.data.files import sha256_file
from nfas_lightning.data.regions.rois import ATLASES
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.acoustics import sound_power
from nfas_lightning.data.stimuli.images import check_size
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.simulated.planted_brain import (
    Cause,
    Schedule,
    plan_rois,
    schedule,
    simulate_brain,
)
from nfas_lightning.datamodules.simulated.planted_features import (
    image_features,
    principal_components,
    sound_features,
    text_features,
)
from nfas_lightning.datamodules.simulated.sample_images import equalized, sample_crops
from nfas_lightning.datamodules.simulated.sample_sounds import SAMPLING_RATE, sample_vowels
from nfas_lightning.datamodules.simulated.sample_texts import sample_sentences, words_of
from nfas_lightning.datamodules.simulated.simulated_datamodule import nuisance_on_volumes
from nfas_lightning.datamodules.streams import StreamsDataModule
from nfas_lightning.errors import FailureError
from nfas_lightning.functional.checks import check_count, check_option, check_seed

__all__ = ["Scene", "SimulatedFilmDataModule", "residual", "scene_of"]

_NUISANCE = {"vision": "contrast", "audio": "sound_power", "language": "words"}
_LEXICAL = 6  # of the features of a sentence, before its topics


class SimulatedFilmDataModule(StreamsDataModule):
    """Simulated subjects that see pictures, hear voices and read sentences, all in the same runs.

    The film is the design in which a claim about modalities can fail: every network is scored on the same
    responses. Nothing here was measured. In each region that follows a modality, responses are planted from
    one of two causes. One is what stimuli look or sound like (Gabor energy; cochleagram; word statistics),
    which networks with random weights carry too. The other is what they mean (which photograph; which vowel
    and voice; topics), as far as the first can't predict it: that needs training. Association regions (the
    frontoparietal network and eight convergence zones) follow both, of all three streams. The other regions
    are noise. After `setup`, `truth` shows what was planted where.

    Args:
        n_stimuli: stimuli of each stream.
        n_subjects: simulated subjects.
        n_runs: runs of the experiment.
        tr: repetition time in seconds.
        isi: mean seconds from one onset to the next of a stream.
        signal: ``"planted"``, or ``"none"`` for noise everywhere, in which modality explains nothing.
        atlas: ``"seitzman"`` (300 ROIs), ``"dosenbach"`` (160) or ``"power"`` (264).
        snr: standard deviation of a subject's signal over that of the noise, per volume.
        n_components: features are reduced to so many principal components before they are planted.
        image_size: side of the pictures in pixels.
        batch_size: stimuli per batch.
        seed: of stimuli, order, weights and noise.
    """

    def __init__(
        self,
        *,
        n_stimuli: int = 160,
        n_subjects: int = 4,
        n_runs: int = 4,
        tr: float = 2.0,
        isi: float = 4.0,
        signal: Literal["planted", "none"] = "planted",
        atlas: Literal["seitzman", "dosenbach", "power"] = "seitzman",
        snr: float = 0.7,
        n_components: int = 12,
        image_size: int = 224,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        check_option("signal", signal, ("planted", "none"))
        check_option("atlas", atlas, ATLASES)
        for name, count in {"n_stimuli": n_stimuli, "n_subjects": n_subjects, "n_runs": n_runs}.items():
            check_count(name, count, 1)
        check_count("n_components", n_components, 1)
        check_size(image_size, "image_size")
        check_seed(seed)
        streams: dict[str, BrainDataModule] = {
            modality: _Stream(self, modality, batch_size=batch_size) for modality in MODALITIES
        }
        super().__init__(streams, dataset="simulated_film")
        self.save_hyperparameters()
        self.n_stimuli, self.n_subjects, self.n_runs, self.tr, self.isi = (
            n_stimuli,
            n_subjects,
            n_runs,
            tr,
            isi,
        )
        self.signal, self.atlas, self.snr, self.n_components = signal, atlas, snr, n_components
        self.image_size, self.seed = image_size, seed
        self._made: dict[str, tuple[StimulusSet, Responses]] = {}
        self._truth: pd.DataFrame | None = None

    @property
    def truth(self) -> pd.DataFrame:
        """What was planted; there after `setup`.

        R rows: roi, network, driven_by (``"vision"``, ``"audio"``, ``"language"``, ``"all"``, ``"none"``),
        follows (``"form"``, ``"meaning"``, ``"both"``, ``"nothing"``), integrative (follows all three
        streams), planted and ceiling.
        """
        if self._truth is None:
            raise FailureError("SimulatedFilmDataModule has no truth yet: call setup() first.")
        return self._truth

    def describe(self) -> dict[str, Any]:
        """Return the plan of the base class and what is planted."""
        return {**super().describe(), "signal": self.signal, "planted_rois": int(self.truth["planted"].sum())}

    def made(self, modality: str) -> tuple[StimulusSet, Responses]:
        """Return stimuli and responses of one stream; all are made at once, the first time."""
        if not self._made:
            self._make()
        return self._made[modality]

    def _make(self) -> None:
        scenes = {
            modality: scene_of(modality, self.n_stimuli, self.image_size, 3 * self.seed + place)
            for place, modality in enumerate(MODALITIES)
        }
        timings = _same_clock(
            {
                modality: schedule(
                    self.n_stimuli, n_runs=self.n_runs, tr=self.tr, isi=self.isi, seed=3 * self.seed + place
                )
                for place, modality in enumerate(MODALITIES)
            }
        )
        truth = _plan(self.atlas)
        planted = (truth["driven_by"] != "none") & (self.signal == "planted")
        causes = []
        for modality, scene in scenes.items():
            form = principal_components(scene.form, self.n_components)
            meaning = principal_components(residual(scene.meaning.double(), form), self.n_components)
            follows_it = planted & truth["driven_by"].isin([modality, "all"])
            for features, kind in ((form, "form"), (meaning, "meaning")):
                driven = follows_it & truth["follows"].isin([kind, "both"])
                causes.append(Cause(features, driven.to_numpy(), timings[modality]))
        brain = simulate_brain(
            causes, truth["network"], n_subjects=self.n_subjects, snr=self.snr, seed=3 * self.seed
        )
        truth = truth.assign(planted=planted, ceiling=brain.ceiling.numpy())
        truth["integrative"] = truth["driven_by"] == "all"
        self._truth = truth[["roi", "network", "driven_by", "follows", "integrative", "planted", "ceiling"]]
        for modality, scene in scenes.items():
            timing = timings[modality]
            design = timing.design()
            files = {name: sha256_file(path) for name, path in scene.files.items()}
            responses = Responses(
                values=brain.responses,
                rois=truth[["roi", "network", "hemisphere", "x", "y", "z"]].copy(),
                stimulus_ids=tuple(scene.names),
                dataset="simulated_film",
                modality=modality,
                subjects=tuple(f"sim-{s + 1:02d}" for s in range(self.n_subjects)),
                runs=timing.volume_runs,
                design=design,
                tr=self.tr,
                volume_times=timing.volume_times,
                nuisances=nuisance_on_volumes(scene.nuisance, design),
                nuisance_names=(_NUISANCE[modality],),
                noise_ceiling=brain.ceiling,
                gap=response_gap("hrf", self.tr),
                simulated=True,
                hashes=files | {"stimuli": scene.stimuli.sha256()},
            )
            self._made[modality] = scene.stimuli, responses


class _Stream(BrainDataModule):
    """One modality of a film, which makes all of them at once."""

    def __init__(self, film: SimulatedFilmDataModule, modality: str, *, batch_size: int) -> None:
        super().__init__(batch_size=batch_size)
        self.film, self.modality = film, modality

    def load(self) -> tuple[StimulusSet, Responses]:
        return self.film.made(self.modality)


class Scene(NamedTuple):
    """Stimuli of one stream, their form (N, P), their meaning (N, Q), and a nuisance (N,)."""

    stimuli: StimulusSet
    names: list[str]
    form: Tensor
    meaning: Tensor
    nuisance: Tensor
    files: Mapping[str, Path]


def scene_of(modality: str, n_stimuli: int, image_size: int, seed: int) -> Scene:
    """Make the stimuli of one stream, with what they look or sound like and what they mean."""
    if modality == "vision":
        crops, names, files = sample_crops(n_stimuli, size=image_size, seed=seed)
        pictures = equalized(crops, seed=seed)
        form = torch.cat([image_features(part.float() / 255) for part in torch.split(pictures, 32)])
        which = torch.from_numpy(pd.factorize(pd.Series(names).str.rsplit("_", n=1).str[0])[0].copy())
        contrast = pictures.float().std(dim=(1, 2, 3))
        return Scene(StimulusSet(pictures, "vision"), names, form, _one_hot(which), contrast, files)
    if modality == "audio":
        waves, names, labels = sample_vowels(n_stimuli, seed=seed)
        meaning = torch.cat([_one_hot(column) for column in labels.T], dim=1)
        form = sound_features(waves, SAMPLING_RATE)
        return Scene(StimulusSet(waves, "audio", SAMPLING_RATE), names, form, meaning, sound_power(waves), {})
    texts, names, corpus = sample_sentences(n_stimuli, seed=seed)
    features = text_features(texts, [sentence for found in corpus.values() for sentence in found])
    n_words = torch.tensor([float(len(words_of(text))) for text in texts])
    stimuli = StimulusSet(texts, "language")
    return Scene(stimuli, names, features[:, :_LEXICAL], features[:, _LEXICAL:], n_words, {})


def _plan(atlas: str) -> pd.DataFrame:
    """Return the atlas with ``driven_by`` and ``follows`` of each region."""
    table = plan_rois(atlas)
    table.loc[table["network"].isin(["FrontoParietal", "fronto-parietal"]), "driven_by"] = "all"
    place = table.groupby(["driven_by", "network"]).cumcount()
    follows = np.where(place % 2 == 0, "form", "meaning")
    follows = np.where(table["driven_by"] == "all", "both", follows)
    return table.assign(follows=np.where(table["driven_by"] == "none", "nothing", follows))


def _same_clock(timings: dict[str, Schedule]) -> dict[str, Schedule]:
    """Give every stream the volumes of its longest run."""
    runs = [torch.bincount(timing.volume_runs) for timing in timings.values()]
    longest = torch.stack(runs).amax(dim=0)
    (tr,) = {timing.tr for timing in timings.values()}
    times = torch.cat([torch.arange(int(n), dtype=torch.float64) * tr for n in longest])
    numbers = torch.repeat_interleave(torch.arange(len(longest)), longest)
    return {m: replace(timing, volume_times=times, volume_runs=numbers) for m, timing in timings.items()}


def residual(meaning: Tensor, form: Tensor) -> Tensor:
    """Return what of the meaning (N, Q) a linear model of the form (N, P) does not predict."""
    design = torch.cat([form.double(), torch.ones(len(form), 1, dtype=torch.float64)], dim=1)
    weights: Tensor = torch.linalg.lstsq(design, meaning).solution
    return meaning - design @ weights


def _one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels).double()
