"""One model on one benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.checks import double_device
from nfas_lightning.functional.dmd import DMDResult
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.results import COLUMNS, TIME_COLUMNS, ModelResult, empty_table
from nfas_lightning.scoring.feature_scores import Encoded, FeatureScores, best_block
from nfas_lightning.scoring.frames import in_time
from nfas_lightning.scoring.lag_scores import lag_scores
from nfas_lightning.scoring.mode_shares import mode_shares
from nfas_lightning.scoring.prepared import prepare
from nfas_lightning.scoring.region_model import fit_region_model
from nfas_lightning.scoring.score_intervals import draw_intervals
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["score_trajectory"]


def score_trajectory(
    trajectory: Trajectory,
    responses: Responses,
    card: Mapping[str, Any],
    settings: ScoringSettings | None = None,
    *,
    device: torch.device | str | None = None,
) -> ModelResult:
    """Score one model on one benchmark.

    The stable mode of the trajectory and its baselines are read from one prepared trajectory (the state
    space's, each depth centered as the dynamics ask), and go through the same encoding model with the same
    folds. Nothing that is fitted to a response sees a test volume; the state space and the depth dynamics
    are fitted to the presented stimuli alone.

    Args:
        trajectory: states of all N stimuli, in the order of `Responses.stimulus_ids`; with frames, see
            `in_time`.
        responses: what the brain did.
        card: ``name``, ``modality``, ``family``, ``source``, ``license``, ``parameters``, ``weights_sha256``,
            ``note``, ``pooling``, ``weights``, ``seconds_capture``, and ``twin_of``: where it names a model,
            this is the random-weights twin of it, and yields that model's feature ``random_weights`` alone.
        settings: the choices; defaults are those of the method page.
        device: that does the work; None: where the states arose, see `Trajectory`. States that lie elsewhere
            go there in parts. What has no float64 (Apple's MPS) leaves the work to the CPU.

    Returns:
        Tables of scores, spectrum and depth, and the card completed. Where the stimuli do not differ at a
        block there is no stable mode: it scores NaN, with a warning that names the blocks.

    Raises:
        ValueError: the trajectory does not hold the stimuli that the responses ask for, the stimuli do not
            differ at a block and the widths of blocks do, or what `Encoder` raises.
    """
    settings = ScoringSettings.given(settings)
    device = double_device(torch.device(device or trajectory.device or trajectory.states[0].device))
    trajectory, responses, over_time = in_time(trajectory, responses, settings, device=device)
    given, responses = responses, responses.to(device)
    encode = FeatureScores(responses, settings)
    twin, name = bool(card["twin_of"]), card["twin_of"] or card["name"]
    space, dynamics, Z, features, scaling = prepare(
        trajectory, responses, settings, model=card["name"], device=device
    )
    stable = encode.features(features, scaling)
    encoded: dict[str, Encoded] = {}
    blocks: list[Encoded] = []
    if twin:
        encoded["random_weights"] = stable
    else:
        encoded["stable_mode"] = stable
        if settings.baselines:
            blocks = [encode.features(state.to(device), space.scaling_) for state in Z.unbind(1)]
    if blocks:
        encoded["last_block"] = blocks[-1]
        encoded["best_block"] = best_block(
            [block.fits for block in blocks if block.fits],
            settings.score,
            [block.preds for block in blocks if block.preds is not None],
        )
        blocks = [block._replace(preds=None) for block in blocks]
        encoded["mean_depth"] = encode.features(Z.mean(dim=1).to(device), space.scaling_)
        encoded["all_blocks"] = encode.features(Z.flatten(1).to(device), space.scaling_)
        nuisances = encode.nuisances()
        if nuisances is not None:
            encoded["nuisance"] = nuisances
    named = {**encoded, **dict(zip(trajectory.layer_names, blocks, strict=False))}
    if bool(dynamics.stable_eigenvalue.isnan().any()):  # said already: what follows from it is no news
        named = {
            key: result
            for key, result in named.items()
            if not bool(result.scores[encode.shown(key)].r.isnan().all())
        }
    if named:
        encode.warn_undefined(card["name"], named, twin=twin)
        encode.warn_grid(card["name"], encoded)

    base = {"model": name, "modality": card["modality"], "dataset": responses.dataset}
    labels = {**base, "family": card["family"]}
    draws = draw_intervals(encode, given, encoded, base)
    frames = [encode.table(result, {**labels, "feature": feature}) for feature, result in encoded.items()]
    scores = pd.concat(frames, ignore_index=True)
    scores = scores[[*COLUMNS["scores"], *(name for name in TIME_COLUMNS if name in scores)]]
    spectra = _spectrum_table(dynamics, base)
    depth = _depth_table(trajectory, dynamics, encode, blocks, base).assign(**over_time)
    by_lag = None
    if responses.lags is not None and not twin:
        by_lag = lag_scores(encode, stable, blocks, trajectory.layer_names, base)
        depth = depth.assign(**by_lag.peaks)
    chosen = spectra[spectra["stable"]].iloc[0]
    poolings = [layer.pooling for layer in trajectory.layers]
    completed = {
        **card,
        "model": name,
        "dataset": responses.dataset,
        "pooling": next((p for p in poolings if p.endswith(":rest")), card["pooling"]),
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
        **({} if by_lag is None else by_lag.slope),
    }
    modes = empty_table("modes")
    if settings.modes and not twin and not dynamics.dead:
        modes = mode_shares(encode, Z, space.scaling_, base)
    kept = None
    if settings.keep_model and not twin and not bool(features.isnan().any()):
        kept = fit_region_model(
            encode.encoder,
            space=space,
            dynamics=dynamics,
            features=features,
            phase=settings.phase,
            model=name,
            layer_names=trajectory.layer_names,
        )
    return ModelResult(
        scores=scores,
        spectra=spectra,
        depth=depth,
        card=completed,
        nulls=encode.nulls,
        draws=draws,
        modes=modes,
        lags=empty_table("lags") if by_lag is None else by_lag.lags,
        region_model=kept,
    )


def _spectrum_table(dynamics: DMDResult, base: Mapping[str, Any]) -> pd.DataFrame:
    eigenvalues, amplitudes, index = dynamics.eigenvalues, dynamics.amplitudes, dynamics.stable_index
    if dynamics.operator == "per_stimulus":
        # one spectrum per stimulus is too many to show: take the stimulus of median stable modulus
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
    encode: FeatureScores,
    blocks: list[Encoded],
    base: Mapping[str, Any],
) -> pd.DataFrame:
    scores = [encode.group_rows(block) for block in blocks]
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
