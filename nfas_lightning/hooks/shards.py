"""Trajectories on disk: safetensors shards, each written whole or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, concatenate
from nfas_lightning.writing import write_text, write_whole

__all__ = ["read_shards", "remove_index", "write_index", "write_shard"]

_INDEX = "index.json"


def write_shard(path: Path, trajectory: Trajectory) -> str:
    """Write one shard whole or not at all.

    Args:
        path: the shard's name, ending in ``.safetensors``; its folder is made where it is missing.
        trajectory: the rows to write; dtypes are kept.

    Returns:
        The mark in this shard and in no other, for `write_index`.
    """
    mark = uuid.uuid4().hex
    tensors = {f"state.{i:04d}": state.cpu().contiguous() for i, state in enumerate(trajectory.states)}
    tensors["stimulus_id"] = trajectory.stimulus_ids.cpu().contiguous()
    metadata = {"layers": json.dumps([asdict(layer) for layer in trajectory.layers]), "mark": mark}
    write_whole(path, lambda staging: save_file(tensors, staging, metadata=metadata))
    return mark


def remove_index(folder: Path) -> None:
    """Remove the index of an earlier run, whose shards a new one is about to overwrite."""
    (folder / _INDEX).unlink(missing_ok=True)


def write_index(folder: Path, shards: Mapping[str, str]) -> None:
    """Write the list of a finished run's shards: what another run left there is never read with them.

    Args:
        folder: of the stage.
        shards: marks by the shards' names.

    Raises:
        FileNotFoundError: a shard that another process wrote can't be seen from here.
    """
    for name in shards:
        _check_exists(folder / name)
    index = {"shards": list(shards), "marks": list(shards.values())}
    write_text(folder / _INDEX, json.dumps(index, indent=2))


def read_shards(folder: str | Path) -> Trajectory:
    """Read a trajectory back.

    Args:
        folder: the folder of one stage, e.g. ``save_dir/predict``.

    Returns:
        The trajectory, sorted by stimulus_id, each stimulus once.

    Raises:
        FileNotFoundError: no index, or a shard that a later run has overwritten, so that the last run did
            not finish; or a shard is missing.
        ValueError: a shard is damaged; it is named.
    """
    folder = Path(folder)
    index = folder / _INDEX
    if not index.is_file():
        raise MissingFileError(f"No {_INDEX} in {folder}: the run that wrote its shards did not finish.")
    listed = json.loads(index.read_text(encoding="utf-8"))
    names = listed["shards"]
    marks = listed.get("marks", [None] * len(names))  # written before shards had marks
    return concatenate([_read(folder / name, mark) for name, mark in zip(names, marks, strict=True)])


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(
            f"Shard {path} is missing. With several machines save_dir must lie on a disk they share."
        )


def _read(path: Path, mark: str | None) -> Trajectory:
    _check_exists(path)
    try:
        return _content(path, mark)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Shard {path} is damaged or cut short ({type(error).__name__}: {error}): record the trajectory "
            "again."
        ) from error


def _content(path: Path, mark: str | None) -> Trajectory:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("mark") != mark:
            raise MissingFileError(
                f"Shard {path} is not the one that {_INDEX} lists: the run that overwrote it did not finish. "
                f"Run it again."
            )
        described = json.loads(metadata["layers"])
        states = tuple(file.get_tensor(f"state.{i:04d}") for i in range(len(described)))
        ids = file.get_tensor("stimulus_id")
    layers = tuple(LayerInfo(**{**info, "shape": tuple(info["shape"])}) for info in described)
    return Trajectory(states, layers, ids)
