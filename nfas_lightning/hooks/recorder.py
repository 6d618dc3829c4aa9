"""Record a network's depth trajectory with forward hooks, pooled on the device as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.attached import Attached
from nfas_lightning.hooks.block_layouts import BlockLayouts, Given, OpenBlock, settle
from nfas_lightning.hooks.blocks import SeveralTrunksError, choose_trunk, find_rows
from nfas_lightning.hooks.first_token import FirstToken
from nfas_lightning.hooks.layout import LAYOUTS
from nfas_lightning.hooks.outputs import as_numbers, given_tensors, main_tensor, rivals
from nfas_lightning.hooks.pooling import TIMES, average_frames, check_mask, join_frames, pad_nested
from nfas_lightning.hooks.selection import MIN_DEPTHS, Layers, resolve_layers
from nfas_lightning.hooks.spill import Spill
from nfas_lightning.hooks.state_checks import (
    as_stimulus_ids,
    check_complete,
    check_finite,
    check_frames,
    check_has_values,
    check_in_range,
    check_one_pass,
    check_real,
    check_rows,
    check_same_blocks,
    check_same_widths,
    check_tokens,
    is_strided,
    warn_of_training,
)
from nfas_lightning.hooks.succession import Succession, watch_rows
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, sort_stimuli

__all__ = ["DepthRecorder"]

_N_OF_NETWORK = 2  # hooks on the network itself, which come first
_REPEATS = ("error", "first", "last", "all")


class DepthRecorder:
    """Record one pooled vector per stimulus from each block of a network.

    Building a recorder resolves names and touches nothing; `attach` (or ``with``) adds the hooks, `detach`
    removes them and may be called any number of times. Pooling runs inside the hooks, so that memory is
    O(batch x D) per block however large the maps are.

    Args:
        model: the network.
        layers: which modules, see `resolve_layers`. Where ``"auto"`` finds several trunks, the first pass
            decides (see `choose_trunk`): the network is run once more on what it is given.
        pooling: how an output becomes a vector, see `pool`. A first token that is an attention sink stays out
            of means and maxima over tokens, see `FirstToken`.
        time: what becomes of the frames of clips that a network reads one by one: ``"mean"``, their mean is
            the stimulus's vector; ``"keep"`` and ``"dmd"``, they are kept, F of every clip, and scored frame
            by frame on the clock of the responses, or decomposed over time at each block.
        layout: where blocks keep their channels; ``"auto"`` asks each block, see `infer_layout`, once: what
            it finds in the first pass holds from then on.
        repeats: a module that runs more than once in a forward pass (shared weights): ``"error"``, keep the
            ``"first"`` or ``"last"`` run, or ``"all"`` as depths of their own, named ``"name[k]"``.
        device: where states are kept, e.g. ``"cpu"``; None: where they arise.
        memory_budget: bytes of collected states that may stay there; what exceeds it goes to the host and
            then to disk, with the same values, see `Spill`. None: half of what is free.
        dtype: dtype of the states; None: float32 for half precisions, else the network's (complex states
            are kept so, and a real dtype refuses them).
        check_finite: refuse NaN and infinity, with the name of the first block that has them, and states
            beyond the range of `dtype`.
        mask_source: called as each forward pass begins; returns its mask. For networks whose caller knows the
            mask only then.
        may_run: whether the recorder may run the network once more, where a pass leaves a trunk or a layout
            open; False where processes have to run their passes together.

    Raises:
        ValueError: an unknown layer or option, or fewer than three layers.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> with DepthRecorder(net) as rec, torch.no_grad():
        ...     _ = net(torch.randn(5, 4))
        ...     rec.collect(torch.arange(5))
        >>> rec.trajectory().widths
        (8, 8, 2)
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = "auto",
        *,
        pooling: str = "auto",
        time: str = "mean",
        layout: str = "auto",
        repeats: str = "error",
        device: torch.device | str | None = None,
        memory_budget: int | None = None,
        dtype: torch.dtype | None = None,
        check_finite: bool = True,
        mask_source: Callable[[], Tensor | None] | None = None,
        may_run: bool = True,
    ) -> None:
        check_option("time", time, TIMES)
        check_option("layout", layout, LAYOUTS)
        check_option("repeats", repeats, _REPEATS)
        self.model = model
        rows = find_rows(model) if layers == "auto" else []
        self._choices = rows if len(rows) > 1 else []  # between which the first pass decides
        # one shared module that runs at every depth is enough where each run counts
        self._min_depths = 1 if repeats == "all" else MIN_DEPTHS
        self.names: tuple[str, ...] = ()
        try:
            self.names = tuple(resolve_layers(model, layers, min_depths=self._min_depths))
        except SeveralTrunksError as error:
            self._question: SeveralTrunksError | None = error
        else:
            self._question = None
        self.pooling, self.time, self.layout, self.repeats = pooling, time, layout, repeats
        self.device, self.dtype, self.check_finite = device, dtype, check_finite
        self.mask_source, self._may_run = mask_source, may_run
        self._spill = Spill(memory_budget)
        self._handles: list[Any] = []
        self._kinds: dict[str, str] = {}
        self._layouts = BlockLayouts(model, self.names) if layout == "auto" else None
        self._first_token = FirstToken(pooling, type(model).__name__)
        self._succession = Succession()
        self._is_strided = is_strided(model)
        self._is_probing = self._knows_mode = False
        self._mask: Tensor | None = None
        self._mask_is_fresh = self._uses_masks = False
        self.clear()

    def clear(self) -> None:
        """Forget the last forward pass and everything collected."""
        self._begin_pass()
        self._n_passes = self._n_frames = 0
        self._infos: dict[str, LayerInfo] = {}
        self._order: tuple[str, ...] = ()
        self._spill.clear()
        self._rows: list[list[Tensor]] = []
        self._ids: list[Tensor] = []

    # attaching

    @property
    def is_attached(self) -> bool:
        """Whether the hooks are on the network."""
        return bool(self._handles)

    def attach(self) -> Self:
        """Add the hooks; nothing happens if they are there already.

        Raises:
            ValueError: weights are on the meta device, so that states would hold no values to check.
        """
        if not self._handles:
            if self.check_finite:
                check_has_values(self.model)
            begin, end = Attached(self.model, self._before), Attached(self.model, self._after)
            self._handles += [
                self.model.register_forward_pre_hook(begin, with_kwargs=True),
                self.model.register_forward_hook(end, with_kwargs=True, always_call=True),
            ]
            self._attach_blocks()
        return self

    def _attach_blocks(self) -> None:
        if self._layouts is not None:
            self._layouts.attach()
        for name in self.names:
            block = self.model.get_submodule(name)
            self._kinds[name] = type(block).__name__  # now: while FSDP2 runs it, the class is another
            hook = Attached(block, self._make_hook(name))
            self._handles.append(block.register_forward_hook(hook, with_kwargs=True))

    def detach(self) -> None:
        """Remove the hooks; nothing happens if they are gone already."""
        while self._handles:
            self._handles.pop().remove()
        if self._layouts is not None:
            self._layouts.detach()
        self._given = Given()

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    # a forward pass

    @property
    def mask(self) -> Tensor | None:
        """(B, K) booleans for the next forward pass, True for tokens that pooling may see; None: all.

        Once a mask was set, every later pass must set one of its own (None counts), so that a stale mask is
        never applied to another batch.
        """
        return self._mask

    @mask.setter
    def mask(self, value: Tensor | None) -> None:
        self._mask = value
        self._mask_is_fresh = self._uses_masks = True

    @property
    def given(self) -> Given:
        """What the network was given in the last pass, until that is collected."""
        return self._given

    def _begin_pass(self) -> None:
        self._states: dict[str, Tensor] = {}
        self._open: dict[str, OpenBlock] = {}
        self._fired: set[str] = set()
        self._given = Given()
        self._has_mask = self._is_checked = False
        self._succession.begin()

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Begin a pass: its mask is taken now, so that one that fails later has used it up."""
        if not self._is_probing:
            self._begin_pass()
            self._given = Given(args, kwargs)
            self._take_mask()
            if self._choices:
                self._choose_trunk()

    def _choose_trunk(self) -> None:
        """Decide between several rows of blocks by how they feed each other in a pass beforehand."""
        self._is_probing = True
        rows = [row.modules for row in self._choices]
        try:
            seen = watch_rows(self.model, rows, self._given) if self._may_run else None
        except (TypeError, ValueError, RuntimeError, IndexError, AssertionError) as error:
            if self._question is not None:
                reason = f"{self._question} (A pass to see which of them run failed: {error})"
                raise SeveralTrunksError(reason) from error
            seen = None  # what the structure says holds
        finally:
            self._is_probing = False
        if seen is None and self._question is not None:
            raise self._question
        found = choose_trunk(type(self.model).__name__, self._choices, seen)
        names = tuple(resolve_layers(self.model, found, min_depths=self._min_depths))
        self._choices, self._question = [], None
        if names != self.names:
            while len(self._handles) > _N_OF_NETWORK:
                self._handles.pop().remove()
            self.names = names
            if self._layouts is not None:
                self._layouts.detach()
                self._layouts = BlockLayouts(self.model, names)
            self._attach_blocks()

    def _after(self, *_: Any) -> None:
        """End a pass, or one that failed: it has not been through all blocks."""
        if self._is_probing:
            return
        self._has_mask = False
        is_whole = len(self._fired) == len(self.names)
        if is_whole and self._open:
            self._settle()
        self._n_passes += is_whole

    def _take_mask(self) -> None:
        if self.mask_source is not None:
            self.mask = self.mask_source()
        if self._uses_masks and not self._mask_is_fresh:
            raise FailureError(
                "A mask was set for an earlier forward pass and none for this one: set `recorder.mask` "
                "before every pass, to None where all tokens count."
            )
        self._mask_is_fresh, self._has_mask = False, True
        if self._mask is not None:
            check_mask(self._mask)
        self._first_token.begin(self._mask)

    def _make_hook(self, name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._is_probing:
                return
            if not self._states:
                self._look_once()
            key = name
            if name in self._fired:
                if self.repeats == "error":
                    raise FailureError(
                        f"Block {name!r} ran twice within one forward pass: its weights are shared between "
                        f"depths, or the network ran again before collect(). Choose repeats='first', 'last' "
                        f"or 'all'."
                    )
                if self.repeats == "first":
                    return
                if self.repeats == "last":
                    del self._states[name]  # so that it takes its new place in the order of execution
            if self.repeats == "all":
                key = f"{name}[{sum(k.rpartition('[')[0] == name for k in self._states)}]"
            given = given_tensors(args, kwargs)
            raw = main_tensor(output, f"Block {name!r}", given, module)
            self._fired.add(name)
            self._states[key] = self._pool(name, key, module, raw)
            self._succession.see(name, module, given, raw, rivals(output, raw, given))

        return record

    def _look_once(self) -> None:
        """Take the mask where the network's own forward was passed over, and look at its mode once."""
        if not self._has_mask:
            self._take_mask()
        if not self._knows_mode:
            self._knows_mode = True
            warn_of_training(self.model)

    def _pool(self, name: str, key: str, module: nn.Module, raw: Tensor) -> Tensor:
        mask, kind = self._mask, str(raw.dtype)
        raw = as_numbers(raw)
        try:
            if raw.is_nested:
                raw, mask = pad_nested(raw, mask)
            layouts: tuple[str, ...] = (self.layout,)
            if self._layouts is not None:
                n_rows = None if self._mask is None else len(self._mask)
                layouts = self._layouts.of(name, module, raw, n_rows, self._given.n_rows)
            states = {layout: self._first_token.pool(raw, mask, layout) for layout in layouts}
            if len(layouts) == 1:
                self._check_tokens(tuple(raw.shape), layouts[0], mask)
        except ValueError as error:
            raise InputError(f"Block {name!r}: {error}") from error
        self._open.pop(key, None)
        if len(layouts) > 1:
            self._open[key] = OpenBlock(name, tuple(raw.shape), states)
        if key not in self._infos:
            self._infos[key] = LayerInfo(
                name=key,
                index=-1,
                kind=self._kinds[name],
                shape=_shape_of_one(tuple(raw.shape), layouts[0]),
                width=states[layouts[0]].shape[1],
                dtype=kind,
            )
        return states[layouts[0]]

    def _check_tokens(self, shape: tuple[int, ...], layout: str, mask: Tensor | None) -> None:
        if len(shape) == 3 and self.pooling != "cls":
            axis = {"sequence_first": 0, "channels_first": 2}.get(layout, 1)
            n_given = None if layout == "channels_first" else self._given.n_tokens
            check_tokens(shape[axis], mask, n_given, self._is_strided)

    def _settle(self) -> None:
        """Find the batch of the blocks that have it on their first axis or on the second."""
        self._is_probing = True
        try:
            given = self._given if self._may_run else Given()
            layouts = settle(self.model, given, self._open.values())
        finally:
            self._is_probing = False
        assert self._layouts is not None
        for key, block in self._open.items():
            layout = layouts[block.name]
            self._check_tokens(block.shape, layout, self._mask)
            self._layouts.decide(block.name, self.model.get_submodule(block.name), 3, layout)
            self._states[key] = state = block.states[layout]
            shape = _shape_of_one(block.shape, layout)
            self._infos[key] = replace(self._infos[key], shape=shape, width=state.shape[1])
        self._open = {}

    @property
    def states(self) -> list[Tensor]:
        """L matrices (B, D_l) of the last forward pass, in the order of execution.

        Raises:
            RuntimeError: a hook did not fire.
            TypeError: what the last block returned leaves open which tensor is its state.
            ValueError: a state is not finite, or blocks disagree about the number of stimuli.
        """
        if not self._is_checked:
            if self._question is not None:
                raise self._question
            check_complete(self.names, self._states)
            self._succession.finish()
            if self._open:  # the network's own forward was passed over
                self._settle()
            self._states = self._first_token.settle(self._states)
            if self.check_finite:
                check_finite(self._states, {key: info.dtype for key, info in self._infos.items()})
            if self.dtype is not None:
                check_real(self._states, self.dtype)
            kept = {
                key: state.to(device=self.device, dtype=self.dtype) for key, state in self._states.items()
            }
            if self.check_finite:
                check_in_range(self._states, kept)
            self._states = kept
            self._is_checked = True
        self._n_passes = 0
        return list(self._states.values())

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The recorded blocks, in the order of execution of the last forward pass."""
        return self._described(tuple(self._states) or self._order)

    def _described(self, keys: Sequence[str]) -> tuple[LayerInfo, ...]:
        pooling_of = self._first_token.pooling_of
        return tuple(
            replace(
                self._infos[key],
                index=index,
                pooling=pooling_of(key),
                frames=max(1, self._n_frames),
                time=self.time,
            )
            for index, key in enumerate(keys)
        )

    def forget_pass(self) -> None:
        """Forget the last forward pass, which is not to be collected."""
        self._begin_pass()
        self._n_passes = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run other forward passes; on leaving, the states of the last one before are there again."""
        kept = self._states, self._is_checked, self._mask, self._uses_masks
        try:
            yield
        finally:
            self.forget_pass()
            self._states, self._is_checked, self._mask, self._uses_masks = kept

    # many forward passes

    def collect(
        self, stimulus_ids: Tensor | Sequence[int], n_frames: Tensor | Sequence[int] | None = None
    ) -> None:
        """Keep the last forward pass under its stimuli's ids.

        Args:
            stimulus_ids: (B,) integers from 0.
            n_frames: (B,) frames of each stimulus, for a network that read clips frame by frame: its rows
                are averaged over each clip, after pooling, or kept as `time` says. A network that read whole
                clips has one row per stimulus already, which stays as it is.

        Raises:
            TypeError: the ids are no integers.
            RuntimeError: the network ran more than once since the last pass was collected.
            ValueError: an id is negative; the number of ids, the blocks or their order differ from what ran.
        """
        check_one_pass(self._n_passes)
        states = self.states
        ids = as_stimulus_ids(stimulus_ids)
        counts = None if n_frames is None else torch.as_tensor(n_frames).reshape(-1)
        check_rows(len(states[0]), len(ids), counts)
        if self.time != "mean":
            self._n_frames = check_frames(self.time, len(states[0]), counts, self._n_frames)
            assert counts is not None
            states = [join_frames(state, counts) for state in states]
        elif counts is not None and len(states[0]) != len(ids):
            states = [average_frames(state, counts) for state in states]
        if self._order:
            check_same_blocks(tuple(self._states), self._order)
        if self._rows:
            check_same_widths(states, self._rows[0])
        self._order = tuple(self._states)
        self._devices = [state.device for state in states]
        self._rows.append([self._spill.keep(state) for state in states])
        self._ids.append(ids)
        self._begin_pass()

    @property
    def n_collected(self) -> int:
        """Rows collected so far, duplicates included."""
        return sum(len(ids) for ids in self._ids)

    def take(self) -> Trajectory:
        """Return what was collected since the last `take`, sorted and deduplicated, and forget it."""
        trajectory = self._joined(self._rows)
        self._rows, self._ids = [], []
        self._spill.clear()
        return trajectory

    def trajectory(self) -> Trajectory:
        """Return everything collected, sorted by stimulus_id, each stimulus once.

        Raises:
            RuntimeError: nothing was collected.
            ValueError: a stimulus came twice with different states.
        """
        return self._joined([list(row) for row in self._rows])

    def _joined(self, rows: list[list[Tensor]]) -> Trajectory:
        """Join the rows of all batches, depth by depth, each taken out of `rows` as it is joined."""
        if not rows:
            raise FailureError("Nothing was collected: call collect(stimulus_ids) after each forward pass.")
        layers = self._described(self._order)
        with torch.inference_mode(False):  # so that the states can be used under autograd later
            states = [self._spill.join([row.pop(0) for row in rows], device) for device in self._devices]
            return sort_stimuli(states, layers, torch.cat(self._ids), self._devices[-1])


def _shape_of_one(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of one stimulus."""
    return (shape[0], *shape[2:]) if layout == "sequence_first" else shape[1:]
