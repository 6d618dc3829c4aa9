"""Tables that figures, the report and the terminal are written from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.results import (
    FEATURES,
    SCORES,
    RunResults,
    Score,
    SpaceStatistics,
    reported,
    subject_scores,
    tells_apart,
    three_numbers,
)

__all__ = [
    "FEW_ROIS", "FEW_STIMULI", "STATISTIC_NAMES", "baseline_table", "control_note", "feature_rows",
    "feature_scores", "few_stimuli", "gain_table", "mean_r2", "mean_scores", "model_order", "moved_note",
    "network_or_roi", "network_table", "reported_number", "rivals_of", "roi_score_table", "roi_scores",
    "score_table", "space_table", "value_name",
]  # fmt: skip

FEW_STIMULI = 30
"""Fewer stimuli get a caution: the standard error of r = 0 over 30 is .19."""

FEW_ROIS = 20
"""At most so many ROIs have rows of their own, in the terminal and in the report."""

Rows = TypeVar("Rows", pd.DataFrame, pd.Series)
# a terminal has 100 columns or so: one word per feature
_SHORT = {
    "stable_mode": "stable", "last_block": "last", "best_block": "best", "mean_depth": "mean",
    "all_blocks": "all", "random_weights": "random", "nuisance": "nuisance",
}  # fmt: skip


def model_order(table: pd.DataFrame, group_by: str = "modality") -> list[tuple[str, str]]:
    """Return (group, model) pairs: vision, audio, language, then others by name; models as they came."""
    pairs = table[[group_by, "model"]].drop_duplicates().itertuples(index=False, name=None)
    rank = {name: i for i, name in enumerate(MODALITIES)}
    return sorted(pairs, key=lambda pair: (rank.get(pair[0], len(rank)), pair[0]))


def feature_scores(scores: pd.DataFrame, feature: str = "stable_mode") -> pd.DataFrame:
    """Return the rows of one feature that stand for each model, see `subject_scores` and `reported`.

    A table without a column ``feature`` holds one feature, which is taken as it is.
    """
    shown = reported(subject_scores(scores))
    return shown[shown["feature"] == feature] if "feature" in shown else shown


def baseline_table(scores: pd.DataFrame, *, value: str = "r") -> pd.DataFrame:
    """Return models x features, index (modality, model): each feature's score averaged over ROIs.

    Columns are in the order of `FEATURES`; `value` is ``"r"`` or ``"r2"``.
    """
    shown = reported(subject_scores(scores))
    table = shown.pivot_table(index=["modality", "model"], columns="feature", values=value, dropna=False)
    known = [name for name in FEATURES if name in table]
    return _in_order(table, shown)[known + [name for name in table if name not in FEATURES]]


def gain_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return models x baselines: r of the stable mode minus r of each baseline, means over ROIs."""
    table = baseline_table(scores)
    if "stable_mode" not in table:
        return table.iloc[:, :0]
    return table.drop(columns="stable_mode").rsub(table["stable_mode"], axis=0).dropna(axis=1, how="all")


def network_table(
    scores: pd.DataFrame, *, value: str = "r2", feature: str = "stable_mode", group_by: str = "modality"
) -> pd.DataFrame:
    """Return models x networks, index (group, model): one feature's score averaged over each network's ROIs.

    ROIs without a network stand for themselves.
    """
    shown = feature_scores(scores, feature)
    name = network_or_roi(shown).rename("network")
    table = shown.pivot_table(index=[group_by, "model"], columns=name, values=value, dropna=False)
    return _in_order(table, shown, group_by)


def network_or_roi(table: pd.DataFrame) -> pd.Series[Any]:
    """Return the network of each row, or its ROI where networks are unknown."""
    known = table["network"].notna() & (table["network"] != "")
    return table["network"].where(known, table["roi"]).astype(str)


def mean_r2(scores: pd.DataFrame) -> pd.DataFrame:
    """Return ROIs x modalities: the squared correlation of the stable mode averaged over models."""
    shown = feature_scores(scores)
    table = shown.pivot_table(index="roi", columns="modality", values="r2", dropna=False, sort=False)
    return table[list(dict.fromkeys(modality for modality, _ in model_order(shown)))]


def mean_scores(scores: pd.DataFrame, *, value: str = "r2", group_by: str = "modality") -> pd.Series[Any]:
    """Return one number per model, index (group, model): the stable mode's score averaged over ROIs."""
    shown = feature_scores(scores)
    return _in_order(shown.groupby([group_by, "model"])[value].mean(), shown, group_by)


def roi_scores(scores: pd.DataFrame, model: str, modality: str) -> pd.DataFrame:
    """Return one row per ROI of one model: r of each feature, then p, q and ceiling of the stable mode."""
    shown = reported(subject_scores(scores))
    shown = shown[(shown["model"] == model) & (shown["modality"] == modality)]
    table = shown.pivot_table(index="roi", columns="feature", values="r", dropna=False, sort=False)
    table = table[[name for name in FEATURES if name in table]]
    stable = shown[shown["feature"] == "stable_mode"].drop_duplicates("roi").set_index("roi")
    return table.join(stable[["p", "q", "ceiling"]])


def score_table(results: RunResults) -> Table:
    """Return the terminal's table of a run: one line per model, the best feature in bold.

    Correlations are averaged over ROIs; ``best ROI`` is the one that the stable mode predicts best. Where
    there are nuisances, the number that the run reports stands first and the other two under it.
    """
    scores = results.scores
    table = _table(
        results,
        f"{value_name(scores)} of each feature, mean over ROIs; r2 and best ROI of the stable mode",
        "model",
        [*(_SHORT.get(str(name), str(name)) for name in baseline_table(scores)), "r2"],
    )
    table.add_column("best ROI", overflow="fold")
    stable, seen = feature_scores(scores), ""
    for modality, model, label, values in feature_rows(scores):
        if modality != seen:
            _add_heading(table, modality)
            seen = modality
        cells = [_bold(value, values.max()) for value in values]
        if label:
            table.add_row(f"[dim]  {label}[/dim]", *cells)
            continue
        own = stable[(stable["model"] == model) & (stable["modality"] == modality)]
        best = own.dropna(subset="r").nlargest(1, "r")["roi"].astype(str)
        table.add_row(escape(model), *cells, _number(own["r2"].mean()), escape("".join(best) or "-"))
    return table


def few_stimuli(results: RunResults) -> list[str]:
    """Return a caution for each data set whose stimuli are too few to trust a correlation."""
    fewest = results.models.groupby("dataset", sort=False)["n_stimuli"].min()
    return [
        f"Caution: {int(count)} stimuli of {dataset} are few. Correlations over so few spread by .2 and more "
        "by chance: look at p and intervals before you rank anything."
        for dataset, count in fewest.items()
        if count < FEW_STIMULI
    ]


def value_name(scores: pd.DataFrame) -> str:
    """Return what the reported number is called.

    >>> value_name(pd.DataFrame({"score": ["partial"], "r": [0.1], "r_partial": [0.0]}))
    'Partial r (what is added to the nuisances)'
    """
    names = {
        "partial": "Partial r (what is added to the nuisances)",
        "joint": "r together with the nuisances",
        "alone": "r alone",
    }
    return names[reported_number(scores)] if tells_apart(scores) else "Correlation r"


def feature_rows(scores: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.Series[Any]]]:
    """Yield modality, model, name of the number and the means over ROIs of each feature.

    The reported number comes first, without a name. Where nuisances tell them apart, the other two follow;
    the nuisances themselves have but one number, what they predict alone.
    """
    means = baseline_table(scores)
    others: list[Score] = []
    first = reported_number(scores)
    if tells_apart(scores):
        others = [score for score in SCORES if score != first]
        table = three_numbers(subject_scores(scores)).sort_index()
        table.loc[table.index.get_level_values("feature") == "nuisance", ["joint", "partial"]] = float("nan")
    for modality, model in model_order(scores):
        if not others:
            yield modality, model, "", means.T[modality, model]
            continue
        own = table.xs((modality, model)).reindex(means.columns)
        yield modality, model, "", own[first]
        for score in others:
            yield modality, model, score, own[score]


def rivals_of(scores: pd.DataFrame, features: list[str]) -> list[str]:
    """Return the features that may be the best of a row: nuisances alone have no partial or joint score."""
    if tells_apart(scores) and reported_number(scores) != "alone":
        return [name for name in features if name != "nuisance"]
    return features


def reported_number(scores: pd.DataFrame) -> Score:
    """Return which of the three numbers a scores table reports."""
    if "score" not in scores:
        return "alone"
    of_network = scores[scores["feature"] != "nuisance"] if "feature" in scores else scores
    found: Score = of_network["score"].iloc[0] if len(of_network) else "alone"
    return found


def roi_score_table(results: RunResults) -> Table:
    """Return the terminal's table of ROIs, one line per model and ROI: for experiments with few ROIs."""
    scores = results.scores
    features = list(baseline_table(scores).columns)
    rivals = rivals_of(scores, features)
    title = f"{value_name(scores)} of each feature; p, q and ceiling of the stable mode"
    names = [*(_SHORT.get(name, name) for name in features), "p", "q", "ceiling"]
    table = _table(results, title, "ROI", names)
    for modality, model in model_order(scores):
        _add_heading(table, model)
        for roi, row in roi_scores(scores, model, modality).iterrows():
            cells = [_bold(value, row.reindex(rivals).max()) for value in row.reindex(features)]
            extra = (_number(row["p"], 4), _number(row["q"], 4), _number(row["ceiling"]))
            table.add_row(escape(str(roi)), *cells, *extra)
    return table


def _in_order(table: Rows, scores: pd.DataFrame, group_by: str = "modality") -> Rows:
    """Rows of a table with the index (group, model) in the order of `model_order`."""
    order = pd.MultiIndex.from_tuples(model_order(scores, group_by), names=[group_by, "model"])
    return table.reindex(order)


def _table(results: RunResults, title: str, first: str, numbers: Iterable[str]) -> Table:
    mark = "[bold red]SIMULATED responses[/bold red]\n" if results.simulated else ""
    table = Table(
        title=mark + title, title_style="", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add_heading(table: Table, text: str) -> None:
    table.add_section()
    table.add_row(f"[italic]{escape(text)}[/italic]")


def _number(value: float, digits: int = 3) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def _bold(value: float, best: float) -> str:
    text = _number(value)
    return f"[bold]{text}[/bold]" if not pd.isna(value) and value == best else text


STATISTIC_NAMES = {
    "permanova": "PERMANOVA pseudo-F", "silhouette": "mean silhouette", "anova": "mean eta squared",
    "snci": "mean bounded SNCI", "convergence": "mean convergence",
}  # fmt: skip


def control_note(statistics: SpaceStatistics) -> list[str]:
    """Return what the comparison with untrained twins leaves out, if anything."""
    paired, n_models = statistics.controls.get("n_models"), len(statistics.coordinates)
    if paired is None or paired.empty or int(paired.iloc[0]) == n_models:
        return []
    return [
        f"The comparison covers the {int(paired.iloc[0])} of {n_models} models that have an untrained twin."
    ]


def moved_note(statistics: SpaceStatistics) -> list[str]:
    """Return what p of moved responses tests, where there is one."""
    if "p_moved" not in statistics.permanova:
        return []
    return [
        "p moved: of groups further apart than on moved responses, where models share nothing but stimuli."
    ]


def space_table(statistics: SpaceStatistics) -> Table:
    """Return the statistics of a space beside those of its untrained twins, for the terminal."""
    table = Table(
        title=f"Groups by {statistics.group_by}: {statistics.design or 'design not known'}",
        caption=" ".join([statistics.design_note, *control_note(statistics), *moved_note(statistics)]),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    moved = "p_moved" in statistics.permanova
    columns = (
        "statistic",
        "trained",
        "p",
        *["p moved"] * moved,
        "untrained",
        "difference",
        "p of difference",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "statistic" else "right")
    beside = {row.statistic: row for row in statistics.controls.itertuples()}
    for key, name in STATISTIC_NAMES.items():
        test, row = getattr(statistics, key) if key in ("permanova", "silhouette") else {}, beside.get(key)
        numbers = [test.get("statistic", row.trained if row else None), test.get("p_value")]
        numbers += [test.get("p_moved")] if moved else []
        numbers += [row.untrained, row.difference, row.p_value] if row else [None] * 3
        if any(number is not None for number in numbers):
            digits = (3, 4, *[4] * moved, 3, 3, 3)
            cells = ("-" if n is None else f"{n:.{d}f}" for n, d in zip(numbers, digits, strict=True))
            table.add_row(name, *cells)
    return table
