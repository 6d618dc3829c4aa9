"""What a sweep prints: what it will take, what it took, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from nfas_lightning.runner.memory import available_mb
from nfas_lightning.runner.planning import span

if TYPE_CHECKING:
    from nfas_lightning.sweep.cell import Cell
    from nfas_lightning.sweep.config import Sweep

__all__ = ["cost_table", "failure_table", "not_estimated", "plan_table"]


def plan_table(sweep: Sweep, cells: Sequence[Cell]) -> Table:
    """Return what every cell is estimated to take at the least, and the sum as a range."""
    twins = ", random twins included" if sweep.random_twins else ""
    table = _table(
        f"What the sweep is estimated to take{twins}",
        "parameters", "blocks", "trajectory", "memory", "forward", "scoring",
    )  # fmt: skip
    known = {cell.name: found for cell in cells if "memory_mb" in (found := cell.estimate())}
    unknown, room = len(cells) - len(known), available_mb()
    for cell in cells:
        row = ["–"] * 6
        if found := known.get(cell.name, {}):
            memory = f"{found['memory_mb'] / 1e3:.1f} GB"
            row = [
                f"{found['parameters'] / 1e6:.1f} M",
                str(found["n_blocks"]),
                f"{found['trajectory_mb']:.0f} MB",
                f"[red]{memory}[/]" if found["memory_mb"] > room else memory,
                f"{found['seconds_forward']:.0f} s",
                f"{found['seconds_scoring']:.0f} s",
            ]
        table.add_row(escape(cell.benchmark), escape(cell.spec.label), *row)
    total = sum(found["seconds_forward"] + found["seconds_scoring"] for found in known.values())
    table.caption = (
        f"{span(total)} of one process's work, loading of weights not counted"
        + (f"; {unknown} could not be estimated and will be tried" if unknown else "")
        + f"; red memory is more than the {room / 1e3:.0f} GB that this machine has left"
    )
    return table


def not_estimated(cells: Iterable[Cell]) -> list[str]:
    """Return a line for every cell without an estimate: why."""
    return [
        f"{cell.name}: no estimate: {_short(cell.estimate()['error'])}"
        for cell in cells
        if cell.estimate().get("error")
    ]


def cost_table(cells: Iterable[Cell]) -> Table:
    """Return what was estimated beside what was measured, cell by cell."""
    table = _table("Estimated and measured", "state", "seconds", "estimated", "peak memory", "estimated ")
    for cell in cells:
        status, found = cell.status(), cell.estimate()
        known = "memory_mb" in found
        table.add_row(
            escape(cell.benchmark),
            escape(cell.spec.label),
            status["state"],
            f"{status['seconds']:.0f} s" if "seconds" in status else "–",
            f"{found['seconds_forward'] + found['seconds_scoring']:.0f} s" if known else "–",
            f"{status['peak_mb'] / 1e3:.1f} GB" if "peak_mb" in status else "–",
            f"{found['memory_mb'] / 1e3:.1f} GB" if known else "–",
        )
    return table


def failure_table(failed: Iterable[Mapping[str, Any]]) -> Table:
    """Return what failed and where its log lies."""
    table = _table("[bold red]Failed[/]: the full list is failures.json; run the sweep again to retry")
    table.add_column("error", overflow="fold")
    table.add_column("log", overflow="fold")
    for failure in failed:
        cells = (failure["benchmark"], failure["model"], _short(failure["error"]), failure["log"])
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _table(title: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("benchmark", "model"):
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _short(text: str, most: int = 200) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
