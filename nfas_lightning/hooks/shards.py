"""Trajectories on disk: safetensors files with a checksum, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfas_lightning.errors import InputError, MissingFileError, UnreadableError
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, concatenate
from nfas_lightning.writing import remove_abandoned, staging_place, write_whole

__all__ = ["begin_shards", "finish_shards", "read_about", "read_shard", "read_shards", "write_shard"]


def write_shard(path: Path, trajectory: Trajectory, about: Mapping[str, Any] | None = None) -> None:
    """Write a trajectory, or some of its rows, whole or not at all.

    Args:
        path: the file's name, ending in ``.safetensors``; its folder is made where it is missing.
        trajectory: the rows to write; dtypes are kept.
        about: plain values to keep beside it.
    """
    tensors = {f"state.{i:04d}": state.cpu().contiguous() for i, state in enumerate(trajectory.states)}
    tensors["stimulus_id"] = trajectory.stimulus_ids.cpu().contiguous()
    described = {"layers": [asdict(layer) for layer in trajectory.layers], "about": dict(about or {})}
    text = json.dumps(described)
    metadata = {"trajectory": text, "sha256": _digest(text, tensors)}
    write_whole(path, lambda staging: save_file(tensors, staging, metadata=metadata))


def read_shard(path: Path) -> Trajectory:
    """Read a file of `write_shard` back.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    _check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            described = json.loads(metadata["trajectory"])
            names = [*(f"state.{i:04d}" for i in range(len(described["layers"]))), "stimulus_id"]
            tensors = {name: file.get_tensor(name) for name in names}
        if _digest(metadata["trajectory"], tensors) != metadata["sha256"]:
            raise InputError("its checksum differs")
        layers = tuple(LayerInfo(**{**info, "shape": tuple(info["shape"])}) for info in described["layers"])
        *states, ids = tensors.values()
        return Trajectory(tuple(states), layers, ids)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Shard {path} is damaged or cut short ({type(error).__name__}: {error}): record the trajectory "
            "again."
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """Return what `write_shard` was given beside a trajectory; of the file only its header is read.

    Raises:
        OSError, ValueError: it can't be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["trajectory"])["about"]
            return about
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no trajectory ({type(error).__name__}: {error}).") from error


def begin_shards(folder: Path) -> Path:
    """Remove the shards of an earlier run; return where those of the new one lie until all are written.

    Args:
        folder: of the stage; only a folder whose shards are whole is ever there.

    Raises:
        OSError: it holds something else, too.
    """
    remove_abandoned(folder.parent)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    try:
        if folder.exists():
            folder.rmdir()
    except OSError as error:
        raise UnreadableError(
            f"{folder} must be a folder of shards and nothing else ({error.strerror}): choose another "
            "save_dir."
        ) from error
    return staging_place(folder)


def finish_shards(unfinished: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the shards of a run that has ended to their place, all at once.

    Args:
        unfinished: what `begin_shards` returned.
        folder: what it was given.
        names: of all shards, whoever wrote them.

    Raises:
        FileNotFoundError: a shard that another process wrote can't be seen from here.
    """
    for name in names:
        _check_exists(unfinished / name)
    os.replace(unfinished, folder)


def read_shards(folder: str | Path) -> Trajectory:
    """Read a trajectory back.

    Args:
        folder: the folder of one stage, e.g. ``save_dir/predict``.

    Returns:
        The trajectory, sorted by stimulus_id, each stimulus once.

    Raises:
        FileNotFoundError: no shards: the last run did not finish.
        ValueError: a shard is damaged; it is named.
    """
    paths = sorted(Path(folder).glob("*.safetensors"))
    if not paths:
        raise MissingFileError(f"No shards in {folder}: no run has finished since its last one began.")
    return concatenate([read_shard(path) for path in paths])


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(
            f"Shard {path} is missing. With several machines save_dir must lie on a disk they share."
        )


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
