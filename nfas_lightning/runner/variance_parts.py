"""What networks explain of the same responses: each alone, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.alignment import captured
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.streams import stream_of
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count, check_option, double_device
from nfas_lightning.functional.intervals import interval
from nfas_lightning.functional.partition import variance_partition
from nfas_lightning.functional.standardization import Scaling
from nfas_lightning.hooks.undisturbed import kept_random_states, without_autocast
from nfas_lightning.models import ModelSuite
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.feature_scores import FeatureScores
from nfas_lightning.scoring.prepared import NetworkFeature, prepare

__all__ = ["partition_variance"]

_NUISANCES = "nuisances"


def partition_variance(
    models: Sequence[Any],
    datamodule: BrainDataModule,
    *,
    feature: NetworkFeature = "stable_mode",
    nuisances: bool = True,
    settings: ScoringSettings | None = None,
    confidence: float = 0.95,
    n_draws: int = 1000,
    device: torch.device | str | None = None,
    cache: bool | str = True,
    progress: bool = True,
) -> pd.DataFrame:
    """Divide the variance that networks explain of the same responses into unique and shared parts.

    Every network is shown the benchmark's stimuli, or its states are taken from an earlier run; of several
    streams each reads its own. The parts, and why some are negative, are those of `variance_partition`, on
    the mean response of all subjects; intervals are bootstrapped over stimuli and subjects.

    Args:
        models: as `score_models` takes them: names, networks, mappings of `FrozenModel`'s arguments, e.g.
            ``["minilm_l6", {"model": "minilm_l6", "weights": "random"}]``.
        datamodule: the benchmark.
        feature: of every network: ``"stable_mode"``, ``"last_block"``, ``"mean_depth"``, ``"all_blocks"``.
        nuisances: the benchmark's nuisances are one more set.
        settings: of dynamics, folds, and rows that stay together in a draw; None: the defaults. Of `regions`
            that are formed after the fit, parts are means over targets.
        confidence: of the intervals.
        n_draws: of the bootstrap.
        device: networks are moved there first; None: they stay where they are.
        cache: see `align`.
        progress: show a bar.

    Returns:
        One row per part and ROI: ``part`` in words, ``sets`` joined by " + ", ``n_sets``, ``roi``,
        ``network``, ``r2``, its limits ``low`` and ``high``, and ``p_value``, two-sided, that the part is
        zero. The part ``"all"`` is what all sets explain together, to which the others add up; the ROI
        ``"mean"`` is the mean over ROIs.

    Raises:
        ValueError: fewer than two sets or more than five, or what `score_models` raises.

    Example:
        >>> parts = partition_variance(["minilm_l6", "smollm2_135m"], brain)  # doctest: +SKIP
        >>> parts.query("roi == 'mean'")[["part", "r2", "low", "high"]]  # doctest: +SKIP
    """
    check_option("feature", feature, get_args(NetworkFeature))
    check_count("n_draws", n_draws, 2)
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}.")
    settings = replace(ScoringSettings.given(settings), n_permutations=0, subjects="group")
    sets: dict[str, Tensor] = {}
    scaling: dict[str, Scaling] = {}
    with kept_random_states():
        datamodule.prepare_data()
        datamodule.setup()
        settings.check(datamodule.responses)
        responses = datamodule.responses
        for member in ModelSuite(models, random_twins=False).members():
            brain = stream_of(datamodule, member)
            found = captured(member, brain, device=device, cache=cache, progress=progress)
            home = double_device(torch.device(found.device or found.trajectory.states[0].device))
            responses, name = brain.responses.to(home), found.card["name"]
            with without_autocast():
                prepared = prepare(found.trajectory, responses, settings, model=name, device=home)
                features, scaling[name] = prepared.feature(feature, home)
                sets[name] = responses.to_volumes(features)
            del prepared, features, found
    encode = FeatureScores(responses, settings)
    if nuisances and encode.encoder.nuisances is not None:
        if _NUISANCES in sets:
            raise InputError(f"No model may be called {_NUISANCES!r} beside the nuisances: give it a name.")
        sets[_NUISANCES] = encode.encoder.nuisances.to(next(iter(sets.values())))
        scaling[_NUISANCES] = "unit"
    return _table(sets, scaling, encode, confidence, n_draws)


def _table(
    sets: Mapping[str, Tensor],
    scaling: Mapping[str, Scaling],
    encode: FeatureScores,
    confidence: float,
    n_draws: int,
) -> pd.DataFrame:
    """Fit every union of sets and tell of the parts, see `partition_variance`."""
    responses, encoder = encode.responses, encode.encoder
    found = variance_partition(
        sets,
        encode.targets.to(next(iter(sets.values()))),
        scaling=scaling,
        groups=encoder.groups,
        n_folds=encode.settings.n_folds,
        gap=encoder.gap,
        selection=encoder.selection,
        seed=encode.settings.seed,
    )

    def shown(parts: Tensor) -> Tensor:
        """Add the sum over parts and the mean over ROIs to (..., parts, R)."""
        rows = encode.by_row(torch.cat([parts, parts.sum(-2, keepdim=True)], dim=-2))
        return torch.cat([rows, rows.nanmean(-1, keepdim=True)], dim=-1)

    draws = found.draw(
        responses.values.to(found.preds),
        block_length=encode.settings.drawn_rows(responses),
        units=responses.identical,
        n_draws=n_draws,
        seed=encode.settings.seed,
    )
    limits = interval(shown(found.r2_parts).double(), draws.map(shown), confidence=confidence)
    rois, networks = [*encode.rois["roi"], "mean"], [*encode.networks, ""]
    words = [
        ("unique to " if len(some) == 1 else "shared by ") + " and ".join(some) for some in found.subsets
    ]
    frames = []
    for row, (part, subset) in enumerate([*zip(words, found.subsets, strict=True), ("all", tuple(sets))]):
        about = {"part": part, "sets": " + ".join(subset), "n_sets": len(subset), "roi": rois}
        columns = {"r2": limits.estimate, "low": limits.low, "high": limits.high, "p_value": limits.p_value}
        numbers = {name: values[row].cpu().numpy() for name, values in columns.items()}
        frames.append(pd.DataFrame({**about, "network": networks, **numbers}))
    table = pd.concat(frames, ignore_index=True)
    return table.assign(dataset=responses.dataset, simulated=responses.simulated)
