"""From a depth trajectory and brain responses to tables of scores: the stable mode beside its baselines."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.alignment import squared_correlation
from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.functional.dmd import (
    Centering,
    Criterion,
    DMDResult,
    Operator,
    Phase,
    combine_depths,
    dmd,
)
from nfas_lightning.functional.encoding import EncodingResult, ridge_cv
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.state_space import StateSpace, StateSpaceKind
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.results import COLUMNS, ModelResult

__all__ = ["ScoringSettings", "score_trajectory"]

GROUP = "group"
_UNDEFINED = "responses, features or predictions are constant in some fold"
Encoded = tuple[Tensor | None, EncodingResult]
"""Features on the volumes' clock (T, P), and what became of them."""


@dataclass(frozen=True)
class ScoringSettings:
    """How a trajectory becomes scores. Every field is one choice of the method page.

    Attributes:
        operator, svd_rank, centering, criterion, phase: see `nfas_lightning.functional.dmd`.
        state_space: ``"auto"``, ``"native"``, ``"procrustes"`` or ``"random_projection"``.
        n_components: width of the state space; None keeps what the layers and stimuli allow.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: how the penalty is chosen, ``"folds"`` or ``"loo"``; None: folds for time series, loo for
            one response a stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        subjects: score the ``"group"`` mean, ``"each"`` subject, or ``"both"``.
        baselines: also score the last, best and mean block, all blocks, and the nuisances alone.
        partial_nuisances: regress the nuisances out of features and responses, inside the training folds.
        n_permutations: draws of the null; 0 leaves p and q empty.
        null_features: features that get p and q; each costs `n_permutations` fits. ``best_block`` cannot.
        seed: seed of the null and of split halves.
    """

    operator: Operator = "joint"
    svd_rank: int | float = 2
    centering: Centering = "scale"
    criterion: Criterion = "unit_circle"
    phase: Phase = "quadrature"
    state_space: StateSpaceKind = "auto"
    n_components: int | None = None
    n_folds: int = 5
    selection: Literal["folds", "loo"] | None = None
    gap: int | None = None
    subjects: Literal["group", "each", "both"] = "group"
    baselines: bool = True
    partial_nuisances: bool = False
    n_permutations: int = 1000
    null_features: Sequence[str] = ("stable_mode",)
    seed: int = 0


def score_trajectory(
    trajectory: Trajectory,
    responses: Responses,
    card: Mapping[str, Any],
    settings: ScoringSettings | None = None,
) -> ModelResult:
    """Score one model on one benchmark.

    The stable mode of the trajectory and its baselines go through the same encoding model with the same
    folds. Nothing that is fitted to a response sees a test volume; the state space and the depth dynamics
    are fitted to stimuli alone.

    Args:
        trajectory: states of all N stimuli, in the order of `Responses.stimulus_ids`.
        responses: what the brain did.
        card: ``name``, ``modality``, ``family``, ``source``, ``licence``, ``parameters``, ``weights_sha256``,
            ``note``, ``pooling``, ``weights``, ``seconds_capture``, and ``twin_of``: where it names a model,
            this is the random-weights twin of it, and yields that model's feature ``random_weights`` alone.
        settings: the choices; defaults are those of the method page.

    Returns:
        Tables of scores, spectrum and depth, and the card completed.

    Raises:
        ValueError: the trajectory does not hold the stimuli that the responses ask for.
    """
    settings = settings or ScoringSettings()
    _check_stimuli(trajectory, responses)
    twin, name = bool(card["twin_of"]), card["twin_of"] or card["name"]
    space = StateSpace(settings.state_space, n_components=settings.n_components, seed=settings.seed)
    H = space.fit_transform(trajectory.states)
    dynamics = dmd(
        H,
        operator=settings.operator,
        svd_rank=settings.svd_rank,
        centering=settings.centering,
        criterion=settings.criterion,
    )
    encode = _Encoder(responses, settings)
    stable = encode.features(combine_depths(H, dynamics, phase=settings.phase))
    if twin:
        encoded: dict[str, Encoded] = {"random_weights": stable}
        blocks: list[Encoded] = []
    else:
        encoded = {"stable_mode": stable}
        blocks = [encode.features(state) for state in trajectory.states] if settings.baselines else []
    if blocks:
        encoded["last_block"] = blocks[-1]
        encoded["best_block"] = None, _best_block([result for _, result in blocks])
        encoded["mean_depth"] = encode.features(H.mean(dim=1))
        encoded["all_blocks"] = encode.features(torch.cat(trajectory.states, dim=1))
        if responses.nuisances is not None and not settings.partial_nuisances:
            encoded["nuisance"] = encode.volumes(responses.nuisances)
    named = {**encoded, **dict(zip(trajectory.layer_names, blocks, strict=False))}
    encode.warn_undefined(card["name"], {key: result for key, (_, result) in named.items()}, twin=twin)

    base = {"model": name, "modality": card["modality"], "dataset": responses.dataset}
    labels = {**base, "family": card["family"]}
    frames = [encode.table(*parts, {**labels, "feature": feature}) for feature, parts in encoded.items()]
    scores = pd.concat(frames, ignore_index=True)[list(COLUMNS["scores"])]
    spectra = _spectrum_table(dynamics, base)
    depth = _depth_table(trajectory, dynamics, encode, blocks, base)
    chosen = spectra[spectra["stable"]].iloc[0]
    completed = {
        **card,
        "model": name,
        "dataset": responses.dataset,
        "n_blocks": len(trajectory.states),
        "n_stimuli": len(trajectory.stimulus_ids),
        "state_space": space.kind_,
        "svd_rank": dynamics.svd_rank,
        "stable_real": chosen["real"],
        "stable_imag": chosen["imag"],
        "distance_to_unit_circle": chosen["distance_to_unit_circle"],
        "reconstruction_error": float(dynamics.reconstruction_error.nanmean()),
        "seconds_scoring": math.nan,
        "key": "",
    }
    return ModelResult(scores=scores, spectra=spectra, depth=depth, card=completed)


class _Encoder:
    """One encoding model for every feature of a model: same responses, same folds, same null."""

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        self.responses = responses
        self.settings = settings
        group, each = settings.subjects in ("group", "both"), settings.subjects in ("each", "both")
        if not (group or each):
            raise ValueError(f"subjects must be 'group', 'each' or 'both', got {settings.subjects!r}.")
        self.labels = (GROUP,) * group + responses.subjects * each
        parts = [responses.group_mean] * group + list(responses.values) * each
        self.targets = torch.cat(parts, dim=1)
        self.ceilings = _ceilings(responses, group, each, settings.seed)
        self.runs = responses.runs if len(torch.unique(responses.runs)) > 1 else None
        self.is_time_series = responses.tr is not None
        self.nuisances = responses.nuisances if settings.partial_nuisances else None
        self.gap = responses.gap if settings.gap is None else settings.gap

    def features(self, features: Tensor) -> Encoded:
        """Encode stimulus features (N, P)."""
        return self.volumes(self.responses.to_volumes(features.float()))

    def volumes(self, X: Tensor) -> Encoded:
        """Encode features that are on the volumes' clock, (T, P)."""
        settings = self.settings
        result = ridge_cv(
            X,
            self.targets.to(X.dtype),
            groups=self.runs,
            n_folds=settings.n_folds,
            gap=self.gap,
            selection=settings.selection or ("folds" if self.is_time_series else "loo"),
            nuisances=self.nuisances,
            warn=False,  # a fit a block, each with the same ROIs missing: warn_undefined says it once
        )
        return X, result

    def warn_undefined(self, name: str, results: Mapping[str, EncodingResult], *, twin: bool) -> None:
        """Warn once a model of the ROIs that score NaN, and why; once more where features add some.

        Args:
            name: of the model.
            results: of its features and blocks, by what they are called.
            twin: ROIs without responses were named for the model itself.
        """
        undefined = {feature: result.r.isnan() for feature, result in results.items()}
        everywhere = torch.stack(list(undefined.values())).all(dim=0)
        silent = everywhere & self.targets.isnan().all(dim=0).to(everywhere.device)
        where = f" in one of {len(self.labels)} sets of subjects or more" if len(self.labels) > 1 else ""
        reasons = []
        if count := self._count(silent):
            reasons.append(f"{count} without any response")
        if count := self._count(everywhere & ~silent):
            reasons.append(f"{count} whose {_UNDEFINED}, or of which too few responses are observed")
        if len(reasons) > int(twin and bool(silent.any())):
            total = len(self.responses.rois)
            warnings.warn(
                f"{self._count(everywhere)} of {total} ROIs score NaN for {name!r}{where}: "
                f"{' and '.join(reasons)}.",
                stacklevel=3,
            )
        more = {feature: columns & ~everywhere for feature, columns in undefined.items()}
        some = {feature: count for feature, columns in more.items() if (count := self._count(columns))}
        if some:
            each = ", ".join(f"{count} under {feature!r}" for feature, count in list(some.items())[:4])
            rest = f" and some under {len(some) - 4} others" if len(some) > 4 else ""
            warnings.warn(
                f"ROIs score NaN for {name!r} under some features alone{where}, as their {_UNDEFINED}: "
                f"{each}{rest}.",
                stacklevel=3,
            )

    def _count(self, columns: Tensor) -> int:
        """Number of ROIs with any of these (K * R,) columns."""
        return int(columns.view(len(self.labels), -1).any(dim=0).sum())

    def p_values(self, X: Tensor, result: EncodingResult) -> Tensor:
        """(K * R,) one-sided p: the same fits on shifted (time series) or permuted responses."""
        null = ridge_null(
            X,
            self.targets.to(X.dtype),
            result,
            groups=self.runs,
            gap=self.gap,
            nuisances=self.nuisances,
            moves="shift" if self.is_time_series else "blocks",
            n_permutations=self.settings.n_permutations,
            seed=self.settings.seed,
        )
        return permutation_p(result.r, null)

    def table(self, X: Tensor | None, result: EncodingResult, base: Mapping[str, Any]) -> pd.DataFrame:
        """Long-form rows of one feature: one a subject and ROI."""
        n_rois = len(self.responses.rois)
        tested = self.settings.n_permutations and base["feature"] in self.settings.null_features
        p = self.p_values(X, result) if tested and X is not None else torch.full_like(result.r, math.nan)
        frames = []
        for k, label in enumerate(self.labels):
            part = slice(k * n_rois, (k + 1) * n_rois)
            frame = pd.DataFrame(
                {
                    "roi": self.responses.rois["roi"].to_numpy(),
                    "network": self._network(),
                    "r": result.r[part].cpu().numpy(),
                    "r2": result.r2[part].cpu().numpy(),
                    "p": p[part].cpu().numpy(),
                    "q": fdr(p[part]).cpu().numpy(),
                    "ceiling": self.ceilings[k].cpu().numpy(),
                }
            )
            frames.append(frame.assign(subject=label))
        return pd.concat(frames, ignore_index=True).assign(
            **base, n_volumes=len(self.targets), simulated=self.responses.simulated
        )

    def group_rows(self, result: EncodingResult) -> tuple[Tensor, Tensor]:
        """Return r and r2 of the first target set (the group mean where it is scored), (R,) each."""
        n_rois = len(self.responses.rois)
        return result.r[:n_rois], result.r2[:n_rois]

    def _network(self) -> Any:
        rois = self.responses.rois
        return rois["network"].to_numpy() if "network" in rois.columns else self.responses.dataset


def _ceilings(responses: Responses, group: bool, each: bool, seed: int) -> list[Tensor]:
    """Ceiling of every target set: what the responses know, else split-half or leave-one-subject-out."""
    n_subjects, _, n_rois = responses.values.shape
    unknown = torch.full((n_rois,), math.nan)
    ceilings = []
    if group:
        if responses.noise_ceiling is not None:
            ceilings.append(responses.noise_ceiling)
        else:
            several = n_subjects > 1
            ceilings.append(
                noise_ceiling(responses.values, method="split_half", seed=seed) if several else unknown
            )
    if each and responses.subject_ceilings is not None:
        ceilings += list(responses.subject_ceilings)
    elif each:
        alone = noise_ceiling(responses.values, method="loo_subject") if n_subjects > 1 else unknown
        ceilings += [alone] * n_subjects
    return ceilings


def _best_block(blocks: list[EncodingResult]) -> EncodingResult:
    """Join blocks into one result: per fold and ROI the block that won inside that fold's training data."""
    inner = torch.stack([block.inner_score for block in blocks])
    winner = inner.nan_to_num(nan=-math.inf).argmax(dim=0)  # (folds, K * R)
    fold_r = torch.stack([block.fold_r for block in blocks]).gather(0, winner[None])[0]
    fold = blocks[0].fold
    preds = torch.stack([block.preds for block in blocks])
    chosen = preds.gather(0, winner[fold.clamp(min=0)][None])[0]
    chosen = torch.where(fold[:, None] >= 0, chosen, math.nan)
    r = fold_r.mean(dim=0)
    return replace(blocks[0], preds=chosen, fold_r=fold_r, r=r, r2=squared_correlation(r))


def _check_stimuli(trajectory: Trajectory, responses: Responses) -> None:
    wanted = len(responses.stimulus_ids)
    got = trajectory.stimulus_ids
    if len(got) != wanted or not torch.equal(got.cpu(), torch.arange(wanted)):
        raise ValueError(
            f"The trajectory must hold stimuli 0 to {wanted - 1}, each once and in order; got {len(got)}. "
            "Run the whole dataloader before scoring."
        )


def _spectrum_table(dynamics: DMDResult, base: Mapping[str, Any]) -> pd.DataFrame:
    eigenvalues, amplitudes, index = dynamics.eigenvalues, dynamics.amplitudes, dynamics.stable_index
    if dynamics.operator == "per_stimulus":
        # a spectrum a stimulus is too many to show: take the stimulus of median stable modulus
        middle = dynamics.stable_eigenvalue.abs().argsort()[len(eigenvalues) // 2]
        eigenvalues, amplitudes, index = eigenvalues[middle], amplitudes[middle], index[middle]
    modulus = eigenvalues.abs().cpu().numpy()
    frame = pd.DataFrame(
        {
            "mode": range(len(modulus)),
            "real": eigenvalues.real.cpu().numpy(),
            "imag": eigenvalues.imag.cpu().numpy(),
            "modulus": modulus,
            "amplitude": amplitudes.cpu().numpy(),
            "distance_to_unit_circle": abs(modulus - 1),
        }
    )
    return frame.assign(stable=frame["mode"] == int(index), **base)[list(COLUMNS["spectra"])]


def _depth_table(
    trajectory: Trajectory,
    dynamics: DMDResult,
    encode: _Encoder,
    blocks: list[Encoded],
    base: Mapping[str, Any],
) -> pd.DataFrame:
    scores = [encode.group_rows(result) for _, result in blocks]
    weights = dynamics.coefficients.abs()
    if weights.ndim == 2:
        weights = weights.nanmean(dim=0)
    unknown = [math.nan] * len(trajectory.layers)
    frame = pd.DataFrame(
        {
            "depth": [layer.index for layer in trajectory.layers],
            "layer": trajectory.layer_names,
            "width": trajectory.widths,
            "weight": weights.cpu().numpy(),
            "r": [float(r.nanmean()) for r, _ in scores] or unknown,
            "r2": [float(r2.nanmean()) for _, r2 in scores] or unknown,
        }
    )
    return frame.assign(**base)[list(COLUMNS["depth"])]
