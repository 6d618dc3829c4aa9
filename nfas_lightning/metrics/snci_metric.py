"""SNCI over models, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_option, check_shape
from nfas_lightning.functional.relabeling import encode_labels
from nfas_lightning.functional.snci import Form, snci
from nfas_lightning.hooks.processes import gather_rows
from nfas_lightning.metrics.stimulus_metric import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SNCI"]

# Longest label in bytes: states are tensors, so that a name travels between processes as its characters.
_WIDTH = 64


class SNCI(Metric):
    """Consistency of the models of a group at each ROI, from scores that arrive model by model.

    `compute` returns (G, R), groups in sorted order, as `nfas_lightning.functional.snci.snci` does; `groups`
    names the rows. Torchmetrics makes a scalar of a 1 x 1 value. Add each model once.

    Args:
        form: ``"ratio"``, ``"db"`` or ``"bounded"``.
        kwargs: torchmetrics' own.

    Example:
        >>> metric = SNCI(form="bounded")
        >>> metric.update(torch.tensor([[0.1, 0.3], [0.3, 0.4]]), ["vision", "vision"])
        >>> metric.update(torch.tensor([[0.2, 0.1], [0.4, 0.5]]), ["audio", "audio"])
        >>> metric.groups
        ('audio', 'vision')
        >>> metric.compute()
        tensor([[0.8182, 0.5294],
                [0.6667, 0.9608]])
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, form: Form = "ratio", **kwargs: Any) -> None:
        check_option("form", form, get_args(Form))
        kwargs.setdefault("dist_sync_fn", gather_rows)
        super().__init__(**kwargs)
        self.form = form
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, groups: Sequence[str | int] | Tensor | str) -> None:
        """Add models.

        Args:
            scores: (B, R) score of each model at each ROI.
            groups: B strings or integers, or one string for all.

        Raises:
            TypeError: labels that are neither strings nor integers, or both, now or in an earlier update.
            ValueError: another R than before, labels that do not match, or a label above 63 bytes.
        """
        sizes = {"R": self.scores[0].shape[1]} if len(self.scores) else {}
        check_shape("scores", scores, "B R", **sizes)
        names = [groups] * len(scores) if isinstance(groups, str) else groups
        codes, kinds = encode_labels(names, len(scores))
        rows = torch.stack([_to_bytes(kind) for kind in kinds])[codes].to(scores.device)
        if len(self.labels):
            both = [kinds[0], _from_bytes(self.labels[0][0])]
            encode_labels(both, len(both))  # labels of two kinds have no order
        self.scores.append(scores.detach())
        self.labels.append(rows)

    @property
    def groups(self) -> tuple[str | int, ...]:
        """Groups seen so far, in the order of the rows of `compute`."""
        return tuple(sorted(set(self._names())))

    def compute(self) -> Tensor:
        """Return SNCI (G, R); NaN, inf and warnings as in `nfas_lightning.functional.snci.snci`."""
        if not len(self.scores):
            raise InputError("SNCI has seen no model yet: call update first.")
        return snci(dim_zero_cat(self.scores), self._names(), form=self.form)

    def plot(
        self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None
    ) -> tuple[Figure, Axes]:
        """Draw groups x ROIs.

        Args:
            val: a value of `compute`, of several the last; None computes one.
            ax: axes to draw on; None: new ones.
        """
        val = self.compute() if val is None else val
        val = val if isinstance(val, Tensor) else val[-1]
        names = [str(name) for name in self.groups]
        figure, ax = figure_of(ax)
        image = ax.imshow(val.detach().cpu().double().reshape(len(names), -1).numpy(), aspect="auto")
        ax.set_yticks(range(len(names)), names)
        ax.set_xlabel("ROI")
        figure.colorbar(image, ax=ax, label=f"SNCI ({self.form})")
        return figure, ax

    def _names(self) -> list[str | int]:
        return [_from_bytes(row) for row in dim_zero_cat(self.labels).cpu()] if len(self.labels) else []


def _to_bytes(label: object) -> Tensor:
    if isinstance(label, bool) or not isinstance(label, str | Integral):
        raise InputTypeError(f"groups must be strings or integers, got {label!r} ({type(label).__name__}).")
    text = (f"s{label}" if isinstance(label, str) else f"i{label}").encode()
    if len(text) > _WIDTH:
        raise InputError(f"A group must fit in {_WIDTH - 1} bytes, got {label!r}: shorten it.")
    return torch.tensor(list(text.ljust(_WIDTH, b"\0")), dtype=torch.uint8)


def _from_bytes(row: Tensor) -> str | int:
    text = bytes(row.tolist()).rstrip(b"\0").decode()
    return int(text[1:]) if text[0] == "i" else text[1:]
