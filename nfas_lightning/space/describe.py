"""The statistics of a space, computed once: coordinates, tests between groups, SNCI, each model left out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.embedding import DistanceMetric, distances, mds, pca
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.permanova import permanova, permanova_pairwise
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.relabeling import Relabeling, Restriction
from nfas_lightning.functional.silhouette import silhouette
from nfas_lightning.functional.snci import snci, snci_bootstrap, snci_permutation
from nfas_lightning.results import MIN_MODELS, SpaceStatistics, few_models, group_words

__all__ = ["describe_space", "leave_one_out", "nearest_models"]

_NEIGHBORS = 3
_LEFT_OUT = ("model", "group", "permanova", "p_value", "silhouette", "snci", "convergence", "anova")
_NO_TESTS: dict[str, Any] = {
    "permanova": {},
    "permdisp": {},
    "silhouette": {},
    "pairwise": pd.DataFrame(columns=["first", "second", "statistic", "p_value", "q_value"]),
    "silhouette_samples": pd.DataFrame(columns=["model", "group", "silhouette"]),
    "anova": pd.DataFrame(columns=["roi", "network", "statistic", "p_value", "q_value", "eta_squared"]),
}


def describe_space(
    scores: Tensor,
    vectors: Tensor,
    models: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    group_by: str = "modality",
    metric: DistanceMetric = "euclidean",
    value: str = "r2",
    n_permutations: int = 9999,
    seed: int = 0,
    stability: bool = True,
    by: Restriction | None = None,
) -> SpaceStatistics:
    """Compute the statistics of a space. What can't be computed stays empty, and the notes say why.

    Args:
        scores: (M, R) scores, which SNCI and convergence read.
        vectors: (M, R) scores as geometry and tests see them: the same, or standardized.
        models: M rows with ``model``, ``group`` and, where known, ``simulated``.
        rois: R rows with ``roi`` and, where known, ``network``.
        group_by: what the groups are of, for the notes.
        metric: of the distances between models.
        value: ``"r2"`` or ``"r"``.
        n_permutations: draws of each test; 0: no test is run, which is enough to draw the models' places.
        seed: of the draws.
        stability: also leave each model out in turn, see `leave_one_out`.
        by: what restricts permutations, see `functional.permanova.permanova`; of PERMDISP the strata alone.
    """
    notes: list[str] = []
    several = group_words(group_by)[1]
    counts = models["group"].value_counts()
    named = rois[["roi"]].assign(network=rois.get("network", ""))
    between = distances(vectors, metric)
    # scaling of euclidean distances would be PCA once more
    scaled = metric if metric != "euclidean" else "correlation"
    tests = _NO_TESTS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coordinates, explained = _coordinates(vectors, models, scaled, notes)
        kept = torch.tensor(models["group"].isin(counts.index[counts > 1]).tolist())
        testable = (counts > 1).sum() > 1
        if not testable:
            notes.append(
                f"PERMANOVA, PERMDISP, silhouette and ANOVA need two {several} of two models, got "
                f"{counts.sort_index().to_dict()}: they are left out."
            )
        elif single := sorted(counts.index[counts < 2]):
            notes.append(f"{', '.join(single)}: one model each, left out of the tests between {several}.")
        if testable and not bool(torch.isfinite(between[kept][:, kept]).all()):
            testable = False
            notes.append(f"Some {metric} distances are undefined: the tests between {several} are left out.")
        if testable and n_permutations:
            some = models[kept.tolist()].reset_index(drop=True)
            inside = _taken(by, kept.nonzero()[:, 0].tolist())
            tests = _tests(vectors[kept], some, named, metric, n_permutations, seed, inside, notes)
        agreement, convergence = _agreement(scores, models["group"], named, n_permutations, seed)
    if value != "r2" and bool((agreement["ratio"] < 0).any()):
        notes.append(
            f"Some {several} score below zero on average: bounded SNCI and convergence ignore the sign."
        )
    if len(counts) < 2:
        notes.append(f"Convergence needs two {several}, got one: it is left out.")
    # a degenerate ROI or model is part of the result: it belongs in the report, not only on the console
    notes.extend(dict.fromkeys(str(item.message) for item in caught))
    if not testable and counts.max() < MIN_MODELS:
        notes = [few_models(group_by)]  # one sentence for all that is left out
    left_out = pd.DataFrame()
    if stability and n_permutations:
        left_out = leave_one_out(scores, vectors, models, metric=metric, seed=seed, by=by)
    return SpaceStatistics(
        coordinates=coordinates,
        explained=explained,
        snci=agreement,
        convergence=convergence,
        notes=tuple(notes),
        nearest=_neighbors(between, models),
        stability=left_out,
        group_by=group_by,
        mds_metric=scaled,
        **tests,
    )


def nearest_models(distance: Tensor, row: int, n: int) -> list[int]:
    """Return the rows of the `n` models nearest to one, nearest first.

    Args:
        distance: (M, M) distances between models.
        row: of the model.
        n: how many.
    """
    order = np.argsort(distance[row].numpy(), kind="stable")
    return [int(i) for i in order if i != row][:n]


def leave_one_out(
    scores: Tensor,
    vectors: Tensor,
    models: pd.DataFrame,
    *,
    metric: DistanceMetric = "euclidean",
    n_permutations: int = 999,
    seed: int = 0,
    by: Restriction | None = None,
) -> pd.DataFrame:
    """Compute a space's tests and maps without each of its models: does it rest on one of them?

    Args:
        scores: (M, R) scores, of at least two groups of two models; groups of one are left aside, as in the
            tests.
        vectors: (M, R) scores as geometry and tests see them.
        models: M rows with ``model`` and ``group``.
        metric: of the distances between models.
        n_permutations: draws of each PERMANOVA; the smallest p of 999 is .001.
        seed: of the draws.
        by: what restricts permutations, see `functional.permanova.permanova`.

    Returns:
        One row per model of a group of three or more: ``model``, ``group``; ``permanova`` and ``p_value``,
        ``silhouette`` of the models that stay; and Spearman's rank correlation over ROIs between the maps
        with and without the model, of ``snci`` (bounded, of its own group), ``convergence`` and ``anova``
        (F). NaN where a map is constant or undefined, and p where the models that stay can't be relabeled.
    """
    counts = models["group"].value_counts()
    several = models["group"].isin(counts.index[counts > 1]).tolist()
    if (counts > 1).sum() < 2 or not bool(torch.isfinite(distances(vectors, metric)).all()):
        return pd.DataFrame(columns=list(_LEFT_OUT))
    restricted = _taken(by, [i for i, kept in enumerate(several) if kept])
    mask = torch.tensor(several)
    scores, vectors, labels = scores[mask], vectors[mask], models["group"][several].tolist()
    rows = []
    with warnings.catch_warnings():
        # what is degenerate without a model is so with it, and has been said
        warnings.simplefilter("ignore")
        whole = _maps(scores, vectors, labels)
        for i, (name, group) in enumerate(zip(models["model"][several], labels, strict=True)):
            if counts[group] < 3:
                continue
            keep = [j for j in range(len(labels)) if j != i]
            rest = [labels[j] for j in keep]
            between = distances(vectors[keep], metric)
            f = permanova(between, rest, n_permutations=1, seed=seed).statistic
            p_value = _p(between, rest, _taken(restricted, keep), n_permutations, seed)
            width = silhouette(between, rest, n_permutations=1, seed=seed).statistic
            maps = _maps(scores[keep], vectors[keep], rest)
            of_own = sorted(set(labels)).index(group)
            pairs = [(whole[0][of_own], maps[0][of_own]), *zip(whole[1:], maps[1:], strict=True)]
            numbers = (float(number) for number in (f, p_value, width))
            rows.append((name, group, *numbers, *(_spearman(*pair) for pair in pairs)))
    return pd.DataFrame(rows, columns=list(_LEFT_OUT))


def _taken(by: Restriction | None, rows: Sequence[int]) -> Restriction:
    """Return the labels of some rows."""
    if by is None:
        return {"strata": None, "units": None}
    strata, units = (
        None if labels is None else [labels[row] for row in rows] for labels in (by["strata"], by["units"])
    )
    return {"strata": strata, "units": units}


def _p(between: Tensor, labels: list[str], by: Restriction, n_permutations: int, seed: int) -> float:
    """Return p of a PERMANOVA; NaN where the strata that are left hold one group each."""
    try:
        Relabeling.read(labels, len(labels), **by)
    except InputError:
        return float("nan")
    return float(permanova(between, labels, **by, n_permutations=n_permutations, seed=seed).p_value)


def _maps(scores: Tensor, vectors: Tensor, labels: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return bounded SNCI (G, R), convergence (R,) and F of the ANOVA (R,)."""
    bounded = snci(scores, labels, form="bounded")
    return bounded, bounded.amin(0), anova(vectors, labels).statistic


def _spearman(first: Tensor, second: Tensor) -> float:
    both = torch.isfinite(first) & torch.isfinite(second)
    a, b = (rankdata(values[both].numpy()) for values in (first, second))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _coordinates(
    vectors: Tensor, models: pd.DataFrame, scaled: DistanceMetric, notes: list[str]
) -> tuple[pd.DataFrame, tuple[float, float]]:
    """Return the models' places on two principal components and on the scaled distances."""
    points, shares = np.zeros((len(models), 2)), [float("nan")] * 2
    if len(models) < 2:
        notes.append("One model spans no plane: its coordinates are zero.")
    else:
        result = pca(vectors, min(2, len(models) - 1, vectors.shape[1]))
        points[:, : result.coordinates.shape[1]] = result.coordinates.numpy()
        shares = [*result.explained.tolist(), 0.0][:2]
    table = models[[name for name in ("model", "group", "simulated") if name in models]]
    table = table.assign(PC1=points[:, 0], PC2=points[:, 1])
    if len(models) > 2 and bool(torch.isfinite(between := distances(vectors, scaled)).all()):
        places = mds(between, 2).coordinates.numpy()
        table = table.assign(MDS1=places[:, 0], MDS2=places[:, 1])
    return table, (shares[0], shares[1])


def _neighbors(between: Tensor, models: pd.DataFrame) -> pd.DataFrame:
    """Return the nearest neighbors of every model."""
    names, groups = models["model"].tolist(), models["group"].tolist()
    rows = [
        (names[i], groups[i], rank, names[j], groups[j], float(between[i, j]))
        for i in range(len(names))
        for rank, j in enumerate(nearest_models(between, i, _NEIGHBORS), 1)
    ]
    return pd.DataFrame(rows, columns=["model", "group", "rank", "neighbor", "neighbor_group", "distance"])


def _tests(
    vectors: Tensor,
    models: pd.DataFrame,
    rois: pd.DataFrame,
    metric: DistanceMetric,
    n_permutations: int,
    seed: int,
    by: Restriction,
    notes: list[str],
) -> dict[str, Any]:
    """Return the tests between groups of two models or more."""
    floor = 1 / Relabeling.read(models["group"].tolist(), len(models), **by).distinct
    if floor > 0.01:
        notes.append(f"With so few models no permutation p of the grouping can fall below {floor:.2g}.")
    between, labels = distances(vectors, metric), models["group"].tolist()
    widths = silhouette(between, labels, **by, n_permutations=n_permutations, seed=seed)
    place = permanova(between, labels, **by, n_permutations=n_permutations, seed=seed)
    spread = permdisp(between, labels, strata=by["strata"], n_permutations=n_permutations, seed=seed)
    pairs = permanova_pairwise(between, labels, **by, n_permutations=n_permutations, seed=seed)
    differences = anova(vectors, labels, **by, n_permutations=n_permutations, seed=seed)
    table = pd.DataFrame(pairs.pairs, columns=["first", "second"])
    return {
        "permanova": {"statistic": float(place.statistic), "p_value": float(place.p_value)},
        "permdisp": {"statistic": float(spread.statistic), "p_value": float(spread.p_value)},
        "silhouette": {"statistic": float(widths.statistic), "p_value": float(widths.p_value)},
        "pairwise": table.assign(
            **{name: getattr(pairs, name).numpy() for name in ("statistic", "p_value", "q_value")}
        ),
        "silhouette_samples": models[["model", "group"]].assign(silhouette=widths.samples.numpy()),
        "anova": rois.assign(**{name: f.numpy() for name, f in differences._asdict().items()}),
    }


def _agreement(
    scores: Tensor, groups: pd.Series[Any], rois: pd.DataFrame, n_permutations: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return SNCI with intervals of each group and ROI, and the convergence of each ROI."""
    labels, names = groups.tolist(), sorted(groups.unique())
    columns: dict[str, Tensor] = {}
    for form in ("ratio", "bounded"):
        low, high = snci_bootstrap(scores, labels, form=form, seed=seed)
        columns |= {form: snci(scores, labels, form=form), f"{form}_low": low, f"{form}_high": high}
    if len(names) > 1 and n_permutations:
        p = snci_permutation(scores, labels, n_permutations=n_permutations, seed=seed)
        columns |= {"p_value": p, "q_value": torch.stack([fdr(row) for row in p])}
    tables = [
        rois.assign(group=name, **{key: rows[g].numpy() for key, rows in columns.items()})
        for g, name in enumerate(names)
    ]
    table = pd.concat(tables, ignore_index=True)[["group", "roi", "network", *columns]]
    if len(names) < 2:
        return table, pd.DataFrame(columns=["roi", "network", "convergence"])
    return table, rois.assign(convergence=columns["bounded"].amin(0).numpy())
