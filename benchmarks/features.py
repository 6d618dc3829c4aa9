"""Compare the stable mode with its baselines, and rules for rank, centering and criterion with each other.

    NFAS_DATA=FOLDER python benchmarks/features.py [--data alice natural_sounds] [--rules] [--cache FOLDER]

Every feature is read from one prepared trajectory and goes through one encoding model, as in every run. Per
network an interval is that of a bootstrap over blocks of rows, paired between the features; over networks it
is Student's t with a sign-flip test, a network being the unit. `--rules` compares rules that see stimuli and
the spectrum alone, on the same data and on planted dynamics, each with the default rule. Trajectories are
recorded once and kept in --cache: empty it when the code that records them has changed.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from features_planted import DEPTHS, DRIVERS, planted
from features_rules import RULES, feature_of
from torch import Tensor

from nfas_lightning.alignment import record_trajectory
from nfas_lightning.data.responses import Responses
from nfas_lightning.datamodules import AliceDataModule, NaturalSoundsDataModule, SimulatedBrainDataModule
from nfas_lightning.functional import (
    EncodingResult,
    StateSpace,
    bootstrap_scores,
    dmd,
    paired_test,
    ridge_cv,
)
from nfas_lightning.functional.dmd import center_depths, combine_depths
from nfas_lightning.hooks.shards import read_shards, write_shard
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.models import FrozenModel
from nfas_lightning.results import Score, compare_features
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.encoder import Encoder

LANGUAGE = ("paraphrase_minilm_l3", "minilm_l6", "multilingual_e5_small", "smollm2_135m")
AUDIO = ("ge2e_voice_encoder", "silero_vad", "crepe_tiny", "fcpe_conformer", "whisper_base")
VISION = ("mobilenet_v2", "efficientnet_lite0", "mtcnn_onet")
small = partial(SimulatedBrainDataModule, n_stimuli=160)
# data set: what makes it, its networks, outer folds where it has one run
DATA: dict[str, tuple[Any, tuple[str, ...], int]] = {
    "alice": (AliceDataModule, LANGUAGE, 5),
    "natural_sounds": (NaturalSoundsDataModule, AUDIO, 10),
    "simulated_language": (partial(small, "language"), LANGUAGE, 5),
    "simulated_audio": (partial(small, "audio"), AUDIO, 5),
    "simulated_vision": (partial(small, "vision"), VISION, 5),
}
SECONDS = 20.0  # rows of a time series that stay together in the bootstrap
SHOWN: tuple[Score, ...] = ("alone", "partial")
WORDS = {"alone": "alone", "partial": "beyond the nuisances"}
Fitted = Mapping[str, Mapping[str, Mapping[Score, EncodingResult]]]
"""Fits by model, feature and number."""


def recorded(name: str, brain: Any, model: str, cache: Path) -> Trajectory:
    """Return a network's trajectory, recorded now or before."""
    folder = cache / name / f"{model}-{brain.responses.hashes.get('stimuli', '')[:12]}"
    if not (folder / "0.safetensors").exists():
        trajectory = record_trajectory(FrozenModel(model), brain.stimuli, batch_size=brain.batch_size)
        assert trajectory is not None
        write_shard(folder / "0.safetensors", trajectory)
    return read_shards(folder)


def driven(responses: Responses, kept: Any) -> Responses:
    """Return the regions that stimuli drive; the others of a simulated brain are noise."""
    rois = responses.rois[kept].reset_index(drop=True)
    return replace(responses, values=responses.values[..., kept], rois=rois, noise_ceiling=None)


class Bench:
    """One data set and its encoding model."""

    def __init__(self, name: str, cache: Path) -> None:
        make, self.models, n_folds = DATA[name]
        self.name, self.cache, self.brain = name, cache, make()
        self.brain.prepare_data()
        self.brain.setup()
        responses = self.brain.responses
        if isinstance(self.brain, SimulatedBrainDataModule):
            responses = driven(responses, self.brain.truth["planted"].to_numpy())
        self.responses = responses
        self.encoder = Encoder(responses, ScoringSettings(n_folds=n_folds, n_permutations=0))
        self.block_length = 1 if responses.tr is None else round(SECONDS / responses.tr)

    def fits(self, features: Tensor, scaling: Any) -> dict[Score, EncodingResult]:
        """Encode stimulus features: alone, and beyond the nuisances."""
        X, Y = self.encoder.to_volumes(features), self.responses.group_mean
        return {
            score: self.encoder.fit(X, Y, nuisances=known, scaling=scaling, warn=False, keep_preds=True)
            for score, known in zip(SHOWN, (None, self.encoder.nuisances), strict=True)
        }

    def prepared(self, model: str) -> tuple[Tensor, Any]:
        """Return (N, L, D) in one state space, and how its features are scaled."""
        presented = self.responses.presented
        states = recorded(self.name, self.brain, model, self.cache).states
        space = StateSpace(seed=0)
        return space.fit_transform([state[presented] for state in states]), space.scaling_

    def features(self, model: str) -> dict[str, dict[Score, EncodingResult]]:
        """Fit the stable mode and its baselines."""
        H, scaling = self.prepared(model)
        result = dmd(H)
        Z = center_depths(H, result)
        blocks = [self.fits(block, scaling) for block in Z.unbind(1)]
        return {
            "stable_mode": self.fits(combine_depths(Z, result, centered=True), scaling),
            "last_block": blocks[-1],
            "best_block": {score: chosen([block[score] for block in blocks]) for score in SHOWN},
            "mean_depth": self.fits(Z.mean(dim=1), scaling),
            "all_blocks": self.fits(Z.flatten(1), scaling),
        }

    def rules(self, model: str) -> dict[str, dict[Score, EncodingResult]]:
        """Fit the feature of every rule; rules that agree are fitted once."""
        H, scaling = self.prepared(model)
        done: dict[Any, dict[Score, EncodingResult]] = {}
        fitted = {}
        for rule in RULES:
            features, key = feature_of(H, rule)
            if key not in done:
                done[key] = self.fits(features, scaling)
            fitted[rule] = done[key]
        return fitted


def chosen(blocks: list[EncodingResult]) -> EncodingResult:
    """Join, for every fold and region, the block that won inside the fold's training rows."""
    inner = torch.stack([block.inner_score for block in blocks]).nan_to_num(nan=-torch.inf)
    winner = inner.argmax(dim=0)  # (folds, R)
    pick = partial(torch.gather, dim=0)
    preds = pick(torch.stack([b.preds for b in blocks]), index=winner[blocks[0].fold][None])[0]
    fold_r = pick(torch.stack([b.fold_r for b in blocks]), index=winner[None])[0]
    return type(blocks[0])(**{**vars(blocks[0]), "preds": preds, "fold_r": fold_r, "r": fold_r.mean(0)})


def table_of(fitted: Fitted, name: str) -> pd.DataFrame:
    """Return the scores table of fits by model and feature, as `compare_features` reads it."""
    frames = [
        pd.DataFrame(
            {
                "model": model, "dataset": name, "feature": feature, "simulated": "simulated" in name,
                "roi": range(len(fits["alone"].r)), "r": fits["alone"].r, "r_joint": fits["partial"].r_joint,
                "r_partial": fits["partial"].r, "score": "partial",
                **{f"r2{tail}": torch.nan for tail in ("", "_joint", "_partial")},
            }
        )
        for model, features in fitted.items()
        for feature, fits in features.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def print_leads(title: str, drawn: Tensor) -> None:
    """Print the 95 % limits of the first feature's lead over each of the others, from draws of all."""
    limits = (drawn[:, :1] - drawn)[:, 1:].quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype), dim=0)
    cells = [f"{low:>+10.3f} {high:+.3f}" for low, high in limits.T.tolist()]
    print(f"    {title:<24}{'':>14}" + "".join(cells))


def print_networks(bench: Bench, fitted: Fitted) -> None:
    """Print mean r per network and feature, and the stable mode's lead with its interval over rows."""
    _, n_rows, n_rois = bench.responses.values.shape
    print(f"\n{bench.name}: {n_rows} rows, {n_rois} regions; drawn in blocks of {bench.block_length}")
    names = list(next(iter(fitted.values())))
    for score in SHOWN:
        print(f"\n    {f'r {WORDS[score]}':<24}" + "".join(f"{name:>14}" for name in names[:1]), end="")
        print("".join(f"{name:>17}" for name in names[1:]))
        draws = []
        for model, features in fitted.items():
            results = [features[name][score] for name in names]
            means = [float(result.r.nanmean()) for result in results]
            print(f"    {model:<24}{means[0]:>14.3f}" + "".join(f"{mean:>17.3f}" for mean in means[1:]))
            preds, target = torch.stack([result.preds for result in results]), results[0].target[None]
            drawn = bootstrap_scores(preds, target, results[0].fold, block_length=bench.block_length)
            draws.append(drawn.stimuli.nanmean(-1))
            print_leads("  stable mode ahead by", draws[-1])
        print_leads("mean over networks, by", torch.stack(draws).mean(0))


def print_comparison(scores: pd.DataFrame) -> None:
    """Print the table of `nfas compare`, for both numbers."""
    for score in SHOWN:
        print(f"\nOver networks, r {WORDS[score]}: stable mode minus baseline")
        titles = f"{'networks':>9}{'difference':>12}{'95 % interval':>18}{'p':>7}{'q':>7}"
        print(f"    {'':<22}{'baseline':<14}{titles}")
        for row in compare_features(scores, score=score).itertuples():
            print(
                f"    {row.dataset:<22}{row.baseline:<14}{row.n_models:>9}{row.difference:>+12.3f}"
                f"{row.low:>+11.3f} {row.high:+.3f}{row.p_value:>7.3f}{row.q_value:>7.3f}"
            )


def planted_scores(n_brains: int) -> dict[str, list[float]]:
    """Return the mean r of every rule per driver, over depths and brains, and of two baselines."""
    found: dict[str, list[float]] = {}
    for driver in DRIVERS:
        r: dict[str, list[float]] = {}
        for depth in DEPTHS:
            for seed in range(n_brains):
                H, Y = planted(seed, depth, driver)
                Z = center_depths(H, dmd(H))
                features = {rule: feature_of(H, rule) for rule in RULES}
                features |= {"mean over depth": (Z.mean(1), "mean"), "last block": (Z[:, -1], "last")}
                done: dict[Any, float] = {}
                for rule, (X, key) in features.items():
                    if key not in done:
                        fit = ridge_cv(X, Y, selection="loo", scaling="common", warn=False)
                        done[key] = float(fit.r.mean())
                    r.setdefault(rule, []).append(done[key])
        for rule, values in r.items():
            found.setdefault(rule, []).append(sum(values) / len(values))
    return found


def print_rules(scores: Mapping[str, pd.DataFrame], n_brains: int) -> None:
    """Print mean r of every rule and its lead over the default; then its r on planted dynamics."""
    found = planted_scores(n_brains)
    print(f"\n{len(RULES)} rules: mean r (lead over the default, p)")
    titles = [f"{name} {score}" for name in scores for score in SHOWN]
    print(f"    {'':<26}" + "".join(f"{title:>25}" for title in titles))
    for rule in RULES:
        cells = []
        for table in scores.values():
            for column in ("r", "r_partial"):
                wide = table.pivot_table(index="feature", columns="model", values=column)
                lead = paired_test(torch.tensor(list(wide.loc[rule] - wide.loc["default"])))
                cells.append(f"{wide.loc[rule].mean():.3f} ({lead.mean:+.3f}, {lead.p_value:.2f})")
        print(f"    {rule:<26}" + "".join(f"{cell:>25}" for cell in cells))
    print(f"\nOn planted dynamics, {n_brains} brains at each of {DEPTHS} depths: mean r, by what drives them")
    print(f"    {'':<26}" + "".join(f"{driver:>17}" for driver in (*DRIVERS, "mean")))
    for rule, r in sorted(found.items(), key=lambda item: -sum(item[1])):
        print(f"    {rule:<26}" + "".join(f"{value:>17.3f}" for value in (*r, sum(r) / len(r))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=tuple(DATA), default=["alice", "natural_sounds"])
    parser.add_argument("--rules", action="store_true", help="compare rules too")
    parser.add_argument("--brains", type=int, default=10, help="planted brains per depth and driver")
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=UserWarning)
    tables: list[pd.DataFrame] = []
    of_rules: dict[str, pd.DataFrame] = {}
    for name in options.data:
        bench = Bench(name, options.cache)
        fitted = {model: bench.features(model) for model in bench.models}
        print_networks(bench, fitted)
        tables.append(table_of(fitted, name))
        if options.rules:
            of_rules[name] = table_of({model: bench.rules(model) for model in bench.models}, name)
    print_comparison(pd.concat(tables, ignore_index=True))
    if options.rules:
        print_rules(of_rules, options.brains)


if __name__ == "__main__":
    main()
