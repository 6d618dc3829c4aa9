"""Simulated responses: which ROI follows what, and what several subjects answer in an fMRI experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.events import volume_design
from nfas_lightning.data.regions.rois import coordinate_atlas
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.hrf import HRFModel

_DRIVER = {
    "Visual": "vision",
    "occipital": "vision",
    "Auditory": "audio",
    "auditory": "audio",
    "DefaultMode": "language",
    "default": "language",
    "FrontoParietal": "language",
    "fronto-parietal": "language",
    # the left ventral attention network of these atlases is close to the language network
    "VentralAttention": "language",
}
# convergence zones (MNI, mm); the atlas's nearest ROI follows every modality
INTEGRATIVE = {
    "angular gyrus L": (-46.0, -62.0, 32.0),
    "angular gyrus R": (50.0, -58.0, 30.0),
    "posterior superior temporal L": (-54.0, -46.0, 10.0),
    "posterior superior temporal R": (54.0, -42.0, 12.0),
    "anterior temporal L": (-50.0, 6.0, -28.0),
    "anterior temporal R": (50.0, 8.0, -28.0),
    "precuneus": (-4.0, -58.0, 34.0),
    "medial prefrontal": (-2.0, 52.0, -4.0),
}


def plan_rois(atlas: str = "seitzman") -> pd.DataFrame:
    """Return an atlas with what drives each ROI, whatever the seed and the modality.

    Columns beside `coordinate_atlas`'s: ``driven_by`` (``"vision"``, ``"audio"``, ``"language"``, ``"all"``,
    ``"none"``), ``integrative`` (bool) and ``zone``, the name of an integrative ROI's convergence zone.

    Example:
        >>> plan_rois("seitzman")["driven_by"].value_counts()["all"]
        np.int64(8)
    """
    table = coordinate_atlas(atlas)
    table["driven_by"] = table["network"].map(_DRIVER).fillna("none")
    table["zone"] = ""
    xyz = table[["x", "y", "z"]].to_numpy(dtype=float)
    for zone, center in INTEGRATIVE.items():
        nearest = int(np.linalg.norm(xyz - np.asarray(center), axis=1).argmin())
        table.loc[nearest, ["driven_by", "zone"]] = ["all", zone]
    table["integrative"] = table["driven_by"] == "all"
    return table


_LEAD_IN = 6.0  # seconds before the first stimulus of a run
_LEAD_OUT = 16.0  # and after the last one's onset: the response falls
_STIMULUS_SECONDS = 2.0


@dataclass(frozen=True)
class Schedule:
    """When stimuli are shown and volumes taken.

    (N,) onsets in seconds since the start of the stimulus's run, and that run; (T,) times of volumes
    likewise.
    """

    onsets: Tensor
    event_runs: Tensor
    volume_times: Tensor
    volume_runs: Tensor
    tr: float

    def design(self, hrf: HRFModel = "spm") -> tuple[Tensor, ...]:
        """Sparse (T, N) operator of an HRF that carries features to volumes, alone in a tuple."""
        return volume_design(
            self.onsets,
            self.volume_times,
            tr=self.tr,
            durations=torch.full_like(self.onsets, _STIMULUS_SECONDS),
            event_runs=self.event_runs,
            volume_runs=self.volume_runs,
            hrf=hrf,
        )


def schedule(n_stimuli: int, *, n_runs: int, tr: float, isi: float, seed: int = 0) -> Schedule:
    """Spread stimuli over runs in random order, one every `isi` seconds give or take a quarter.

    Args:
        n_stimuli: N, at least two per run.
        n_runs: runs, as even as they can be.
        tr: repetition time in seconds.
        isi: mean seconds from onset to onset, at least the 2 s that a stimulus lasts.
        seed: of the order and the jitter.
    """
    if n_runs < 1 or n_stimuli < 2 * n_runs:
        raise InputError(f"Every run needs two stimuli, got {n_stimuli} stimuli in {n_runs} runs.")
    if not tr > 0 or not isi >= _STIMULUS_SECONDS:
        raise InputError(f"tr must be positive and isi at least {_STIMULUS_SECONDS} s, got {tr} and {isi}.")
    rng = np.random.default_rng([seed, 4])
    onsets = np.empty(n_stimuli)
    event_runs = np.empty(n_stimuli, dtype=np.int64)
    volume_times, volume_runs = [], []
    for run, shown in enumerate(np.array_split(rng.permutation(n_stimuli), n_runs)):
        steps = isi * rng.uniform(0.75, 1.25, size=len(shown))
        onsets[shown] = _LEAD_IN + np.cumsum(steps) - steps[0]
        event_runs[shown] = run
        n_volumes = math.ceil((onsets[shown].max() + _LEAD_OUT) / tr)
        volume_times.append(np.arange(n_volumes) * tr)
        volume_runs.append(np.full(n_volumes, run))
    return Schedule(
        onsets=torch.from_numpy(onsets),
        event_runs=torch.from_numpy(event_runs),
        volume_times=torch.from_numpy(np.concatenate(volume_times)),
        volume_runs=torch.from_numpy(np.concatenate(volume_runs)),
        tr=tr,
    )


@dataclass(frozen=True)
class SimulatedBrain:
    """Planted responses and what was planted.

    Attributes:
        responses: (S, T, R), z-scored within runs.
        signal: (T, R) noiseless mean over subjects, zero in ROIs that follow nothing.
        ceiling: (R,) correlation of `signal` with the subjects' mean that is expected, 0 without signal.
    """

    responses: Tensor
    signal: Tensor
    ceiling: Tensor


@dataclass(frozen=True)
class Cause:
    """Something that regions follow.

    Attributes:
        features: (N, P) of stimuli.
        driven: (R,) booleans: the regions.
        timing: when the stimuli were shown; all causes have the same volumes.
    """

    features: Tensor
    driven: NDArray[np.bool_]
    timing: Schedule


def simulate_brain(
    causes: Sequence[Cause],
    networks: pd.Series[str],
    *,
    n_subjects: int = 4,
    snr: float = 0.7,
    autocorrelation: float = 0.4,
    variability: float = 0.4,
    seed: int = 0,
    hrf: HRFModel = "spm",
) -> SimulatedBrain:
    r"""Plant responses: weights on features, a haemodynamic response, noise.

    ROI r of subject s answers with :math:`a_r X (w_{n(r)} + w_r + \nu\, w_{sr}) + \epsilon`: its network's
    weights, its own, and the subject's; X are the features carried to volumes, epsilon is first-order
    autoregressive noise of unit variance, and :math:`a_r` makes the standard deviation of the signal
    `snr` times that of the noise, give or take 30 % from ROI to ROI. Several causes of one ROI add up in
    equal shares. ROIs without a cause are noise.

    Args:
        causes: what regions follow.
        networks: R network names: ROIs of one network are alike.
        n_subjects: S.
        snr: standard deviation of one subject's signal over that of the noise.
        autocorrelation: of the noise from volume to volume, in [0, 1).
        variability: size of a subject's own weights relative to the shared ones.
        seed: of weights and noise.
        hrf: ``"spm"`` or ``"glover"``.
    """
    for cause in causes:
        check_shape("features", cause.features, "N P", N=len(cause.timing.onsets))
    timing = causes[0].timing
    if n_subjects < 1 or snr < 0 or variability < 0 or not 0 <= autocorrelation < 1:
        raise InputError(
            "Expected n_subjects >= 1, snr >= 0, variability >= 0 and autocorrelation in [0, 1), got "
            f"{n_subjects}, {snr}, {variability} and {autocorrelation}."
        )
    rng = np.random.default_rng([seed, 5])
    n_volumes, n_rois = len(timing.volume_times), len(networks)
    runs = timing.volume_runs.numpy()
    carried, weights = [], []
    for cause in causes:
        (operator,) = cause.timing.design(hrf)
        carried.append((operator.double() @ cause.features.double()).numpy())
        n_features = cause.features.shape[1]
        shared = {name: rng.standard_normal(n_features) for name in sorted(set(networks))}
        own = rng.standard_normal((n_features, n_rois))
        weights.append(np.stack([shared[name] for name in networks], axis=1) + own)
    strength = snr * rng.uniform(0.7, 1.3, size=n_rois)
    shares = np.stack([cause.driven for cause in causes]).astype(float)
    shares /= np.sqrt(np.maximum(shares.sum(axis=0), 1))
    values = np.empty((n_subjects, n_volumes, n_rois))
    signal = np.zeros((n_volumes, n_rois))
    for s in range(n_subjects):
        planted = np.zeros((n_volumes, n_rois))
        for X, common, share in zip(carried, weights, shares, strict=True):
            own = variability * 2**0.5 * rng.standard_normal(common.shape)
            part = _center(X @ (common + own), runs)
            planted += part * (strength * share / part.std(axis=0))
        signal += planted / n_subjects
        noise = _center(_autoregressive(rng, runs, n_rois, autocorrelation), runs)
        values[s] = planted + noise
    for run in np.unique(runs):
        values[:, runs == run] /= values[:, runs == run].std(axis=1, keepdims=True)
    power = signal.var(axis=0)
    # the noise of the subjects' mean is 1 / S of one subject's
    ceiling = np.sqrt(power / (power + 1 / n_subjects))
    return SimulatedBrain(
        responses=torch.from_numpy(values).float(),
        signal=torch.from_numpy(signal).float(),
        ceiling=torch.from_numpy(ceiling).float(),
    )


def _center(series: NDArray[np.float64], runs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Remove each run's mean: no experiment measures it."""
    out = series.copy()
    for run in np.unique(runs):
        out[runs == run] -= out[runs == run].mean(axis=0)
    return out


def _autoregressive(
    rng: np.random.Generator, runs: NDArray[np.int64], n_rois: int, autocorrelation: float
) -> NDArray[np.float64]:
    """First-order autoregressive noise of unit variance that starts anew in every run."""
    fresh = rng.standard_normal((len(runs), n_rois))
    scale = (1 - autocorrelation**2) ** 0.5
    for t in range(1, len(runs)):
        if runs[t] == runs[t - 1]:
            fresh[t] = autocorrelation * fresh[t - 1] + scale * fresh[t]
    return fresh
