"""What the numbers of a space say, in words."""

from __future__ import annotations

import math

import pandas as pd

from nfas_lightning.plotting.places import result_line
from nfas_lightning.plotting.score_tables import control_note, feature_scores, few_stimuli, gain_table
from nfas_lightning.plotting.style import format_p
from nfas_lightning.results import FEATURES, RunResults, SpaceStatistics, few_models, group_words

__all__ = [
    "baseline_sentences", "headline", "limits", "null_sentence", "reading", "stability_sentences",
    "warnings_of",
]  # fmt: skip

_ALPHA = 0.05
_MOVED_ALPHA = 0.01  # of films of noise one in twenty has a p moved below it, see the calibration page


def ceiling_note(scores: pd.DataFrame) -> list[str]:
    """Return of which models the stable mode scores above a noise ceiling, and at how many ROIs."""
    shown = feature_scores(scores)
    if "above_ceiling" not in shown or not shown["above_ceiling"].any():
        return []
    counts = shown[shown["above_ceiling"].astype(bool)].groupby("model", sort=False).size()
    listed = ", ".join(f"{model} ({count})" for model, count in counts.items())
    return [
        f"Above the noise ceiling, in brackets at how many of {shown['roi'].nunique()} ROIs: {listed}. "
        "They are not clipped, and marked in the column above_ceiling: a ceiling is an estimate itself."
    ]


def headline(statistics: SpaceStatistics, results: RunResults | None = None) -> str:
    """Return one sentence with the counts and the tests of clusters."""
    table = statistics.coordinates
    n_rois = (statistics.snci if results is None else results.scores)["roi"].nunique()
    groups = _count(table["group"].nunique(), *group_words(statistics.group_by))
    parts = [f"{_count(len(table), 'model')} of {groups}, {_count(n_rois, 'ROI')}"]
    tests = [
        result_line("PERMANOVA", "pseudo-F = ", statistics.permanova),
        result_line("mean silhouette", "", statistics.silhouette),
    ]
    shown = [test for test in tests if test]
    if shown and statistics.design in ("confounded", "partly crossed"):
        shown.append(f"groups {statistics.design} with benchmarks")
    return ". ".join([*parts, "; ".join(shown)]).removesuffix(". ") + "."


def reading(statistics: SpaceStatistics) -> list[str]:
    """Return sentences on what the tests of clusters mean."""
    if statistics.is_small and not math.isfinite(statistics.permanova.get("p_value", math.nan)):
        said = [few_models(statistics.group_by)]
    else:
        said = [*_clusters(statistics), *_spread(statistics), *_controls(statistics)]
        said += [statistics.design_note] if statistics.design_note else []
    return said


def _clusters(statistics: SpaceStatistics) -> list[str]:
    f, p = statistics.permanova.get("statistic", math.nan), statistics.permanova.get("p_value", math.nan)
    width, several = statistics.silhouette.get("statistic", math.nan), group_words(statistics.group_by)[1]
    if not math.isfinite(f):
        return [note for note in statistics.notes if "PERMANOVA" in note] or ["Clusters were not tested."]
    if not math.isfinite(p):
        return ["PERMANOVA has no p value here: the clusters were not tested."]
    if p >= _ALPHA:
        return [
            f"Models do not group by {statistics.group_by} more than relabeled models do ({format_p(p)}). "
            "With few models this test can miss real structure."
        ]
    moved = statistics.permanova.get("p_moved", math.nan)
    if moved > _MOVED_ALPHA:
        return [
            f"No clusters: {several} sit no further apart than on moved responses ({format_p(moved)}), where "
            "networks share nothing but the stimuli that they read. That relabeled models sit closer "
            f"({format_p(p)}) says no more."
        ]
    said = [
        f"{several.capitalize()} differ in where their models lie, more than random relabeling produces "
        f"({format_p(p)})"
        + (f" and more than on moved responses ({format_p(moved)})." if math.isfinite(moved) else ".")
    ]
    if math.isfinite(width):
        chance = statistics.silhouette.get("p_value", math.nan) >= _ALPHA
        strength = "well" if width > 0.5 else "partly" if width > 0.25 else "hardly"
        said.append(
            f"The clusters are {strength} separated: mean silhouette {width:.2f} on a scale from -1 to 1"
            + (", which relabeled models reach as well." if chance else ".")
        )
    return said


def _controls(statistics: SpaceStatistics) -> list[str]:
    """Return the untrained twins' clusters beside the models' own."""
    rows = {row["statistic"]: row for row in statistics.controls.to_dict("records")}
    if not rows:
        return []
    parts = [
        f"{name} {rows[key]['untrained']:.2f} (trained {rows[key]['trained']:.2f}, "
        f"{format_p(rows[key]['p_value'])} of the difference)"
        for key, name in (("permanova", "pseudo-F"), ("silhouette", "mean silhouette"))
    ]
    return [f"Untrained twins of the same networks reach {' and '.join(parts)}.", *control_note(statistics)]


def _spread(statistics: SpaceStatistics) -> list[str]:
    p, several = statistics.permdisp.get("p_value", math.nan), group_words(statistics.group_by)[1]
    if not math.isfinite(p):
        return []
    if p < _ALPHA:
        return [
            f"{several.capitalize()} also differ in spread (PERMDISP {format_p(p)}), "
            "which alone can make PERMANOVA significant: read it together with the silhouette and the "
            "figure."
        ]
    return [f"Unequal spread was not found (PERMDISP {format_p(p)})."]


def baseline_sentences(scores: pd.DataFrame) -> list[str]:
    """Return how often the stable mode scores above each baseline, and by how much."""
    said = []
    for name, gain in gain_table(scores).items():
        gain = gain.dropna()
        said.append(
            f"{FEATURES.get(str(name), name)}: the stable mode is higher in {int((gain > 0).sum())} of "
            f"{_count(len(gain), 'model')} (mean difference in r {gain.mean():+.3f})"
        )
    return said


def stability_sentences(statistics: SpaceStatistics) -> list[str]:
    """Return what the tests become, at most, when one model is left out."""
    table, p = statistics.stability, statistics.permanova.get("p_value", math.nan)
    if table.empty or not math.isfinite(p):
        return []
    worst = table.sort_values("p_value").iloc[-1]
    low, high = table["permanova"].min(), table["permanova"].max()
    said = [
        f"Without any one model the pseudo-F of PERMANOVA lies between {low:.2f} and {high:.2f}, and its p "
        f"is at most {worst['p_value']:.3f} (without {worst['model']}; 999 draws, so no smaller than .001)."
    ]
    if p < _ALPHA <= float(worst["p_value"]):
        said.append("So the clusters depend on single models: read the test with care.")
    if table["convergence"].notna().any():
        least = table.sort_values("convergence", na_position="last").iloc[0]
        said.append(
            f"The map of convergence keeps a rank correlation of at least {least['convergence']:.2f} with "
            f"that of all models (without {least['model']})."
        )
    return said


def null_sentence(scores: pd.DataFrame) -> str:
    """Return the share of ROIs above their null, mean over models, or an empty string without a null."""
    stable = feature_scores(scores).dropna(subset="q")
    if stable.empty:
        return ""
    beaten = stable.assign(hit=stable["q"] < _ALPHA).groupby("modality", sort=False)["hit"].mean()
    shares = ", ".join(f"{share:.0%} for {modality}" for modality, share in beaten.items())
    return f"ROIs that the stable mode predicts above the null (q < .05), mean over models: {shares}."


def limits(results: RunResults | None, statistics: SpaceStatistics) -> list[str]:
    """Return what a reader should not conclude."""
    said = [
        "Scores are cross-validated correlations of a linear encoding model; they do not show that a network "
        "computes what the brain computes.",
        "Brain maps paint regions of interest as spheres around coordinates; edges between them are not "
        "measured.",
    ]
    if results is None or not statistics.is_small:
        said[1:1] = [
            "Tests across models treat models as independent, though many share architecture, training data "
            "or objective.",
            "SNCI from few models is unstable: it divides by a standard deviation of as many values as there "
            "are models.",
        ]
    return [*said, *(note for note in statistics.notes if note != few_models(statistics.group_by))]


def warnings_of(results: RunResults | None, statistics: SpaceStatistics, *, simulated: bool) -> list[str]:
    """Return what a reader must know before the first number."""
    said = []
    if simulated:
        said.append(
            "SIMULATED responses: planted, not measured. The page shows whether the pipeline finds what was "
            "planted; no number on it says anything about brains."
        )
    if statistics.design in ("confounded", "partly crossed"):
        said.append(statistics.design_note or f"Groups are {statistics.design} with benchmarks.")
    if results is not None:
        said += few_stimuli(results)
    if results is not None and "nuisance" not in set(results.scores["feature"]):
        said.append(
            "No nuisance-only score was computed: low-level properties of the stimuli may explain part "
            "of the scores."
        )
    return said


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
