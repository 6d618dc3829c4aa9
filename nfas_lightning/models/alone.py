"""Whether a stimulus gets the same states in a batch as alone, looked at as the first batches run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.undisturbed import kept_random_states
from nfas_lightning.models.batch import one_stimulus, stimulus_lengths

__all__ = ["BatchCollector"]

_HALF = (torch.float16, torch.bfloat16)
_ROUNDING = {"cpu": 1e-4, "accelerator": 3e-3, "half": 3e-2}
"""Difference, as a share of a state's norm, that sums in another order may make: in float32 on the CPU they
stay a hundred times below it, on accelerators products may be rounded to ten bits."""
_OF_SPREAD = 1e-3
"""Difference, as a share of what stimuli of the batch differ by, that no score would feel."""


class BatchCollector:
    """Collect batches; where a network's states depend on the batch, its stimuli one by one.

    Networks that mix over tokens without a mask (FNet, ConvBERT, Nystroemformer) carry padding into a
    stimulus's states; others use statistics of the batch. So two stimuli of the first batch are shown alone:
    the shortest, which padding changes most, and the longest; and again where a later batch has lengths that
    differ far more. Where a block's state differs by more than rounding, this and every later batch is shown
    stimulus by stimulus, and a warning says so.

    Args:
        recorder: attached to the network.
        show: runs the network on a batch as the loop does, mask included; False where it does not fit.
    """

    def __init__(self, recorder: DepthRecorder, show: Callable[[Mapping[str, Any]], object]) -> None:
        self.one_by_one = False
        self._recorder, self._show = recorder, show
        self._most_uneven = -1.0  # share of the longest that the shortest lacked, of the batches looked at

    def begin(self, stimuli: StimulusSet) -> None:
        """Let the first stimuli decide what becomes of a first token, so that every process decides alike."""
        for index in range(min(2, len(stimuli))):
            one = stimuli.collate([stimuli[index]])
            try:
                if self._show(one) is not False:
                    _ = self._recorder.states
            except Exception:  # noqa: BLE001 - all processes fail alike, and `collect` says so, or fails too
                self._recorder.forget_pass()

    def collect(self, batch: Mapping[str, Any]) -> None:
        """Collect the batch that was shown last.

        Warns:
            UserWarning: states depend on the batch, or differ between two passes over one stimulus.
        """
        if self._is_due(batch):
            states = self._recorder.states
            with self._recorder.aside(), kept_random_states(self._recorder.model):
                self.one_by_one = self._changes_states(batch, states)
        n_stimuli = _n_stimuli(batch)
        if not self.one_by_one or n_stimuli < 2:
            self._recorder.collect(batch["stimulus_id"], batch.get("n_frames"))
            return
        self._recorder.forget_pass()
        for row in range(n_stimuli):
            one = one_stimulus(batch, row)
            assert one is not None  # else it could not have been seen that the batch matters
            self._show(one)
            self._recorder.collect(one["stimulus_id"], one.get("n_frames"))

    def _is_due(self, batch: Mapping[str, Any]) -> bool:
        if self.one_by_one or _n_stimuli(batch) < 2 or one_stimulus(batch, 0) is None:
            return False
        if len(self._recorder.states[0]) not in (_n_stimuli(batch), _n_frames(batch)):
            return False  # `collect` says what is wrong
        lengths = stimulus_lengths(batch)
        uneven = 1 - min(lengths) / max(lengths) if max(lengths) else 0.0
        # far more than before, so that few batches are looked at however many there are
        if self._most_uneven >= 0 and uneven <= 2 * self._most_uneven + 0.05:
            return False
        self._most_uneven = uneven
        return True

    def _changes_states(self, batch: Mapping[str, Any], states: Sequence[Tensor]) -> bool:
        """Whether stimuli shown alone differ from their rows (B, D_l) of the batch's states."""
        lengths = stimulus_lengths(batch)
        rows = [lengths.index(min(lengths)), len(lengths) - 1 - lengths[::-1].index(max(lengths))]
        for row in dict.fromkeys(rows):
            try:
                alone, is_half = self._alone(batch, row)
            except Exception as error:  # noqa: BLE001 - whatever a network raises; it is said
                warnings.warn(
                    f"{self._network} could not be shown a single stimulus ({error}), so it is not known "
                    f"whether a stimulus's states depend on the others in its batch.",
                    stacklevel=4,
                )
                return False
            found = self._first_apart(
                [_rows_of(state, batch, row) for state in states], alone, states, is_half
            )
            if found is None:
                continue
            again, _ = self._alone(batch, row)
            if self._first_apart(again, alone, states, is_half) is not None:
                warnings.warn(
                    f"{self._network} makes different states of one stimulus in two passes, from block "
                    f"{found[0]!r} on: it draws random numbers or remembers earlier passes. Its scores can't "
                    f"be reproduced.",
                    stacklevel=4,
                )
                return False
            self._say(int(batch["stimulus_id"][row]), *found)
            return True
        return False

    def _alone(self, batch: Mapping[str, Any], row: int) -> tuple[list[Tensor], bool]:
        """Return a stimulus's states (D_l,), shown alone, and whether they are of half precision."""
        recorder = self._recorder
        weights = {parameter.dtype for parameter in recorder.model.parameters()}
        seen: list[bool] = [bool(weights & set(_HALF))]
        hook = recorder.model.register_forward_pre_hook(lambda *_: seen.append(_is_autocast()))
        try:
            one = one_stimulus(batch, row)
            assert one is not None
            self._show(one)
        finally:
            hook.remove()
        states = [state.mean(dim=0) for state in recorder.states]
        return states, any(seen) or any(state.dtype in _HALF for state in states)

    def _first_apart(
        self, one: Sequence[Tensor], other: Sequence[Tensor], states: Sequence[Tensor], is_half: bool
    ) -> tuple[str, float, float] | None:
        """The first block at which two states (D_l,) of a stimulus differ, and by how much."""
        device = next((p.device.type for p in self._recorder.model.parameters()), "cpu")
        rounding = _ROUNDING["half" if is_half else "cpu" if device == "cpu" else "accelerator"]
        for layer, a, b, state in zip(self._recorder.layers, one, other, states, strict=True):
            if a.shape != b.shape:
                return layer.name, math.inf, math.inf
            apart, norm = _norm(a - b), _norm(b)
            spread = _norm(state - state.mean(dim=0)) / len(state) ** 0.5
            if apart > rounding * norm and apart > _OF_SPREAD * spread:
                return layer.name, _share(apart, norm), _share(apart, spread)
        return None

    @property
    def _network(self) -> str:
        return type(self._recorder.model).__name__

    def _say(self, stimulus: int, block: str, of_norm: float, of_spread: float) -> None:
        warnings.warn(
            f"{self._network} makes other states of a stimulus in a batch than alone, first at block "
            f"{block!r}: there stimulus {stimulus} differs by {of_norm:.2g} of its norm, {of_spread:.2g} of "
            f"what the batch's stimuli differ by. It mixes padding into its states, or uses statistics of "
            f"the batch. Going on with one stimulus at a time: the scores are right, and batch_size=1 spares "
            f"the passes that are thrown away.",
            stacklevel=5,
        )


def _n_stimuli(batch: Mapping[str, Any]) -> int:
    """Stimuli of a batch; 0 where its ids are no list of them, which `collect` refuses or takes as one."""
    ids = batch["stimulus_id"]
    is_list = isinstance(ids, list | tuple) or (isinstance(ids, Tensor) and ids.ndim == 1)
    return len(ids) if is_list else 0


def _n_frames(batch: Mapping[str, Any]) -> int:
    counts = batch.get("n_frames")
    return 0 if counts is None else int(torch.as_tensor(counts).sum())


def _rows_of(state: Tensor, batch: Mapping[str, Any], row: int) -> Tensor:
    """The state (D,) of one stimulus in a batch's (B, D), or of its frames' mean."""
    if len(state) == len(batch["stimulus_id"]):
        return state[row]
    counts = torch.as_tensor(batch["n_frames"]).reshape(-1).tolist()
    return torch.split(state, counts)[row].mean(dim=0)


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value, dtype=torch.promote_types(value.dtype, torch.float32)))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.inf


def _is_autocast() -> bool:
    kinds = {"cpu", *({"cuda"} if torch.cuda.is_available() else ())}
    return any(torch.is_autocast_enabled(kind) for kind in kinds)
