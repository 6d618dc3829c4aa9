"""report.html: one self-contained page of a run, and its figures as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from nfas_lightning.plotting import reading, report_tables
from nfas_lightning.plotting.gallery import draw_figures, point_names
from nfas_lightning.plotting.pictures import check_formats, embed, save_figure
from nfas_lightning.plotting.score_tables import FEW_ROIS
from nfas_lightning.plotting.style import is_simulated
from nfas_lightning.results import RunResults, SpaceStatistics, group_words
from nfas_lightning.writing import write_text

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    results: RunResults | None,
    statistics: SpaceStatistics,
    *,
    title: str | None = None,
    simulated: bool = False,
    dpi: int = 200,
    formats: Iterable[str] = ("png",),
) -> Path:
    """Write ``report.html``, a single file without any link to the network, and its figures beside it.

    Args:
        path: the html file, or the folder to write ``report.html`` in.
        results: tables of the run; without them the page has the sections that `statistics` alone can fill.
        statistics: of the space.
        title: heading of the page.
        simulated: mark the page as simulated even where `results` do not say so.
        dpi: dots per inch of the figures' files. The page shows them at 100; 200 is sharp on dense screens.
        formats: of the figures' files, besides ``"png"``, of which the page is made: ``"pdf"``, ``"svg"``.

    Returns:
        Path of the html file. Figures are in ``figures/`` beside it.
    """
    formats = check_formats(formats)
    path = Path(path)
    target = path if path.suffix in (".html", ".htm") else path / "report.html"
    simulated = simulated or is_simulated(statistics.coordinates) or bool(results and results.simulated)
    figures = {}
    for name, caption, draw in draw_figures(results, statistics, simulated=simulated):
        figure = draw()
        file = save_figure(figure, target.parent / "figures" / f"{name}.png", dpi=dpi, formats=formats)
        figures[name] = {
            "source": embed(file, shaded=name.startswith("map_")),
            "alt": figure.get_suptitle() or name,
            "caption": caption,
            "width": round(float(figure.get_figwidth()) * 100),
            "spots": _spots(figure, point_names(name, results, statistics)),
        }
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    context = _context(results, statistics, simulated=simulated, title=title)
    context["maps"] = [name for name in figures if name.startswith("map_")]
    context["contents"] = _contents(context, figures)
    write_text(target, template.render(figures=figures, **context))
    return target


def _spots(figure: Figure, points: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return places on a picture, in percent, and the text that a pointer finds there."""
    if points is None or points.empty:
        return []
    figure.draw_without_rendering()
    pixels = figure.axes[0].transData.transform(points[["x", "y"]].to_numpy(float).reshape(-1, 2))
    share = 100 * figure.transFigure.inverted().transform(pixels)
    return [
        # a text near the right edge ends at its point instead of starting there
        {"x": f"{x:.2f}%", "y": f"{100 - y:.2f}%", "end": bool(x > 55), "label": label}
        for label, (x, y) in zip(points["label"], share, strict=True)
    ]


def _context(
    results: RunResults | None, statistics: SpaceStatistics, *, simulated: bool, title: str | None
) -> dict[str, Any]:
    """Return everything of the page that is not a figure."""
    context: dict[str, Any] = {
        "title": title or "Models as points in brain space",
        "simulated": simulated,
        "small": False,
        "groups": group_words(statistics.group_by),
        "headline": _unbroken(reading.headline(statistics, results)),
        "controls": report_tables.controls_grid(statistics),
        "pairwise": report_tables.pairwise_grid(statistics),
        "stability_sentences": reading.stability_sentences(statistics),
        "nearest": report_tables.nearest_grid(statistics),
        "agreement": report_tables.agreement_grid(statistics),
        "limits": reading.limits(results, statistics, simulated=simulated),
        "null_sentence": "",
        **dict.fromkeys(("baselines", "roi_grid", "cards")),
        **dict.fromkeys(("baseline_sentences", "notes", "settings"), ()),
    }
    if results is not None:
        scores, small = results.scores, statistics.is_small
        few = scores["roi"].nunique() <= FEW_ROIS
        context |= {
            "small": small,
            "null_sentence": reading.null_sentence(scores),
            "baselines": report_tables.baseline_grid(scores),
            "baseline_sentences": reading.baseline_sentences(scores),
            "roi_grid": report_tables.roi_grid(scores) if few or small else None,
            "cards": report_tables.card_grid(results.models),
            "notes": _notes(results),
            "settings": list(_flatten(results.meta)),
        }
    return context | {"reading": reading.reading(statistics, simulated=simulated)}


def _contents(context: Mapping[str, Any], figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return id and name of the sections that this page has."""
    small = context["small"]
    scores = {"baselines": ("Scores" if small else "Baselines", context["baselines"] is not None)}
    present = {
        **(scores if small else {}),  # without a space they come first
        "space": ("The space", not small),
        "agreement": ("SNCI", not small),
        "maps": ("Brain maps", bool(context["maps"])),
        "truth": ("Planted truth", "truth" in figures),
        "dynamics": ("Dynamics", "spectra" in figures or "depth" in figures),
        "time": ("Over time", "lags" in figures),
        **scores,
        "models": ("Models", context["cards"] is not None),
        "run": ("What was run", bool(context["settings"] or context["notes"])),
        "limits": ("Limits", True),
    }
    return [(id_, name) for id_, (name, there) in present.items() if there]


def _notes(results: RunResults) -> list[str]:
    datasets = results.scores.groupby("modality", sort=False)["dataset"]
    said = [f"{modality}: {', '.join(sorted(part.astype(str).unique()))}" for modality, part in datasets]
    volumes = results.scores.groupby("dataset", sort=False)["n_volumes"].max().dropna()
    said += [f"{dataset}: {int(count)} volumes or stimuli scored" for dataset, count in volumes.items()]
    noted = results.models[results.models["note"].fillna("").astype(str) != ""]
    return said + [f"{row.model}: {row.note}" for row in noted.itertuples()]


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of a nested mapping."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _flatten(item, f"{name}[{i}]")
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


def _unbroken(text: str) -> str:
    """Keep a number on the line of its name."""
    return text.replace(" = ", "\u00a0=\u00a0").replace("p < ", "p\u00a0<\u00a0")
