"""report.html: one interactive page of a run that needs no network, and its figures as files."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from nfas_lightning.plotting import reading, report_tables
from nfas_lightning.plotting.gallery import draw_figures
from nfas_lightning.plotting.pictures import check_formats, save_figure
from nfas_lightning.plotting.report_data import report_data
from nfas_lightning.plotting.sections import report_sections
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
    feature: str = "stable_mode",
    dpi: int = 200,
    formats: Iterable[str] = ("png",),
) -> Path:
    """Write ``report.html``, a single file that fetches nothing, and figures for papers beside it.

    Args:
        path: the html file, or the folder to write ``report.html`` in.
        results: tables of the run; without them the page has what `statistics` alone can fill.
        statistics: of the space.
        title: heading of the page; None: the experiment's name.
        simulated: mark the page as simulated even where `results` do not say so.
        feature: the one whose scores place the models in `statistics`.
        dpi: dots per inch of the figures' files.
        formats: of the figures' files, of ``"png"``, ``"pdf"`` and ``"svg"``; PNG is always among them. An
            empty one draws no figures: the page alone takes a second or two.

    Returns:
        Path of the html file. Figures are in ``figures/`` beside it.
    """
    formats = check_formats(formats)
    path = Path(path)
    target = path if path.suffix in (".html", ".htm") else path / "report.html"
    simulated = simulated or is_simulated(statistics.coordinates) or bool(results and results.simulated)
    write_text(target, _render(results, statistics, simulated=simulated, title=title, feature=feature))
    for name, _, draw in draw_figures(results, statistics, simulated=simulated) if formats else ():
        save_figure(draw(), target.parent / "figures" / f"{name}.png", dpi=dpi, formats=formats)
    return target


def _render(
    results: RunResults | None,
    statistics: SpaceStatistics,
    *,
    simulated: bool,
    title: str | None,
    feature: str,
) -> str:
    """Return the page: its template filled, with the data, the drawing script and the chart library in it."""
    sections = report_sections(results, statistics)
    data = report_data(results, statistics, feature=feature)
    data["charts"] = {
        f"{section.id}-{i}": chart._asdict() for section in sections for i, chart in enumerate(section.charts)
    }
    meta = results.meta if results is not None else {}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_beside("report.html.j2"))
    return template.render(
        title=title or str(meta.get("name") or meta.get("experiment") or "Models as points in brain space"),
        simulated=simulated,
        groups=group_words(statistics.group_by),
        headline=_unbroken(reading.headline(statistics, results)),
        null_sentence=reading.null_sentence(results.scores) if results is not None else "",
        warnings=reading.warnings_of(results, statistics, simulated=simulated),
        sections=sections,
        limits=reading.limits(results, statistics),
        cards=report_tables.card_grid(results.models) if results is not None else None,
        notes=_notes(results) if results is not None else [],
        settings=list(_flatten(meta)) if meta else [],
        data=_packed(json.dumps(data, allow_nan=False, separators=(",", ":"))),
        library=_library(),
        script=_beside("report.js"),
        style=_beside("report.css"),
    )


@cache
def _library() -> str:
    from plotly.offline import get_plotlyjs  # here: its five megabytes are read where a page is written

    return _packed(get_plotlyjs())


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _packed(text: str) -> str:
    """Return a text compressed and in letters that HTML leaves alone: a third of its size."""
    # the highest level takes seven times as long and saves a fiftieth of the page
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")


def _notes(results: RunResults) -> list[str]:
    datasets = results.scores.groupby("modality", sort=False)["dataset"]
    said = [f"{modality}: {', '.join(sorted(part.astype(str).unique()))}" for modality, part in datasets]
    volumes = results.scores.groupby("dataset", sort=False)["n_volumes"].max().dropna()
    said += [f"{dataset}: {int(count)} volumes or stimuli scored" for dataset, count in volumes.items()]
    noted = results.models[results.models["note"].fillna("").astype(str) != ""]
    said += reading.ceiling_note(results.scores)
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
