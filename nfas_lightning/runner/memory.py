"""Memory of a run: what it will take, counted before it starts, and what there is."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import NotEnoughMemoryError
from nfas_lightning.functional.batches import free_memory
from nfas_lightning.scoring import ScoringSettings

__all__ = [
    "LivePeak",
    "Memory",
    "available_mb",
    "check_room",
    "network_bytes",
    "peak_mb",
    "reset_peak",
    "resident_mb",
    "scoring_bytes",
]

# Features of a fold in float64, as many again for its inner folds, and a copy as they are standardized
_FOLDS = 2 * 8 + 6
# Responses, residuals and predictions of a target at one time, in float32 and float64, and its rows of the
# tables; targets are worked on in batches of this workspace
_OF_VALUE, _OF_TARGET, _WORKSPACE = 44, 3000, 2**28
_FEATURES = 5  # the stable mode and four baselines
_OF_DRAW = 20  # sums over the rows of each fold, in units of the draws that they become
_COMPONENTS = 320  # of a state space, unless asked otherwise
_TOLERANCE = 1.3  # an estimate is within this factor of what is measured: nothing that fits is refused


@dataclass(frozen=True)
class Memory:
    """What a run takes beyond what the process holds already, in bytes.

    Attributes:
        weights: parameters and buffers.
        activations: the most that a forward pass of a batch holds at a time, its recorded states included.
        trajectory: states of all stimuli as they are kept.
        scoring: what the scoring holds beside the trajectory: state space, features, the ridge's workspace.
        device: of the forward passes.
        home: where states are kept and scored.
        building: what the network takes while it is made, before anything runs.
    """

    weights: int
    activations: int
    trajectory: int
    scoring: int
    device: torch.device
    home: torch.device
    building: int = 0

    @property
    def of_device(self) -> int:
        """Bytes on an accelerator."""
        return 0 if self.device.type == "cpu" else self.on(self.device)

    @property
    def of_host(self) -> int:
        """Bytes of the host's memory, through which weights pass on their way to an accelerator."""
        return max(self.building, self.on(torch.device("cpu")))

    def on(self, place: torch.device) -> int:
        """Bytes on a device: while passes run, and then while their states are scored."""
        runs, scores = place.type == self.device.type, place.type == self.home.type
        kept = runs * self.weights + scores * self.trajectory
        return kept + max(runs * self.activations, scores * self.scoring)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(getattr(self, name))}" for name in _ADVICE)
        of_device = f" + {_size(self.of_device)}" if self.of_device else ""
        return f"{_size(self.of_host)}{of_device} ({parts})"


_ADVICE = {
    "weights": "a dtype of half precision ('bfloat16') or a device_map",
    "activations": "a smaller batch_size of the datamodule, or a dtype of half precision",
    "trajectory": "a pooling that keeps less ('mean', 'grid'; not 'none'), fewer layers",
    "scoring": "a pooling that keeps less, fewer targets or subjects, ScoringSettings(baselines=False)",
}


def check_room(name: str, memory: Memory) -> None:
    """Raise if a run can't fit into what is free.

    Raises:
        NotEnoughMemoryError: what is needed, what there is, and what to change.
    """
    for where, device, needed, free in (
        ("the host", torch.device("cpu"), memory.of_host, available_mb() * 1e6),
        (str(memory.device), memory.device, memory.of_device, _free_of(memory.device)),
    ):
        # states beyond half of what is free go to the host or to disk
        spilled = max(0.0, memory.trajectory - free / 2) if device.type == memory.home.type else 0.0
        if needed - spilled > _TOLERANCE * free:
            largest = max(_ADVICE, key=lambda part: getattr(memory, part))
            raise NotEnoughMemoryError(
                f"{name} can't run here: it needs about {_size(needed)} of {where}'s memory, of which "
                f"{_size(free)} are free. It takes {memory}. Choose {_ADVICE[largest]}."
            )


def network_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers, without what is offloaded."""
    values = chain(network.parameters(), network.buffers())
    held = {value.data_ptr(): value.nbytes for value in values if not value.is_meta}
    return sum(held.values())


def scoring_bytes(
    n_stimuli: int, widths: Sequence[int], responses: Responses, settings: ScoringSettings
) -> int:
    """Return what `score_trajectory` holds at most, in bytes beside the trajectory.

    Args:
        n_stimuli: N.
        widths: D_l of each depth.
        responses: what the brain did.
        settings: the choices.
    """
    depths, widest = len(widths), max(widths)
    same = len(set(widths)) == 1
    is_native = settings.state_space == "native" or (settings.state_space == "auto" and same)
    most = min(n_stimuli - 1, settings.n_components or _COMPONENTS)
    width = widest if is_native else min(most, widest)
    space = 4 * n_stimuli * depths * width
    # each layer's map stays; that of the widest is made in float64, from its Gram
    maps = 0 if is_native else 4 * sum(widths) * width
    made = 0 if is_native else 16 * widest * width + 24 * min(n_stimuli, widest) ** 2
    n_rows, delays = len(responses.runs), max(1, len(responses.design))
    # the stable mode has a real and an imaginary part; all blocks stand side by side
    features = delays * width * (depths if settings.baselines else 2)
    kept = 4 * n_rows * features  # of every block
    n_targets = responses.values.shape[2]
    values = n_rows * n_targets
    targets = min(_OF_VALUE * values, _WORKSPACE + 16 * values) + _OF_TARGET * n_targets
    gram = 24 * min(n_rows, features) ** 2
    # intervals: predictions of the features, twice; their draws, and what makes these
    n_draws, n_features = settings.draws(responses), _FEATURES if settings.baselines else 1
    drawn = 8 * n_features * n_targets * n_draws
    resampled = 8 * n_features * values + drawn + min(_OF_DRAW * drawn, _WORKSPACE) if n_draws else 0
    fits = kept + max(_FOLDS * n_rows * features + gram + targets, resampled)
    return maps + max(made, space + max(space // 2, fits))


class LivePeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of tensors that are made inside and alive at a time, on any device.

    Attributes:
        peak: the most so far.

    Example:
        >>> with LivePeak() as live:
        ...     x = torch.zeros(10) + 1
        >>> live.peak
        80
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it has made."""
        found = function(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        given = {one.untyped_storage()._cdata for one in tensors}
        for value in tree_leaves(found):
            if isinstance(value, Tensor) and not value.is_meta:
                storage = value.untyped_storage()
                if storage._cdata not in self._known | given:
                    self._known.add(storage._cdata)
                    self._now += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        # oneDNN has copies of what a convolution reads and writes in an order of its own: the first is gone
        # before the second is put back into ours
        is_reordered = "conv" in function._schema.name and found.device.type == "cpu"
        self.peak = max(self.peak, self._now + (max(args[0].nbytes, found.nbytes) if is_reordered else 0))
        return found

    def _free(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self._now -= size


def _free_of(device: torch.device) -> float:
    """Bytes that are free on an accelerator; infinite where that is not known."""
    return float(free_memory(device)) if device.type == "cuda" else float("inf")


def reset_peak() -> Callable[[], float]:
    """Forget the highest memory so far where the system can; return a function that reads it in MB."""
    # elsewhere the peak stays that of the process: right for the first model of a job
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of this process starts anew
    return peak_mb


def peak_mb() -> float:
    """Highest resident memory in 1e6 bytes, since `reset_peak` where the system can tell."""
    found = _kilobytes(Path("/proc/self/status"), "VmHWM")
    if found is not None:
        return found
    import resource  # not on every system, and not needed where /proc is

    unit = 1e-6 if sys.platform == "darwin" else 1024e-6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_mb() -> float:
    """Resident memory now, in 1e6 bytes; the peak where the system tells no more."""
    found = _kilobytes(Path("/proc/self/status"), "VmRSS")
    return peak_mb() if found is None else found


def available_mb() -> float:
    """Memory that is free to take, in 1e6 bytes: of the machine, or of the container if that is less.

    Infinite where the system does not say.
    """
    rooms = [_kilobytes(Path("/proc/meminfo"), "MemAvailable") or float("inf")]
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        rooms.append((limit - used) * 1e-6)
    return min(rooms)


def _kilobytes(path: Path, name: str) -> float | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024e-6 if found else None


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
