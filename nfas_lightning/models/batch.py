"""What the preprocessing of every modality shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["batch_field", "one_stimulus", "prefix_mask", "stimulus_lengths"]


def prefix_mask(lengths: Tensor, size: int) -> Tensor:
    """(B, size) booleans, True on the first `lengths` of each row."""
    return torch.arange(size) < lengths.cpu().unsqueeze(1)


def batch_field(batch: Mapping[str, Any], key: str) -> Any:
    """Return what the batch holds under `key`, or say that model and benchmark do not match."""
    if key not in batch:
        raise ValueError(
            f"This model reads {key!r} and the batch holds {sorted(batch)}: pair a model with a benchmark of "
            f"its own modality."
        )
    return batch[key]


def stimulus_lengths(batch: Mapping[str, Any]) -> list[int]:
    """Return how long each stimulus of a raw batch is: characters, samples or frames; of images 0."""
    if "text" in batch:
        return [len(getattr(stimulus, "text", stimulus)) for stimulus in batch["text"]]
    lengths = batch.get("n_samples", batch.get("n_frames"))
    return (
        [0] * len(batch["stimulus_id"]) if lengths is None else torch.as_tensor(lengths).reshape(-1).tolist()
    )


def one_stimulus(batch: Mapping[str, Any], row: int) -> dict[str, Any] | None:
    """Return one stimulus of a raw batch as a batch of its own, without padding.

    Args:
        batch: see `nfas_lightning.data.stimuli.collate`; entries of other names have one row per stimulus, or
            are one value for all.
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
    counts = batch.get("n_frames")
    frames = slice(row, row + 1)
    if counts is not None:
        ends = torch.as_tensor(counts).reshape(-1).cumsum(0).tolist()
        frames = slice(ends[row - 1] if row else 0, ends[row])
    one: dict[str, Any] = {}
    for key, value in batch.items():
        if (isinstance(value, Tensor) and value.ndim) or isinstance(value, list | tuple):
            if key == "image" and counts is not None:
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
    return one
