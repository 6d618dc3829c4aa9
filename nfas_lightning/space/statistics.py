"""All that is known of a space at once: `SpaceStatistics` from an `NFAS`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.relabeling import distinct_partitions
from nfas_lightning.results import MIN_MODELS, SpaceStatistics, few_models, group_words
from nfas_lightning.space.stability import leave_one_out

if TYPE_CHECKING:
    from nfas_lightning.space.nfas import NFAS

__all__ = ["space_statistics"]

_NEIGHBORS = 3


def space_statistics(
    space: NFAS, *, group_by: str = "modality", n_permutations: int, seed: int, stability: bool = True
) -> SpaceStatistics:
    """Compute the statistics of a space; what can't be computed stays empty, and the notes say why."""
    space = space.regroup(group_by)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coordinates, explained = _coordinates(space, notes)
        tested = _testable(space, notes)
        tests = _tests(tested, n_permutations, seed, notes) if tested else _NO_TESTS
        snci, convergence = _consistency(space, notes, n_permutations, seed)
    # a degenerate ROI or model is part of the result: it belongs in the report, not only on the console
    notes.extend(dict.fromkeys(str(item.message) for item in caught))
    if tested is None and space.models["modality"].value_counts().max() < MIN_MODELS:
        notes = [few_models(space.group_by)]  # one sentence for all that is left out
    return SpaceStatistics(
        coordinates=coordinates,
        explained=explained,
        snci=snci,
        convergence=convergence,
        notes=(*space.notes, *notes),
        nearest=_nearest(space),
        stability=leave_one_out(space, seed=seed) if stability else pd.DataFrame(),
        group_by=space.group_by,
        mds_metric=mds_metric(space),
        **tests,
    )


_NO_TESTS: dict[str, Any] = {
    "permanova": {},
    "permdisp": {},
    "silhouette": {},
    "pairwise": pd.DataFrame(columns=["first", "second", "statistic", "p_value", "q_value"]),
    "silhouette_samples": pd.DataFrame(columns=["model", "modality", "silhouette"]),
    "anova": pd.DataFrame(columns=["roi", "network", "statistic", "p_value", "q_value", "eta_squared"]),
}


def _coordinates(space: NFAS, notes: list[str]) -> tuple[pd.DataFrame, tuple[float, float]]:
    points, shares = np.zeros((len(space), 2)), [float("nan")] * 2
    table = space.models[[c for c in ("model", "modality", "simulated") if c in space.models]]
    if len(space) < 2:
        notes.append("One model spans no plane: its coordinates are zero.")
    else:
        result = space.pca(2)
        k = result.coordinates.shape[1]
        points[:, :k] = result.coordinates.numpy()
        shares[:] = [*result.explained.tolist(), 0.0][:2]
    table = table.assign(PC1=points[:, 0], PC2=points[:, 1])
    metric = mds_metric(space)
    if len(space) > 2 and bool(torch.isfinite(space.distances(metric)).all()):
        scaled = space.mds(2, metric).coordinates.numpy()
        table = table.assign(MDS1=scaled[:, 0], MDS2=scaled[:, 1])
    return table, (shares[0], shares[1])


def mds_metric(space: NFAS) -> Literal["euclidean", "correlation", "cosine"]:
    """Metric of the scaling that stands beside PCA: of euclidean distances it would be PCA once more."""
    return "correlation" if space.metric == "euclidean" else space.metric


def _nearest(space: NFAS) -> pd.DataFrame:
    """The nearest neighbors of every model."""
    columns = ["model", "modality", "rank", "neighbor", "neighbor_modality", "distance"]
    if len(space) < 2:
        return pd.DataFrame(columns=columns)
    parts = []
    for row in space.models.itertuples():
        found = space.nearest(str(row.model), _NEIGHBORS)
        found = found.rename(columns={"model": "neighbor", "modality": "neighbor_modality"})
        parts.append(
            found.assign(model=str(row.model), modality=str(row.modality), rank=range(1, len(found) + 1))
        )
    return pd.concat(parts, ignore_index=True)[columns]


def _testable(space: NFAS, notes: list[str]) -> NFAS | None:
    """Return the space of groups with two models or more, None where fewer than two such are left."""
    several = group_words(space.group_by)[1]
    counts = space.models["modality"].value_counts()
    single = sorted(counts.index[counts < 2])
    if (counts >= 2).sum() < 2:
        notes.append(
            f"PERMANOVA, PERMDISP, silhouette and ANOVA need two {several} of two models, got "
            f"{counts.sort_index().to_dict()}: they are left out."
        )
        return None
    if single:
        notes.append(f"{', '.join(single)}: one model each, left out of the tests between {several}.")
        space = space.select((~space.models["modality"].isin(single)).tolist())
    if not bool(torch.isfinite(space.distances()).all()):
        notes.append(
            f"Some {space.metric} distances are undefined: the tests between {several} are left out."
        )
        return None
    return space


def _tests(space: NFAS, n_permutations: int, seed: int, notes: list[str]) -> dict[str, Any]:
    floor = 1 / distinct_partitions(torch.tensor(space.models["modality"].value_counts().to_numpy()))
    if floor > 0.01:
        notes.append(f"With so few models no permutation p of the grouping can fall below {floor:.2g}.")
    place = space.permanova(n_permutations=n_permutations, seed=seed)
    spread = space.permdisp(n_permutations=n_permutations, seed=seed)
    silhouette = space.silhouette(n_permutations=n_permutations, seed=seed)
    pairs = space.permanova_pairwise(n_permutations=n_permutations, seed=seed)
    tests: dict[str, Any] = {
        "permanova": {"statistic": float(place.statistic), "p_value": float(place.p_value)},
        "permdisp": {"statistic": float(spread.statistic), "p_value": float(spread.p_value)},
        "silhouette": {"statistic": float(silhouette.statistic), "p_value": float(silhouette.p_value)},
    }
    tests["pairwise"] = pd.DataFrame(
        {
            "first": [first for first, _ in pairs.pairs],
            "second": [second for _, second in pairs.pairs],
            "statistic": pairs.statistic.numpy(),
            "p_value": pairs.p_value.numpy(),
            "q_value": pairs.q_value.numpy(),
        }
    )
    tests["silhouette_samples"] = space.models[["model", "modality"]].assign(
        silhouette=silhouette.samples.numpy()
    )
    columns = {name: column.numpy() for name, column in space.anova()._asdict().items()}
    tests["anova"] = _rois(space).assign(**columns)
    return tests


def _consistency(
    space: NFAS, notes: list[str], n_permutations: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    several = group_words(space.group_by)[1]
    columns: dict[str, torch.Tensor] = {}
    for form in ("ratio", "bounded"):
        low, high = space.snci_bootstrap(form, seed=seed)
        values = space.snci(form)
        columns |= {form: values, f"{form}_low": low, f"{form}_high": high}
    if len(space.modalities) > 1:
        p = space.snci_permutation(n_permutations=n_permutations, seed=seed)
        columns |= {"p_value": p, "q_value": torch.stack([fdr(row) for row in p])}
    tables = [
        _rois(space).assign(**{key: rows[g].numpy() for key, rows in columns.items()}).assign(modality=name)
        for g, name in enumerate(space.modalities)
    ]
    snci = pd.concat(tables, ignore_index=True)[["modality", "roi", "network", *columns]]
    if space.value != "r2" and bool((columns["ratio"] < 0).any()):
        notes.append(
            f"Some {several} score below zero on average: bounded SNCI and convergence ignore the sign."
        )
    if len(space.modalities) < 2:
        notes.append(f"Convergence needs two {several}, got one: it is left out.")
        return snci, pd.DataFrame(columns=["roi", "network", "convergence"])
    return snci, _rois(space).assign(convergence=columns["bounded"].amin(0).numpy())


def _rois(space: NFAS) -> pd.DataFrame:
    network = space.rois["network"] if "network" in space.rois.columns else ""
    return space.rois[["roi"]].assign(network=network)
