"""Brain responses with everything that pairs them to stimuli: what a datamodule offers a callback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.lags import Lags
from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import free_memory
from nfas_lightning.functional.ceiling import CeilingMethod, noise_ceiling
from nfas_lightning.functional.checks import check_shape, is_constant, working_dtype
from nfas_lightning.functional.confounds import regress_out
from nfas_lightning.functional.missing import align_subjects
from nfas_lightning.notebook import card

_COLUMNS = 4096  # features raised to float64 at a time
# An event rate that a nuisance follows this closely in every run is that nuisance: word rate, where words are
# the events.
_SAME = 0.999


@dataclass(frozen=True)
class Responses:
    """fMRI responses of one benchmark, paired with its stimuli.

    Its hash and ceilings are computed once: make another with `dataclasses.replace` rather than change a
    tensor in place.

    Attributes:
        values: (S, T, R) responses of S subjects, T volumes (or one row per stimulus) and R ROIs. NaN marks a
            missing value and is masked per ROI.
        rois: R rows in the order of `values`. Column ``roi`` is the unique id that benchmarks are joined
            on; ``network``, ``hemisphere``, ``x``, ``y``, ``z`` (MNI, mm) are used where present.
        stimulus_ids: N names; a batch's ``stimulus_id`` is the index into them.
        dataset: name of the benchmark.
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        subjects: S names.
        runs: (T,) integer run of each volume. Runs never leak into one another.
        design: (T, N) operators, mostly sparse, from stimulus features to volumes, one per delay. Empty: row
            t answers stimulus t.
        tr: repetition time in seconds, None where there is no time axis.
        volume_times: (T,) seconds since the start of the run, None where there is no time axis.
        drifts: (T, K) slow regressors that the responses lost, run by run (a run's own columns are 0 in the
            others), and that features therefore lose too; None: none, or the design has lost them already.
        nuisances: (T, Q) regressors common to all subjects (word rate, sound power, luminance).
        nuisance_names: Q names.
        noise_ceiling: (R,) correlation an ideal model could reach, None where unknown.
        subject_ceilings: (S, R) the same for a model of each subject, None where unknown.
        gap: volumes dropped on either side of a test block.
        frame_design: number of frames F of every clip to the operators (T, N * F) that carry features of
            frames to volumes, frame f of stimulus n in column n * F + f; None: they have no place on a clock.
        identical: (T,) labels of rows that answer the same stimulus and that folds keep together; None: folds
            may part them.
        lags: channels and lags that the R = C * K targets are, see `Responses.in_time`; None: not in time.
        simulated: the responses were planted, not measured. Every page and figure shows it.
        hashes: sha256 of what was read, by file name, and of the stimuli, under ``"stimuli"``.
    """

    values: Tensor
    rois: pd.DataFrame
    stimulus_ids: tuple[str, ...]
    dataset: str
    modality: str
    subjects: tuple[str, ...]
    runs: Tensor
    design: tuple[Tensor, ...] = ()
    tr: float | None = None
    volume_times: Tensor | None = None
    drifts: Tensor | None = None
    nuisances: Tensor | None = None
    nuisance_names: tuple[str, ...] = ()
    noise_ceiling: Tensor | None = None
    subject_ceilings: Tensor | None = None
    gap: int = 0
    frame_design: Callable[[int], tuple[Tensor, ...]] | None = None
    identical: Tensor | None = None
    lags: Lags | None = None
    simulated: bool = False
    hashes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _, n_volumes, n_rois = (*self.values.shape, 0, 0, 0)[:3]
        n_stimuli = len(self.stimulus_ids)
        if self.identical is not None and self.design:
            raise InputError(
                "groups='identical' needs one response per stimulus, got a time series, whose volumes answer "
                "several: estimate betas."
            )
        for name, axes, sizes in (
            ("values", "S T R", {"S": len(self.subjects), "R": len(self.rois)}),
            ("runs", "T", {"T": n_volumes}),
            ("identical", "T", {"T": n_volumes}),
            ("drifts", "T K", {"T": n_volumes}),
            ("nuisances", "T Q", {"T": n_volumes, "Q": len(self.nuisance_names)}),
            ("noise_ceiling", "R", {"R": n_rois}),
            ("subject_ceilings", "S R", {"S": len(self.subjects), "R": n_rois}),
        ):
            if (tensor := getattr(self, name)) is not None:
                check_shape(name, tensor, axes, **sizes)
        if self.lags is not None and (n := len(self.lags.channels) * len(self.lags.times)) != n_rois:
            raise InputError(f"lags must be channels by lags of the {n_rois} targets, got {n}.")
        for operator in self.design:
            check_shape("design", operator, "T N", T=n_volumes, N=n_stimuli)
        _check_range(self.values, self.rois)
        if "roi" not in self.rois.columns:
            raise InputError(f"rois must have a column 'roi', got {list(self.rois.columns)}.")
        for row, name in enumerate(self.rois["roi"]):
            if not isinstance(name, str) or not name.strip():
                raise InputError(
                    f"rois must name each ROI with text, got {name!r} in row {row} (counted from 0)."
                )
        repeated = self.rois["roi"][self.rois["roi"].duplicated()].unique()
        if len(repeated):
            raise InputError(f"rois must name each ROI once, got {list(repeated[:5])} more than once.")
        if len(set(self.stimulus_ids)) != n_stimuli:
            raise InputError("stimulus_ids must be unique: give each stimulus a name of its own.")
        if not self.design and n_volumes != n_stimuli:
            raise InputError(
                f"Without a design each row of values answers one stimulus: expected T = N = {n_stimuli}, "
                f"got T = {n_volumes}. Give onsets for time series."
            )
        ceiling = self.noise_ceiling
        # rounding may carry a perfect correlation a little beyond 1
        if ceiling is not None and bool(((ceiling < -1) | (ceiling > 1 + 1e-4)).any()):
            raise InputError(
                "noise_ceiling must be correlations in [-1, 1], NaN where unknown, got "
                f"{float(ceiling.min()):.3g} to {float(ceiling.max()):.3g}."
            )

    def describe(self) -> dict[str, Any]:
        """Return counts, names and units."""
        n_subjects, n_volumes, n_rois = self.values.shape
        return {
            "dataset": self.dataset,
            "modality": self.modality,
            "stimuli": len(self.stimulus_ids),
            "volumes": n_volumes,
            "rois": n_rois,
            "networks": sorted({str(name) for name in self.rois.get("network", ())} - {""}),
            "subjects": n_subjects,
            "runs": len(torch.unique(self.runs)),
            "tr": self.tr,
            "nuisances": list(self.nuisance_names),
            "noise_ceiling": self.noise_ceiling is not None or n_subjects > 1,
            "simulated": self.simulated,
        }

    def _repr_html_(self) -> str:
        known = [name for name in ("roi", "network", "hemisphere", "x", "y", "z") if name in self.rois]
        return card("Responses", self.describe(), self.rois[known])

    @classmethod
    def in_time(cls, values: Tensor, lags: Lags, **fields: Any) -> Responses:
        """Make responses that have a value per channel and lag, as epochs of MEG and EEG do.

        Args:
            values: (S, N, C, K) of S subjects, N stimuli, C channels and K lags; NaN marks a bad channel or a
                rejected epoch.
            lags: the channels and lags.
            **fields: the other attributes, but for `rois`.

        Raises:
            ValueError: shapes that disagree, or what the class refuses.
        """
        check_shape("values", values, "S N C K", C=len(lags.channels), K=len(lags.times))
        return cls(values=values.flatten(2), rois=lags.targets(), lags=lags, **fields)

    @cached_property
    def group_mean(self) -> Tensor:
        """(T, R) mean over the subjects that have a value, offsets aligned where some lack one; else NaN."""
        return align_subjects(self.values, self.runs).nanmean(dim=0)

    @cached_property
    def weights(self) -> Tensor:
        """(N,) share of each stimulus in the volumes, float64, from absolute sums of its columns."""
        n = len(self.stimulus_ids)
        if not self.design:
            return torch.full((n,), 1 / n, dtype=torch.float64)
        parts = [operator.abs().sum(dim=0) for operator in self.design]
        dense = [part.to_dense() if part.is_sparse else part for part in parts]
        total = torch.stack(dense).double().sum(dim=0)
        return total / total.sum() if bool(total.any()) else total

    @cached_property
    def presented(self) -> Tensor:
        """(N,) booleans: the stimulus has a part in some volume. What is fitted to stimuli skips others."""
        return self.weights > 0

    def to_volumes(self, features: Tensor) -> Tensor:
        """Carry stimulus features to volumes: (T, P * delays), or (N, P) without a design.

        Every feature is centered over stimuli first, each weighted by its share in the volumes: the mean of a
        feature, summed over events, is the event rate, a nuisance (see `event_rate`). Drifts that the
        responses lost are taken out too.

        Args:
            features: (N, P), or those of the `presented` stimuli alone.
        """
        n, presented = len(self.stimulus_ids), self.presented.to(features.device)
        weights = self.weights.to(features.device)
        if len(features) < n and len(features) == int(presented.sum()):
            check_shape("features", features, "N P")
            of_all = features.new_zeros(n, features.shape[1])
            of_all[presented] = _centered(features, weights[presented])
            return self.carry(of_all)
        check_shape("features", features, "N P", N=n)
        return self.carry(_centered(features, weights))

    def check_clock(self) -> None:
        """Raise unless frames of clips have a place on the clock of the responses.

        Raises:
            ValueError: they have none.
        """
        if self.frame_design is None:
            raise InputError(
                f"time='keep' puts every frame on the clock of the responses, and those of {self.dataset!r} "
                "have none: give events with a duration, and tr; or use time='mean' or 'dmd'."
            )

    def by_frame(self, n_frames: int) -> Responses:
        """Return the same responses with the frames of clips as their stimuli, see `frame_design`.

        Args:
            n_frames: F of every clip, which fill its time evenly.

        Raises:
            ValueError: frames have no place on a clock.
        """
        self.check_clock()
        assert self.frame_design is not None
        ids = tuple(f"{name}, frame {frame}" for name in self.stimulus_ids for frame in range(n_frames))
        return replace(self, stimulus_ids=ids, design=self.frame_design(n_frames), frame_design=None)

    def event_rate(self) -> Tensor:
        """Return what a feature that is 1 for every stimulus becomes on the volumes' clock: (T, delays).

        Empty, (T, 0), without a design; columns that do not vary are left out.
        """
        return self._event_rate()[0]

    def _event_rate(self) -> tuple[Tensor, list[str]]:
        """Return the event rate and the names of its columns; with several delays the name counts them."""
        if not self.design:
            return self.values.new_zeros(self.values.shape[1], 0), []
        rate = self.carry(torch.ones(len(self.stimulus_ids), 1, dtype=torch.float64))
        still = is_constant(rate.amax(0) - rate.amin(0), rate.abs().amax(0), torch.float32)
        names = ["event_rate"]
        if len(self.design) > 1:
            names = [f"event_rate_{delay + 1}" for delay in range(len(self.design))]
        return rate[:, ~still].float(), [names[place] for place in (~still).nonzero()[:, 0].tolist()]

    def with_event_rate(self) -> Responses:
        """Return the same responses with the event rate among their nuisances, under that name.

        Nothing changes without a design, and where a nuisance is the event rate already: in every run the
        same up to offset and scale, as the rate of words is where words are the stimuli.
        """
        rate, names = self._event_rate()
        known = self.nuisances
        if known is not None:
            new = [place for place, column in enumerate(rate.T) if not self._is_known(column, known)]
            rate, names = rate[:, new], [names[place] for place in new]
        if not names:
            return self
        if taken := set(names) & set(self.nuisance_names):
            raise InputError(
                f"nuisances name {sorted(taken)}, the name of the rate of events: rename that column, or "
                "give event_rate=False."
            )
        joined = rate if known is None else torch.cat([known, rate.to(known)], dim=1)
        return replace(self, nuisances=joined, nuisance_names=(*self.nuisance_names, *names))

    def _is_known(self, rate: Tensor, known: Tensor) -> bool:
        """Whether one of the known (T, Q) is (T,) this rate, up to offset and scale in every run."""
        both = torch.cat([rate[:, None].double(), known.double()], dim=1)
        parts = []
        for run in torch.unique(self.runs):
            part = both[self.runs == run]
            part = part - part.mean(dim=0)
            norm = torch.linalg.vector_norm(part, dim=0)
            parts.append(part / torch.where(norm > 0, norm, 1))
        unit = torch.cat(parts)
        r = unit[:, 1:].T @ unit[:, 0] / torch.linalg.vector_norm(unit, dim=0)[0].square()
        return bool((r.abs() > _SAME).any())

    def carry(self, features: Tensor) -> Tensor:
        """Carry a count or a power (N, P), whose sum over events has a meaning, without centering."""
        check_shape("features", features, "N P", N=len(self.stimulus_ids))
        if self.design:
            parts = [op.to(device=features.device, dtype=features.dtype) @ features for op in self.design]
            features = torch.cat(parts, dim=1)
        if self.drifts is None:
            return features
        device = features.device
        return regress_out(features, self.drifts.to(device), self.runs.to(device))

    def estimate_ceiling(self, method: CeilingMethod, *, seed: int = 0, fold: Tensor | None = None) -> Tensor:
        """Return `noise_ceiling` of the values, (R,); each choice of arguments is computed once.

        Args:
            method: ``"split_half"`` for a model of the mean over subjects, ``"loo_subject"`` for one of each.
            seed: of the split halves.
            fold: (T,) fold of each row that the ceiling is averaged over.
        """
        key = (method, seed, None if fold is None else tuple(fold.tolist()))
        if key not in self._estimated:
            self._estimated[key] = noise_ceiling(self.values, method=method, seed=seed, fold=fold)
        return self._estimated[key]

    def to(self, device: torch.device) -> Responses:
        """Return the same responses on another device, once for all calls; what has no room there stays.

        Values (S, T, R) move where they take half of what is free or less: of many subjects' voxels only
        means do.
        """
        if self.runs.device == device:
            return self
        if device not in self._moved:
            moved: dict[str, Any] = {"design": tuple(operator.to(device) for operator in self.design)}
            for part in fields(self):
                value = getattr(self, part.name)
                if isinstance(value, Tensor) and 2 * value.nbytes <= free_memory(device):
                    moved[part.name] = value.to(device)
            self._moved[device] = replace(self, **moved)
        return self._moved[device]

    def fingerprint(self) -> str:
        """Return a sha256 over values, pairing and axes: the same responses give the same key."""
        return self._sha256

    @cached_property
    def _estimated(self) -> dict[tuple[str, int, tuple[int, ...] | None], Tensor]:
        return {}

    @cached_property
    def _moved(self) -> dict[torch.device, Responses]:
        return {}

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        hashes = (f"{name}={value}" for name, value in sorted(self.hashes.items()))
        names = (*self.subjects, *self.stimulus_ids, *self.nuisance_names)
        for part in (self.dataset, self.modality, *names, *hashes):
            digest.update(part.encode() + b"\0")
        digest.update(pd.util.hash_pandas_object(self.rois.astype(str), index=False).to_numpy().tobytes())
        # a story's operators are mostly zeros, and all delays together would not fit when dense
        sparse = [operator.to_sparse().coalesce() for operator in self.design]
        parts = [part for operator in sparse for part in (operator.indices(), operator.values())]
        ceilings = (self.noise_ceiling, self.subject_ceilings)
        neighbors = None if self.lags is None else self.lags.neighbors
        tensors = (self.values, self.runs, self.drifts, self.nuisances, *ceilings, *parts, self.identical)
        for tensor in (*tensors, neighbors):
            if tensor is not None:
                digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        digest.update(f"{[tuple(operator.shape) for operator in sparse]} {self.tr} {self.gap}".encode())
        return digest.hexdigest()


def _centered(features: Tensor, weights: Tensor) -> Tensor:
    """Take the weighted mean off each column of (N, P), in float64; a column that does not vary becomes 0."""
    dtype = working_dtype(features)
    centered = torch.empty_like(features, dtype=dtype)
    for columns in torch.split(torch.arange(features.shape[1]), _COLUMNS):
        part = slice(int(columns[0]), int(columns[-1]) + 1)
        wide = features[:, part].double()
        size = wide.abs().amax(0)
        wide = wide - weights @ wide
        # rounding, which an encoding model would raise to unit variance
        still = is_constant(wide.abs().amax(0), size, dtype)
        centered[:, part] = wide.masked_fill(still, 0).to(dtype)
    return centered


def _check_range(values: Tensor, rois: pd.DataFrame) -> None:
    """Refuse what networks' single precision can't hold; infinite values are another mistake."""
    if values.dtype is not torch.float64:
        return
    beyond = (values.abs() > torch.finfo(torch.float32).max) & ~values.isinf()
    for subject, row, column in beyond.nonzero()[:1].tolist():
        raise InputError(
            "responses must be numbers that single precision holds, up to 3.4e38, got "
            f"{float(values[subject, row, column]):g} in row {row} (counted from 0) of ROI "
            f"{rois.iloc[column].get('roi', column)!r}: rescale them."
        )
