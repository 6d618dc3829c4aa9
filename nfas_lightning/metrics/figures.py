"""Plain figures of metric values; the figures of a run are in `nfas_lightning.plotting`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_bars", "plot_grid", "plot_plane", "plot_steps"]

# More ticks than this can't be read: they are thinned out.
_MOST_TICKS = 40


def plot_bars(values: Tensor, names: Sequence[str], label: str, ax: Axes | None) -> tuple[Figure, Axes]:
    """Draw one bar a ROI; NaN leaves a gap."""
    figure, ax = _axes(ax)
    ax.bar(range(len(names)), values.detach().cpu().double().numpy())
    ax.axhline(0, color="0.4", linewidth=0.8)
    _ticks(ax, names)
    ax.set_ylabel(label)
    return figure, ax


def plot_steps(values: Sequence[float], label: str, ax: Axes | None) -> tuple[Figure, Axes]:
    """Draw one value a step."""
    figure, ax = _axes(ax)
    ax.plot(range(len(values)), values, marker="o")
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    return figure, ax


def plot_plane(eigenvalues: Tensor, stable: Tensor, ax: Axes | None) -> tuple[Figure, Axes]:
    """Draw eigenvalues on the complex plane with the unit circle, the stable one filled."""
    from matplotlib.patches import Circle

    figure, ax = _axes(ax)
    points = eigenvalues.detach().cpu().numpy()
    chosen = stable.detach().cpu().reshape(-1).numpy()
    ax.add_patch(Circle((0, 0), 1, fill=False, color="0.4"))
    ax.scatter(points.real, points.imag, facecolors="none", edgecolors="C0", label="modes")
    ax.scatter(chosen.real, chosen.imag, color="C0", label="stable mode")
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    ax.legend()
    return figure, ax


def plot_grid(values: Tensor, rows: Sequence[str], label: str, ax: Axes | None) -> tuple[Figure, Axes]:
    """Draw a (G, R) grid of values with its color bar."""
    figure, ax = _axes(ax)
    image = ax.imshow(values.detach().cpu().double().numpy(), aspect="auto")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel("ROI")
    figure.colorbar(image, ax=ax, label=label)
    return figure, ax


def _axes(ax: Axes | None) -> tuple[Figure, Axes]:
    if ax is not None:
        figure = ax.get_figure(root=True)
        assert figure is not None
        return figure, ax
    from matplotlib.figure import Figure  # without pyplot no figure outlives its last reference

    figure = Figure(layout="constrained")
    return figure, figure.subplots()


def _ticks(ax: Axes, names: Sequence[str]) -> None:
    step = -(-len(names) // _MOST_TICKS)
    ax.set_xticks(range(0, len(names), step), list(names)[::step], rotation=90)
