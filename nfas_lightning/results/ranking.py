"""Which of several models is better, and how sure: mean scores with intervals, and differences of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, combinations_with_replacement
from string import ascii_letters
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.intervals import BootstrapDraws, Interval, interval
from nfas_lightning.results.subjects import GROUP

__all__ = ["Ranking", "compare_models", "letters_of"]

Over = Literal["both", "stimuli"]

_PAIR = ("difference", "low", "high", "p_value", "q_value")


class Ranking(NamedTuple):
    """Models, or features of each model, compared on the same resampled rows and subjects.

    Attributes:
        means: one row per dataset and model, the best first: ``dataset``, ``model``, ``modality``, ``score``,
            ``n_rois``, ``mean`` over ROIs, its limits ``low`` and ``high``, and ``letters``: models that
            share one are not told apart.
        pairs: one row per pair, ``first`` the better: ``dataset``, ``first``, ``second``, ``difference`` of
            the means, its limits ``low`` and ``high``, ``p_value``, and ``q_value`` after FDR over the pairs
            of the dataset.
        features: one row per model and baseline: ``dataset``, ``model``, ``baseline``, and the difference of
            the feature from it, as of pairs.
        value: ``"r"`` or ``"r2"``.
        scope: a sentence on what the intervals generalize to.
        notes: what was not compared, and why.
    """

    means: pd.DataFrame
    pairs: pd.DataFrame
    features: pd.DataFrame
    value: str
    scope: str
    notes: tuple[str, ...]


def compare_models(
    draws: pd.DataFrame,
    *,
    feature: str = "stable_mode",
    value: Literal["r", "r2"] = "r",
    subject: str | None = None,
    over: Over = "both",
    alpha: float = 0.05,
) -> Ranking:
    """Compare models by the mean over ROIs of one feature's score, and the feature with the others.

    Models are compared where they met the same responses, in the same folds, on the same resampled rows and
    subjects. Means of different benchmarks are not: they differ in more than the model.

    Args:
        draws: see `ModelResult.draws`; of one run, or of several joined by `RunResults.concatenate`.
        feature: by which models are compared.
        value: ``"r"`` or ``"r2"``.
        subject: ``"group"`` or the name of one; None: the group, or where there is none the only subject.
        over: what an interval generalizes to: other stimuli and, where they were resampled, other subjects;
            or other stimuli for the same subjects.
        alpha: level at which q tells models apart.

    Returns:
        A `Ranking`; empty tables where there are no draws.

    Raises:
        ValueError: draws of other features alone, or of other subjects; an option that there is not.
    """
    check_option("value", value, ("r", "r2"))
    check_option("over", over, get_args(Over))
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, got {alpha}.")
    notes: list[str] = []
    table = draws[draws["value"] == value]
    if len(table) and feature not in set(table["feature"]):
        there = list(table["feature"].unique())
        raise InputError(f"feature must be one of the draws' {there}, got {feature!r}.")
    table = _of_subject(table, subject, notes)
    twice = table.duplicated(["dataset", "model", "feature", "resampled"], keep="last")
    if twice.any():
        names = sorted(set(table.loc[twice, "model"].astype(str)))
        notes.append(f"Scored more than once on a dataset, the last result is taken: {', '.join(names)}.")
        table = table[~twice]
    means, pairs, features = [], [], []
    for dataset, part in table.groupby("dataset", sort=False):
        own = part[part["feature"] == feature]
        alike = [group for _, group in own.groupby(["paired", "score"], sort=False)]
        if len(alike) > 1:
            notes.append(
                f"Models on {dataset} were scored in {len(alike)} ways (responses, folds, subjects, ROIs or "
                "draws differ): they are compared inside each, not across."
            )
        for group in alike:
            ranked, compared = _rank(group, over, alpha)
            means.append(ranked.assign(dataset=dataset))
            pairs.append(compared.assign(dataset=dataset))
        features.append(_features(part, feature, over).assign(dataset=dataset))
    columns = ["dataset", "model", "modality", "score", "n_rois", "mean", "low", "high", "letters"]
    best = _joined(means, columns)
    if unsure := sorted(set(best.loc[best["low"].isna(), "model"].astype(str))):
        notes.append(
            f"No interval, and told apart from none: {', '.join(unsure)}. Too few stimuli, or stretches of a "
            "series, are left to resample in each test fold: lower n_folds, or score on more."
        )
    names = list(dict.fromkeys(table["dataset"]))
    if len(names) > 1:
        notes.append(
            f"Models of different datasets ({', '.join(map(str, names))}) are not compared: their scores "
            "differ by responses too."
        )
    return Ranking(
        best,
        _joined(pairs, ["dataset", "first", "second", *_PAIR]),
        _joined(features, ["dataset", "model", "baseline", *_PAIR]),
        value,
        _scope(table, over),
        tuple(notes),
    )


def _scope(table: pd.DataFrame, over: str) -> str:
    """Say what intervals generalize to: subjects are resampled from three on."""
    both = over == "both" and "both" in set(table["resampled"])
    to = "other stimuli and subjects" if both else "other stimuli for the same subjects"
    return f"Intervals and tests hold for {to}; no encoding model was fitted again."


def letters_of(names: Sequence[str], apart: Sequence[tuple[str, str]]) -> list[str]:
    """Return the letters of each name: names share one where no pair of those that have it is told apart.

    Args:
        names: in the order of their scores; ``a`` goes to the first.
        apart: pairs that are told apart.

    Reference:
        Piepho (2004), J. Comput. Graph. Stat. 13, 456-466, doi:10.1198/1061860043515.

    Example:
        >>> letters_of(["x", "y", "z"], [("x", "z")])
        ['a', 'ab', 'b']
    """
    told = {frozenset(pair) for pair in apart}
    groups: list[frozenset[str]] = []
    # every pair that is not told apart gets a group, as large as it can be: of all such groups there may be
    # exponentially many
    for first, second in combinations_with_replacement(names, 2):
        pair = frozenset((first, second))
        if pair in told or any(pair <= group for group in groups):
            continue
        group = set(pair)
        for name in names:
            if not any(frozenset((name, other)) in told for other in group):
                group.add(name)
        groups.append(frozenset(group))
    groups.sort(key=lambda group: [name not in group for name in names])
    if len(groups) > len(ascii_letters):
        return [",".join(str(i + 1) for i, group in enumerate(groups) if name in group) for name in names]
    return ["".join(ascii_letters[i] for i, group in enumerate(groups) if name in group) for name in names]


def _of_subject(table: pd.DataFrame, subject: str | None, notes: list[str]) -> pd.DataFrame:
    """Return the draws of one subject per model."""
    if subject is not None:
        if len(table) and subject not in set(table["subject"]):
            there = sorted(set(table["subject"]))
            raise InputError(f"subject must be one of the draws' {there}, got {subject!r}.")
        return table[table["subject"] == subject]
    model = table.groupby(["dataset", "model"], sort=False)["subject"]
    kept = (table["subject"] == GROUP) | (model.transform("nunique") == 1)
    lost = sorted(set(table["model"]) - set(table["model"][kept]))
    if lost:
        notes.append(
            f"Scored on single subjects alone, and not compared: {', '.join(map(str, lost))}. Name one "
            "subject, or score with subjects='both'."
        )
    return table[kept]


def _drawn(
    rows: pd.DataFrame, keys: Sequence[str], by: str, over: str
) -> tuple[torch.Tensor, BootstrapDraws]:
    """Return the means (K,) and the draws (B, K) of keys, a column `by` of the rows."""
    parts = {}
    for resampled, part in rows.groupby("resampled"):
        part = part.set_index(by).loc[list(keys)]
        parts[resampled] = torch.from_numpy(np.stack(part["draws"].tolist(), axis=1).astype(float))
    if over == "stimuli":
        parts = {"stimuli": parts["stimuli"]}
    first = rows.iloc[0]
    draws = BootstrapDraws(
        parts["stimuli"],
        parts.get("subjects"),
        parts.get("both"),
        int(first["n_stimuli"]),
        int(first["n_subjects"]) if "both" in parts else 1,
        int(first["n_strata"]),
        int(first["n_folds"]),
    )
    means = rows[rows["resampled"] == "stimuli"].set_index(by).loc[list(keys), "mean"]
    return torch.tensor(means.tolist(), dtype=torch.float64), draws


def _rank(rows: pd.DataFrame, over: str, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return means and pairs of models whose draws are paired."""
    known = rows[rows["resampled"] == "stimuli"].sort_values("mean", ascending=False, kind="stable")
    names = known["model"].tolist()
    means, draws = _drawn(rows, names, "model", over)
    own = interval(means, draws)
    ranked = known[["model", "modality", "score", "n_rois", "mean"]].assign(
        low=own.low.numpy(), high=own.high.numpy()
    )
    first, second = torch.tensor(list(combinations(range(len(names)), 2)), dtype=torch.long).view(-1, 2).T
    gaps = interval(means[first] - means[second], draws.map(lambda drawn: drawn[:, first] - drawn[:, second]))
    pairs = pd.DataFrame({"first": [names[i] for i in first], "second": [names[i] for i in second]})
    pairs = _told(pairs, gaps)
    apart = pairs[pairs["q_value"] < alpha]
    told = list(zip(apart["first"], apart["second"], strict=True))
    return ranked.assign(letters=letters_of(names, told)), pairs


def _features(rows: pd.DataFrame, feature: str, over: str) -> pd.DataFrame:
    """Return the differences between a feature and the others of each model of one dataset."""
    found = []
    for model, part in rows.groupby("model", sort=False):
        for _, alike in part.groupby(["paired", "score"], sort=False):
            names = list(dict.fromkeys(alike["feature"]))
            if feature not in names or len(names) < 2:
                continue
            means, draws = _drawn(alike, names, "feature", over)
            own = names.index(feature)
            others = [i for i in range(len(names)) if i != own]
            gaps = interval(means[own] - means[others], draws.map(_leads(own, others)))
            table = pd.DataFrame({"model": model, "baseline": [names[i] for i in others]})
            found.append(_told(table, gaps))
    table = _joined(found, ["model", "baseline", *_PAIR])
    return table.assign(q_value=fdr(torch.tensor(table["p_value"].tolist(), dtype=torch.float64)).numpy())


def _leads(own: int, others: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda drawn: drawn[:, [own]] - drawn[:, others]


def _told(table: pd.DataFrame, gaps: Interval) -> pd.DataFrame:
    columns = (gaps.estimate, gaps.low, gaps.high, gaps.p_value, fdr(gaps.p_value))
    return table.assign(**{name: part.numpy() for name, part in zip(_PAIR, columns, strict=True)})


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)[columns] if filled else pd.DataFrame(columns=columns)
