"""Spaces for calibration.py: models that differ in nothing but noise, and scores of known SNCI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from calibration_sets import Values, both, series
from scipy.special import ndtr, ndtri
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permdisp as skbio_permdisp
from torch import Tensor

from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.controls import STATISTICS, compare_spaces, moved_responses
from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova, permanova_pairwise
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.silhouette import silhouette
from nfas_lightning.functional.snci import Form, snci_bootstrap, snci_permutation


def space(case: str, seed: int) -> Values:
    """Models that differ in nothing but noise, in designs of several kinds."""
    rng = np.random.default_rng(seed)
    if case in DESIGNS:
        return DESIGNS[case](rng, seed)
    kind, _, sizes = case.partition(" ")
    counts = [int(size) for size in sizes.split("+")]
    codes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    V = torch.from_numpy(rng.standard_normal((len(codes), 20)))
    if kind == "r2":  # ROIs share the level of a model
        level = torch.from_numpy(rng.standard_normal((len(codes), 1)))
        V = (0.25 + 0.1 * (level + V) / 2**0.5).clamp(min=0) ** 2
    D = distances(V)
    draws = {"n_permutations": 199, "seed": seed}
    pairs, rois = permanova_pairwise(D, codes, **draws), anova(V, codes)
    found = both("PERMANOVA", permanova(D, codes, **draws).p_value)
    found |= both("pairwise", pairs.p_value)
    found |= {"pairwise, FDR": [float((pairs.q_value <= 0.05).any()), np.nan]}
    found |= both("PERMDISP", permdisp(D, codes, **draws).p_value)
    found |= both("silhouette", silhouette(D, codes, **draws).p_value)
    found |= both("ANOVA", rois.p_value) | {"ANOVA, FDR": [float((rois.q_value <= 0.05).any()), np.nan]}
    found |= both("SNCI", snci_permutation(V if kind == "r2" else 3 + V, codes, **draws))
    apart = distances(V + 3 * V.std() * codes[:, None])
    if seed % 3 == 0:
        found |= both("PERMDISP, apart", permdisp(apart, codes, **draws).p_value)
    if kind == "normal" and seed % 10 == 0:  # a hundred times slower
        peer = skbio_permdisp(
            DistanceMatrix(apart.numpy()), codes.numpy(), test="centroid", permutations=99, dimensions=len(V)
        )
        found |= both("scikit-bio's PERMDISP, apart", torch.tensor(float(peer["p-value"])))
    return found


def tests(V: Tensor, codes: Tensor, name: str, seed: int, **by: Any) -> Values:
    """Tests between groups of models (M, R), restricted or not."""
    D, draws = distances(V), {"n_permutations": 199, "seed": seed, **by}
    found = both(f"PERMANOVA, {name}", permanova(D, codes, **draws).p_value)
    found |= both(f"silhouette, {name}", silhouette(D, codes, **draws).p_value)
    return found | both(f"ANOVA, {name}", anova(V, codes, **draws).p_value)


def strata(rng: np.random.Generator, seed: int) -> Values:
    """Two benchmarks that differ, and groups in unequal shares of both."""
    bench = torch.arange(2).repeat_interleave(8)
    codes = torch.tensor([0] * 6 + [1] * 2 + [0] * 2 + [1] * 6)
    V = torch.from_numpy(rng.standard_normal((16, 20)) + 2 * rng.standard_normal((2, 20))[bench])
    return tests(V, codes, "strata", seed, strata=bench) | tests(V, codes, "free", seed)


def units(rng: np.random.Generator, seed: int) -> Values:
    """Ten families of three alike, each in one of two groups."""
    family = torch.arange(10).repeat_interleave(3)
    V = torch.from_numpy(rng.standard_normal((30, 20)) + 1.5 * rng.standard_normal((10, 20))[family])
    codes = family % 2
    return tests(V, codes, "units", seed, units=family) | tests(V, codes, "free", seed)


def controls(rng: np.random.Generator, seed: int) -> Values:
    """Networks and untrained twins whose groups differ alike: training makes no difference."""
    codes = torch.arange(3).repeat_interleave(6)
    shared = 0.3 + 0.1 * rng.standard_normal((3, 20))[codes] + 0.1 * rng.standard_normal((18, 20))
    twins = [torch.from_numpy(shared + 0.1 * rng.standard_normal((18, 20))) for _ in range(2)]
    p = compare_spaces(*twins, codes, n_permutations=199, seed=seed).p_value
    found: Values = {}
    for name, value in zip(STATISTICS, p, strict=True):
        found |= both(f"{name}, beside twins", value)
    return found | both("PERMANOVA", permanova(distances(twins[0]), codes, n_permutations=199).p_value)


def moved(rng: np.random.Generator, seed: int) -> Values:
    """A null film: groups read streams of their own, and no network predicts anything."""
    n, n_rois, groups = 240, 12, (0, 0, 0, 0, 1, 1, 1, 1)
    Y = series("0.5", n, n_rois, rng)
    streams = [series("0.5", n, 4, rng) for _ in range(2)]
    scores, null = [], []
    for group in groups:
        X = streams[group] + 0.5 * series("0.5", n, 4, rng)
        result = ridge_cv(X, Y, gap=5, warn=False)
        scores.append(result.r)
        null.append(ridge_null(X, Y, result, gap=5, n_permutations=99, seed=seed))
    V, draws = torch.stack(scores).clamp(min=0) ** 2, torch.stack(null, dim=1).clamp(min=0) ** 2
    found = both("moved responses", moved_responses(V, draws, groups).p_value)
    return found | both("PERMANOVA", permanova(distances(V), groups).p_value)


DESIGNS: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "strata": strata, "units": units, "controls": controls, "moved film": moved,
}  # fmt: skip

DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal 1": lambda rng, shape: 1 + rng.standard_normal(shape),
    "normal 3": lambda rng, shape: 3 + rng.standard_normal(shape),
    "normal 8": lambda rng, shape: 8 + rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "r2 of .3 (.1)": lambda rng, shape: (0.3 + 0.1 * rng.standard_normal(shape)).clip(0) ** 2,
    "r2 of .1 (.1)": lambda rng, shape: (0.1 + 0.1 * rng.standard_normal(shape)).clip(0) ** 2,
    "log-normal .5": lambda rng, shape: np.exp(0.5 * rng.standard_normal(shape)),
}


def coverage(case: str, seed: int) -> Values:
    """Share of 200 intervals that hold the true SNCI: ours in three forms, and four other kinds."""
    rng = np.random.default_rng(seed)
    kind, _, n_models = case.partition(" x ")
    many = DRAWS[kind](np.random.default_rng(0), (1_000_000,))
    truth = many.mean() / many.std()
    scores = torch.from_numpy(DRAWS[kind](rng, (int(n_models), 200)))
    scores = scores[:, scores.std(0) > 0]
    found: Values = {}
    forms: dict[Form, float] = {
        "ratio": truth, "db": 20 * np.log10(truth), "bounded": truth**2 / (1 + truth**2)
    }  # fmt: skip
    for form, value in forms.items():
        low, high = snci_bootstrap(scores, ["m"] * len(scores), form=form, n_bootstrap=1999, seed=seed)
        found[form] = [float(((low <= value) & (value <= high)).double().mean()), np.nan]
    # a bootstrap from gamma instead of normal scores: the truth is inside where its test does not reject
    draws = torch.from_numpy(rng.standard_gamma(truth**2, (int(n_models), 1999)))
    ratios = scores.mean(0) / scores.std(0)
    low, high = (draws.mean(0) / draws.std(0)).nanquantile(torch.tensor([0.025, 0.975]).double())
    found["gamma"] = [float(((low <= ratios) & (ratios <= high)).double().mean()), np.nan]
    for name, (low, high) in resampled(scores, rng).items():
        found[name] = [float(((low <= truth) & (truth <= high)).double().mean()), np.nan]
    return found


def resampled(scores: Tensor, rng: np.random.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Percentile, bias-corrected (BCa) and studentized limits (R,) of mean / std over models (n, R)."""
    n = len(scores)

    def ratio_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = values.mean(-2, keepdim=True), values.std(-2, keepdim=True)
        z, ratio = (values - mean) / std, (mean / std).squeeze(-2)
        influence = z - ratio.unsqueeze(-2) / 2 * (z**2 - (n - 1) / n)
        return ratio, (influence**2).sum(-2).div(n * (n - 1)).sqrt()

    ratio, error = ratio_and_error(scores)
    again, its_error = ratio_and_error(scores[torch.from_numpy(rng.integers(n, size=(599, n)))])
    again = again.masked_fill(~again.isfinite(), float("nan"))
    at = torch.tensor([0.025, 0.975], dtype=scores.dtype)
    t = (again - ratio) / its_error
    low, high = t.masked_fill(~t.isfinite(), float("nan")).nanquantile(at, dim=0)
    without = torch.stack([ratio_and_error(torch.cat([scores[:i], scores[i + 1 :]]))[0] for i in range(n)])
    slope = without.mean(0) - without
    acceleration = ((slope**3).sum(0) / (6 * (slope**2).sum(0) ** 1.5)).numpy()
    bias = ndtri((again < ratio).double().mean(0).clamp(0.002, 0.998).numpy())
    shifted = [bias + ndtri(float(q)) for q in at]
    levels = [np.nan_to_num(ndtr(bias + s / (1 - acceleration * s)), nan=0.5) for s in shifted]
    columns = [np.diag(np.nanquantile(again.numpy(), level, axis=0)) for level in levels]
    percentile = again.nanquantile(at, dim=0)
    return {
        "percentile": (percentile[0], percentile[1]),
        "BCa": (torch.from_numpy(columns[0].copy()), torch.from_numpy(columns[1].copy())),
        "studentized": (ratio - high * error, ratio - low * error),
    }
