"""The recording loop: a network is shown stimuli batch by batch, and its states are collected."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.undisturbed import kept_random_states

__all__ = ["Capture", "one_stimulus", "stimulus_lengths"]

_HALF = (torch.float16, torch.bfloat16)
_ROUNDING = {"cpu": 1e-4, "accelerator": 3e-3, "half": 3e-2}
"""Difference, as a share of a state's norm, that sums in another order may make: in float32 on the CPU they
stay a hundred times below it, on accelerators products may be rounded to ten bits."""
_OF_SPREAD = 1e-3
"""Difference, as a share of what stimuli of the batch differ by, that no score would feel."""


class Capture:
    """Collect a network's states over batches; where they depend on the batch, stimulus by stimulus.

    Networks that mix over tokens without a mask (FNet, ConvBERT, Nystroemformer) carry padding into a
    stimulus's states; others use statistics of the batch. So two stimuli of the first batch are shown alone:
    the shortest, which padding changes most, and the longest; and again where a later batch has lengths that
    differ far more. Where a block's state differs by more than rounding, this and every later batch is shown
    stimulus by stimulus, and a warning says so.

    A batch that does not fit into an accelerator's memory is halved until it does, with a warning.

    Args:
        recorder: attached to the network or a part of it; gets the mask of each pass.
        inputs: raw batch to the arguments of a pass: ``args``, ``kwargs`` and ``mask``, see `ModelInputs`.
        network: that is run; None: the recorder's.
        context: made around each forward pass, e.g. an autocast.
        around: made around passes over single stimuli; None: random states are put back.
    """

    def __init__(
        self,
        recorder: DepthRecorder,
        inputs: Callable[[Mapping[str, Any]], Any],
        *,
        network: nn.Module | None = None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        around: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._recorder, self._inputs, self._context = recorder, inputs, context
        self._ran = recorder.model if network is None else network
        self._around = around or (lambda: kept_random_states(recorder.model))
        self._one_by_one = False
        self._most_uneven = -1.0  # share of the longest that the shortest lacked, of the batches looked at

    def run(
        self, batches: Iterable[Sequence[Any]], collate: Callable[[Sequence[Any]], Mapping[str, Any]]
    ) -> None:
        """Show and collect batch after batch.

        Args:
            batches: lists of entries, one entry per stimulus.
            collate: entries to a batch.

        Raises:
            torch.cuda.OutOfMemoryError: not even one stimulus fits.
        """
        fits: int | None = None
        shown: Mapping[str, Any] | None = None  # a batch whose states are still to be collected
        for entries in batches:
            while entries:
                batch = collate(entries[:fits])
                if shown is not None:
                    self.collect(shown)  # waits for the device, which worked while this batch was read
                shown = batch if self._fits(batch) else None
                if shown is None:
                    fits = _halved(len(batch["stimulus_id"]))
                else:
                    entries = entries[len(batch["stimulus_id"]) :]
                if self._one_by_one:
                    fits = 1
        if shown is not None:
            self.collect(shown)

    def begin(self, singles: Iterable[Mapping[str, Any]]) -> None:
        """Let the first stimuli decide what becomes of a first token, so that every process decides alike.

        Args:
            singles: batches of one stimulus.
        """
        for one in singles:
            try:
                self.states(one)
            except Exception:  # noqa: BLE001 - all processes fail alike, and `collect` says so, or fails too
                self._recorder.forget_pass()

    def show(self, batch: Mapping[str, Any]) -> None:
        """Run the network on a batch, with its mask."""
        with self._context():
            given = self._inputs(batch)
            self._recorder.mask = given.mask
            self._ran(*given.args, **given.kwargs)

    def states(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Show a batch and return its states, L matrices (B, D_l), uncollected."""
        self.show(batch)
        return self._recorder.states

    def collect(self, batch: Mapping[str, Any]) -> None:
        """Collect the batch that was shown last.

        Warns:
            UserWarning: states depend on the batch, or differ between two passes over one stimulus.
        """
        if self._is_due(batch):
            states = self._recorder.states
            with self._recorder.aside(), self._around():
                self._one_by_one = self._changes_states(batch, states)
        n_stimuli = _n_stimuli(batch)
        if not self._one_by_one or n_stimuli < 2:
            self._recorder.collect(batch["stimulus_id"], batch.get("n_frames"))
            return
        self._recorder.forget_pass()
        with self._around():
            for row in range(n_stimuli):
                one = one_stimulus(batch, row)
                assert one is not None  # else it could not have been seen that the batch matters
                self.show(one)
                self._recorder.collect(one["stimulus_id"], one.get("n_frames"))

    def _fits(self, batch: Mapping[str, Any]) -> bool:
        """Show a batch; return whether it fitted into memory.

        A function of its own, so that what a failed pass has computed is gone before the next is tried: while
        an error is handled, its traceback holds all of it.
        """
        try:
            self.show(batch)
        except torch.cuda.OutOfMemoryError:
            if len(batch["stimulus_id"]) == 1:
                raise
            self._recorder.forget_pass()
            return False
        return True

    def _is_due(self, batch: Mapping[str, Any]) -> bool:
        if self._one_by_one or _n_stimuli(batch) < 2 or one_stimulus(batch, 0) is None:
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
        halves = [parameter.dtype in _HALF for parameter in recorder.model.parameters()]
        hook = recorder.model.register_forward_pre_hook(lambda *_: halves.append(_is_autocast()))
        try:
            one = one_stimulus(batch, row)
            assert one is not None
            states = [state.mean(dim=0) for state in self.states(one)]
        finally:
            hook.remove()
        return states, any(halves) or any(state.dtype in _HALF for state in states)

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


def _halved(size: int) -> int:
    """Return half a batch that did not fit, and give back what it took."""
    warnings.warn(
        f"A batch of {size} stimuli did not fit into memory: going on with {size // 2} at a time.",
        stacklevel=3,
    )
    torch.cuda.empty_cache()
    return size // 2


def stimulus_lengths(batch: Mapping[str, Any]) -> list[int]:
    """Return how long each stimulus of a raw batch is: characters, samples, tokens or frames; of images 0."""
    if "text" in batch:
        return [len(getattr(stimulus, "text", stimulus)) for stimulus in batch["text"]]
    lengths = batch.get("n_samples", batch.get("n_frames"))
    mask = batch.get("attention_mask")
    if lengths is None and isinstance(mask, Tensor) and mask.ndim == 2:
        lengths = mask.bool().sum(dim=1)
    if lengths is None:
        return [0] * len(batch["stimulus_id"])
    return torch.as_tensor(lengths).reshape(-1).tolist()


def one_stimulus(batch: Mapping[str, Any], row: int) -> dict[str, Any] | None:
    """Return one stimulus of a batch as a batch of its own, without padding.

    Args:
        batch: see `nfas_lightning.data.stimuli.texts`, or what a network was given. Entries have one row per
            stimulus (images also one per frame), or are one value for all. Where there is an
            ``attention_mask`` (B, K), what has K columns loses those that it hides at either end.
        row: of the stimulus.

    Returns:
        The batch; None where an entry does not tell what of it belongs to the stimulus.

    Example:
        >>> batch = {"stimulus_id": torch.tensor([4, 5]), "audio": torch.zeros(2, 9), "sampling_rate": 100}
        >>> one = one_stimulus(batch | {"n_samples": torch.tensor([9, 3])}, 1)
        >>> one["stimulus_id"], one["audio"].shape
        (tensor([5]), torch.Size([1, 3]))
    """
    n_stimuli = len(batch["stimulus_id"])
    counts, frames = batch.get("n_frames"), slice(row, row + 1)
    n_frames = 0
    if counts is not None:
        ends = torch.as_tensor(counts).reshape(-1).cumsum(0).tolist()
        frames, n_frames = slice(ends[row - 1] if row else 0, ends[row]), ends[-1]
    one: dict[str, Any] = {}
    for key, value in batch.items():
        if (isinstance(value, Tensor) and value.ndim) or isinstance(value, list | tuple):
            if isinstance(value, Tensor) and len(value) == n_frames:
                one[key] = value[frames]
            elif len(value) == n_stimuli:
                one[key] = value[row : row + 1]
            else:
                return None
        elif value is None or isinstance(value, Tensor | str | int | float):
            one[key] = value
        else:
            return None
    if "audio" in one and "n_samples" in one:
        one["audio"] = one["audio"][:, : int(one["n_samples"])]
    mask = one.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2 and bool(mask.any()):
        shown = mask[0].nonzero()[:, 0]
        kept = slice(int(shown[0]), int(shown[-1]) + 1)
        for key, value in one.items():
            if isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == mask.shape[1]:
                one[key] = value[:, kept]
    return one
