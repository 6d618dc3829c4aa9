"""What metrics over stimuli share: states that batching and processes leave equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_finite, check_shape, double_device
from nfas_lightning.functional.state_space import StateSpace, StateSpaceKind
from nfas_lightning.functional.stimulus_order import first_of_each
from nfas_lightning.hooks.processes import gather_rows
from nfas_lightning.hooks.spill import Spill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["StimulusIds", "StimulusMetric", "TrajectoryMetric", "as_ids", "figure_of"]

StimulusIds = Tensor | Sequence[int] | npt.NDArray[np.integer]


def as_ids(stimulus_id: StimulusIds) -> Tensor:
    """Return the ids as a tensor of integers.

    Raises:
        TypeError: they are names, floats, booleans or anything else but integers.
    """
    ids: object = stimulus_id
    if not isinstance(ids, Tensor):
        array = np.asarray(ids)
        ids = torch.from_numpy(array.astype(np.int64)) if array.dtype.kind in "iu" else ids
    if not isinstance(ids, Tensor) or ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise InputTypeError(
            "stimulus_id must be an integer tensor (B,), the indices of the stimuli (of a name: "
            f"responses.stimulus_ids.index(name)), got {stimulus_id!r:.60}."
        )
    return ids


def figure_of(ax: Axes | None) -> tuple[Figure, Axes]:
    """Return axes with their figure; None: new ones."""
    if ax is not None:
        figure = ax.get_figure(root=True)
        assert figure is not None
        return figure, ax
    from matplotlib.figure import Figure  # without pyplot no figure outlives its last reference

    figure = Figure(layout="constrained")
    return figure, figure.subplots()


class StimulusMetric(Metric):
    """Collect one row per stimulus, by its id; a subclass computes.

    Rows are kept on the metric's device within a budget of memory, beyond it on the host and on disk, see
    `Spill`. Before `compute` they are sorted by id and repeated ids dropped: the order of updates, their
    batching, the number of processes and the duplicates of padded samplers leave the same rows in the same
    order, and no value depends on where they lay.

    Of a repeated id the first row is kept. Unlike `DepthRecorder`, a metric does not compare it with the
    others: a network in training mode may answer the same stimulus differently each time.

    Args:
        memory_budget: bytes of rows that may stay on the device; None: half of what is free.
        kwargs: torchmetrics' own.

    Attributes:
        details: what the last `compute` found beside the value it returned, by name.
    """

    is_differentiable = False
    full_state_update = False
    _rows_are, _axes = "features", "B P"  # what update calls its argument, and its shape

    rows: list[Tensor]
    stimulus_ids: list[Tensor]
    details: dict[str, Tensor]

    def __init__(self, memory_budget: int | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dist_sync_fn", gather_rows)
        super().__init__(**kwargs)
        self._spill = Spill(memory_budget)
        self.details = {}
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("stimulus_ids", default=[], dist_reduce_fx="cat")

    def collected(self) -> tuple[Tensor, Tensor]:
        """Return rows (N, ...) and ids (N,), ascending, each once; empty before the first update."""
        if not len(self.stimulus_ids):
            return torch.empty(0, *(0 for _ in self._axes.split()[1:])), torch.empty(0, dtype=torch.int64)
        self._join_rows()
        ids, rows = dim_zero_cat(self.stimulus_ids), dim_zero_cat(self.rows)
        first, _ = first_of_each(ids)
        if torch.equal(first, torch.arange(len(rows))):
            return rows, ids
        return rows[first.to(rows.device)], ids[first]

    def _add(self, rows: Tensor, stimulus_id: StimulusIds) -> None:
        """Check a batch and keep a copy of it."""
        ids = as_ids(stimulus_id)
        sizes = zip(self._axes.split()[1:], self.rows[0].shape[1:] if len(self.rows) else (), strict=False)
        check_shape(self._rows_are, rows, self._axes, **dict(sizes))
        check_shape("stimulus_id", ids, "B", B=len(rows))
        if not rows.is_floating_point():
            raise InputError(f"{self._rows_are} must be a floating-point tensor, got {rows.dtype}.")
        if bool((ids < 0).any()):
            raise InputError(
                f"stimulus_id must hold integers >= 0, the indices of the stimuli, got {int(ids.min())}."
            )
        # a copy: on one device `to` alone would share memory with a batch that the caller may reuse
        kept = rows.detach().to(self.device, copy=True)
        check_finite(self._rows_are, kept)
        self.rows.append(self._spill.keep(kept))
        self.stimulus_ids.append(ids.detach().to("cpu", torch.int64, copy=True))

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self._spill.clear()

    def _join_rows(self) -> None:
        """Put the rows into one tensor; torchmetrics would join them on one device, whatever its room."""
        if isinstance(self.rows, list) and len(self.rows) > 1:
            self.rows = [self._spill.join(self.rows, self.device)]

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        self._join_rows()
        super()._sync_dist(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> nn.Module:
        """Move the rows within the budget of where they go; ids stay on the host."""
        super()._apply(fn, exclude_state=(*exclude_state, "rows", "stimulus_ids"))
        self._spill.clear()
        self.rows = [self._spill.keep(fn(row)) for row in self.rows]
        return self


class TrajectoryMetric(StimulusMetric):
    """Collect depth trajectories by stimulus id; a subclass computes. See `StimulusMetric`.

    Depths may differ in width: their states lie side by side in one row per stimulus, and go into one state
    space, fitted on all stimuli, before anything is computed.

    Args:
        state_space: see `StateSpace`.
        n_components: see `StateSpace`.
        seed: of the state space's random projection.
        kwargs: torchmetrics' own.
    """

    _rows_are, _axes = "trajectory", "B P"

    widths: list[Tensor]

    def __init__(
        self,
        state_space: StateSpaceKind = "auto",
        n_components: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.space = StateSpace(state_space, n_components, seed)  # which refuses a bad choice now
        self.add_state("widths", default=[], dist_reduce_fx="cat")  # (1, L) per update, for who has no rows

    def update(self, trajectory: Tensor | Sequence[Tensor], stimulus_id: StimulusIds) -> None:
        """Add a batch.

        Args:
            trajectory: pooled states of B stimuli at L >= 3 depths: (B, L, D), or a list of L matrices
                (B, D_l).
            stimulus_id: (B,) integers >= 0. A repeated id counts once.

        Raises:
            TypeError: the ids are no integers.
            ValueError: other depths or widths than before, fewer than three depths, NaN or infinity.
        """
        if isinstance(trajectory, Tensor):
            check_shape(self._rows_are, trajectory, "B L D")
            trajectory = trajectory.unbind(1)
        depths = list(trajectory)
        if not all(isinstance(state, Tensor) for state in depths):
            raise InputTypeError(
                f"{self._rows_are} must be a torch.Tensor (B, L, D) or a list of L of them, (B, D_l), got a "
                f"{type(trajectory).__name__} of {type(depths[0]).__name__}."
            )
        if len(depths) < 3:
            raise InputError(f"trajectory must hold L >= 3 depths, got L = {len(depths)}: record more.")
        for index, state in enumerate(depths):
            check_shape(f"trajectory[{index}]", state, "B D", B=len(depths[0]))
        widths = torch.tensor([[state.shape[1] for state in depths]])
        if len(self.widths) and not torch.equal(widths, self.widths[0]):
            raise InputError(
                f"trajectory must hold the depths of the updates before, of widths "
                f"{self.widths[0][0].tolist()}, got {widths[0].tolist()}: record the same layers."
            )
        self._add(torch.cat(depths, dim=1), stimulus_id)
        self.widths.append(widths)

    def trajectories(self, presented: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the stimuli seen so far in one state space, (N, L, D), and the ids (N,) seen, ascending.

        Args:
            presented: (N,) booleans by id, of all stimuli there are: once all were seen, the space is fitted
                to these alone, and holds no others; None: to all.

        Raises:
            ValueError: processes saw networks of different widths, or what `StateSpace.fit` raises.
        """
        rows, ids = self.collected()
        if not len(ids):
            return torch.empty(0, 0, 0), ids
        if presented is not None and len(presented) == len(ids):
            rows = rows[presented.to(rows.device)]
        widths = torch.unique(dim_zero_cat(self.widths), dim=0)
        if len(widths) > 1:
            raise InputError(f"All processes must record layers of the same widths, got {widths.tolist()}.")
        states = torch.split(rows, widths[0].tolist(), dim=1)
        return self.space.fit_transform(states, double_device(self.device)), ids

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> nn.Module:
        return super()._apply(fn, exclude_state=(*exclude_state, "widths"))
