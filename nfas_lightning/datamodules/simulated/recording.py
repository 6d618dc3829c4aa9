"""Planted recordings: sensors on a head that follow stages of a stimulus, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.files import sha256_file
from nfas_lightning.data.pairing import pick
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.images import check_size
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES, Modality, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.recordings.sensors import lags_of, repetition_ceilings, require_mne
from nfas_lightning.datamodules.simulated.film import residual, scene_of
from nfas_lightning.datamodules.simulated.planted_features import principal_components
from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import check_count, check_option, check_seed

__all__ = ["SimulatedRecordingDataModule"]

_SOURCES = 3  # of a stage
_SPREAD = 0.6  # radians on the head: of a source's topography
_NOISE_SPREAD = 0.4  # and of the noise
_VARIABILITY = 0.4  # size of a subject's own weights relative to the shared ones


class SimulatedRecordingDataModule(BrainDataModule):
    """Simulated subjects whose sensors follow what stimuli look or sound like early, and what they mean late.

    Nothing here was measured. A stage is a set of features that no network computed: coarse form, finer form
    and so on, and last the meaning as far as form can't predict it. Each stage has sources on the head, from
    back to front, that answer around its latency (a Gaussian of time). Sensors are those of one of MNE's
    standard montages, the noise has a spectrum of 1 / f, and every stimulus comes several times. After
    `setup`, `truth` says what was planted where, and `stages` holds the features.

    Args:
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        n_stimuli: number of stimuli.
        n_subjects: simulated subjects.
        n_repetitions: presentations of each stimulus; responses are their mean, ceilings come from halves of
            them.
        montage: a name of `mne.channels.get_builtin_montages`, such as ``"biosemi64"``.
        sfreq: samples per second (Hz).
        tmin: seconds from onset to the first sample.
        tmax: and to the last.
        latencies: seconds after onset at which the stages peak, two or more, from early to late.
        width: standard deviation of a stage's response over time, in seconds.
        signal: ``"planted"``, or ``"none"`` for noise alone.
        snr: standard deviation of the strongest sensor's signal over that of the noise, per presentation.
        n_components: principal components of each stage; the form of sentences has six for all of them.
        image_size: side of the pictures in pixels.
        seed: of stimuli, sources, weights and noise.
        **options: of `BrainDataModule`: batch_size, num_workers and subjects (``"sim-01"``, ...).

    Raises:
        ImportError: MNE is not installed.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        modality: Modality = "vision",
        *,
        n_stimuli: int = 120,
        n_subjects: int = 4,
        n_repetitions: int = 4,
        montage: str = "biosemi32",
        sfreq: float = 100.0,
        tmin: float = -0.1,
        tmax: float = 0.5,
        latencies: Sequence[float] = (0.08, 0.16, 0.28),
        width: float = 0.03,
        signal: Literal["planted", "none"] = "planted",
        snr: float = 1.0,
        n_components: int = 4,
        image_size: int = 224,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_option("modality", modality, MODALITIES)
        check_option("signal", signal, ("planted", "none"))
        for name, count in {"n_subjects": n_subjects, "n_components": n_components}.items():
            check_count(name, count, 1)
        check_count("n_repetitions", n_repetitions, 2)
        check_size(image_size, "image_size")
        check_seed(seed)
        if len(latencies) < 2 or not all(tmin <= latency <= tmax for latency in latencies):
            raise InputError(
                f"latencies must be two or more times between tmin={tmin:g} and tmax={tmax:g} s, got "
                f"{list(latencies)}."
            )
        if not (sfreq > 0 and width > 0 and snr >= 0):
            raise InputError(
                f"sfreq and width must be positive and snr not negative, got {sfreq:g}, {width:g}, {snr:g}."
            )
        self.save_hyperparameters()
        self.modality, self.signal, self.montage, self.seed = modality, signal, montage, seed
        self.n_stimuli, self.n_subjects, self.n_repetitions = n_stimuli, n_subjects, n_repetitions
        self.times = tmin + np.arange(round((tmax - tmin) * sfreq) + 1) / sfreq
        self.sfreq, self.latencies, self.width, self.snr = sfreq, tuple(latencies), width, snr
        self.n_components, self.image_size = n_components, image_size
        self._truth: pd.DataFrame | None = None
        self._stages: tuple[Tensor, ...] = ()

    @property
    def truth(self) -> pd.DataFrame:
        """What was planted; there after `setup`.

        R rows: roi, stage (number of the strongest, from 0; -1 for none), latency (s, of that stage), planted
        (the signal is a tenth of the strongest sensor's or more) and ceiling (of the subjects' mean).
        """
        if self._truth is None:
            raise FailureError("SimulatedRecordingDataModule has no truth yet: call setup() first.")
        return self._truth

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """(N, P) features of each stage, from early to late; there after `setup`."""
        self.truth  # noqa: B018  # raises before `setup`
        return self._stages

    def load(self) -> tuple[StimulusSet, Responses]:
        """Make stimuli, their stages, and the recordings that are planted from them."""
        seed = 3 * self.seed + MODALITIES.index(self.modality)
        scene = scene_of(self.modality, self.n_stimuli, self.image_size, seed)
        info = _info(self.montage, self.sfreq)
        lags = lags_of(info, self.times)
        self._stages = self._features(scene.form, scene.meaning)
        rng = np.random.default_rng([seed, 8])
        head = _unit(np.array([channel["loc"][:3] for channel in info["chs"]]))
        repeats, power = self._record(head, rng)
        kept = pick(
            "subjects", self.subjects, subjects := [f"sim-{s + 1:02d}" for s in range(self.n_subjects)]
        )
        values = torch.from_numpy(repeats[kept]).float()
        group, each = repetition_ceilings(values.flatten(-2))
        targets = lags.targets()
        stage = power.argmax(0).ravel()
        planted = power.sum(0).ravel() > 0.1**2 * max(power.sum(0).max(), 1e-30)
        self._truth = pd.DataFrame(
            {
                "roi": targets["roi"],
                "stage": np.where(planted, stage, -1),
                "latency": np.where(planted, np.array(self.latencies)[stage], np.nan),
                "planted": planted,
                "ceiling": group.numpy(),
            }
        )
        responses = Responses.in_time(
            values.nanmean(1),
            lags,
            stimulus_ids=tuple(scene.names),
            dataset=f"simulated_recording_{self.modality}",
            modality=self.modality,
            subjects=tuple(subjects[s] for s in kept),
            runs=torch.zeros(self.n_stimuli, dtype=torch.int64),
            noise_ceiling=group,
            subject_ceilings=each,
            simulated=True,
            hashes={name: sha256_file(path) for name, path in scene.files.items()}
            | {"stimuli": scene.stimuli.sha256()},
        )
        return scene.stimuli, responses

    def describe(self) -> dict[str, Any]:
        """Return the plan of the base class and what is planted."""
        return {**super().describe(), "signal": self.signal, "latencies": list(self.latencies)}

    def _features(self, form: Tensor, meaning: Tensor) -> tuple[Tensor, ...]:
        """Split form into stages by falling variance, and end with what meaning has beside all of them."""
        width, n_early = self.n_components, len(self.latencies) - 1
        known = principal_components(form, width * n_early)
        early = [known[:, width * s : width * (s + 1)] for s in range(n_early)]
        if early[-1].shape[1] < width:
            raise InputError(
                f"{len(self.latencies)} stages of {width} components need {width * n_early} components of "
                f"the form of the stimuli, which has {known.shape[1]}: give fewer latencies, fewer "
                "n_components or more stimuli."
            )
        late = principal_components(residual(meaning.double(), known), width)
        return tuple((stage / stage.std(0)).float() for stage in (*early, late))

    def _record(self, head: NDArray[np.float64], rng: np.random.Generator) -> tuple[Any, Any]:
        """Return presentations (S, P, N, C, K) in units of the noise, and the power of stages (L, C, K)."""
        n_channels, n_lags = len(head), len(self.times)
        signal = np.zeros((self.n_subjects, self.n_stimuli, n_channels, n_lags))
        power = np.zeros((len(self.latencies), n_channels, n_lags))
        places = np.linspace(-0.9, 0.9, len(self.latencies))
        for stage, (features, latency) in enumerate(zip(self._stages, self.latencies, strict=True)):
            bump = np.exp(-(((self.times - latency) / self.width) ** 2) / 2)
            for _ in range(_SOURCES):
                center = _unit(np.array([[rng.normal(0, 0.5), places[stage], abs(rng.normal(0.4, 0.2))]]))
                reach = np.exp(-((np.arccos(np.clip(head @ center[0], -1, 1)) / _SPREAD) ** 2) / 2)
                shared = rng.standard_normal(features.shape[1])
                for s in range(self.n_subjects):
                    weights = shared + _VARIABILITY * rng.standard_normal(len(shared))
                    course = features.double().numpy() @ weights / np.sqrt(len(shared))
                    signal[s] += course[:, None, None] * reach[:, None] * bump
                power[stage] += np.outer(reach, bump) ** 2
        strongest = signal.std(axis=1).mean(0).max()
        signal *= (self.snr if self.signal == "planted" else 0.0) / strongest
        power *= 1.0 if self.signal == "planted" else 0.0
        apart = np.arccos(np.clip(head @ head.T, -1, 1))
        mixing = np.exp(-((apart / _NOISE_SPREAD) ** 2) / 2)
        mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
        repeats = np.empty((self.n_subjects, self.n_repetitions, *signal.shape[1:]), dtype=np.float32)
        for s in range(self.n_subjects):
            for p in range(self.n_repetitions):
                fresh = _pink(rng, (self.n_stimuli, n_channels), n_lags)
                repeats[s, p] = signal[s] + mixing @ fresh
        return repeats, power


def _info(montage: str, sfreq: float) -> Any:
    mne = require_mne()
    known = mne.channels.get_builtin_montages()
    if montage not in known:
        raise InputError(f"montage must be one of MNE's standard montages, {known}, got {montage!r}.")
    standard = mne.channels.make_standard_montage(montage)
    info = mne.create_info(standard.ch_names, sfreq, "eeg")
    return info.set_montage(standard)


def _unit(places: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = places / np.linalg.norm(places, axis=1, keepdims=True)
    return unit


def _pink(rng: np.random.Generator, shape: tuple[int, ...], n_samples: int) -> NDArray[np.float32]:
    """Draw noise of unit variance whose power falls with frequency, (..., K); a window of a longer series."""
    spectrum = np.fft.rfft(rng.standard_normal((*shape, 2 * n_samples), dtype=np.float32))
    spectrum[..., 1:] /= np.sqrt(np.arange(1, spectrum.shape[-1]))
    spectrum[..., 0] = 0
    series = np.fft.irfft(spectrum, n=2 * n_samples)[..., :n_samples]
    noise: NDArray[np.float32] = (series / series.std()).astype(np.float32)
    return noise
