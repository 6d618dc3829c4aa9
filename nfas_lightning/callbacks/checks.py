"""What would fail after the forward passes, refused before them."""

from __future__ import annotations

import os
import tempfile
import warnings
from difflib import get_close_matches
from pathlib import Path

from torch import nn

from nfas_lightning.data.responses import Responses
from nfas_lightning.hooks.selection import find_network

__all__ = ["check_folder", "check_observed", "named_network"]

_SHOWN = 5  # names in a message


def check_folder(path: str | Path, name: str = "run_dir") -> None:
    """Make a folder if there is none, and refuse one that can't be written.

    Args:
        path: the folder.
        name: of the argument, for the message.

    Raises:
        OSError: it, or what it would lie in, is no folder or can't be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone don't tell of full and read-only disks
            pass
    except OSError as error:
        in_the_way = (p for p in (folder, *folder.parents) if os.path.exists(p) and not os.path.isdir(p))
        found = next(in_the_way, None)
        reason = error.strerror or str(error) if found is None else f"{str(found)!r} is no folder"
        raise OSError(
            f"{name} must be a folder that can be written, got {str(path)!r}: {reason}. Choose another one."
        ) from error


def check_observed(responses: Responses, subjects: str) -> None:
    """Refuse responses that have not a single value where one is to be scored.

    ROIs without a value pass, as long as some ROI has one: they score NaN, and the scoring says so.

    Args:
        responses: the benchmark's.
        subjects: what is scored, ``"group"``, ``"each"`` or ``"both"``.

    Raises:
        ValueError: all values are NaN, or those of a subject that is scored alone.

    Warns:
        UserWarning: a subject has no part in the group's mean.
    """
    missing = responses.values.isnan().flatten(1).all(dim=1).tolist()
    silent = [name for name, gone in zip(responses.subjects, missing, strict=True) if gone]
    if not silent:
        return
    rois = responses.rois["roi"]
    among = f"all {len(rois)} ROIs ({_listed(rois.tolist())})"
    who = f"{len(silent)} of {len(missing)} subjects ({_listed(silent)})"
    leave_out = "Leave them out: subjects=[...] of the datamodule names those to keep."
    if len(silent) < len(missing) and subjects == "group":
        warnings.warn(
            f"The responses of {responses.dataset!r} are NaN at {among} for {who}, who have no part in the "
            f"group's mean. {leave_out}",
            stacklevel=3,
        )
        return
    advice = (
        leave_out
        if len(silent) < len(missing)
        else "Look at how they were read: a wrong file, or a mask that holds no voxel."
    )
    raise ValueError(
        f"The responses of {responses.dataset!r} must hold a value for whoever is scored, got NaN throughout "
        f"for {who}, at {among}. {advice}"
    )


def named_network(module: nn.Module, submodule: str | None) -> nn.Module:
    """Return the network inside a module, see `find_network`.

    Args:
        module: e.g. a LightningModule.
        submodule: dotted name of the network; None: see `find_network`.

    Raises:
        ValueError: there is no such submodule; the closest names are listed.
    """
    names = [name for name, _ in module.named_modules() if name]
    if submodule is not None and submodule not in names:
        close = get_close_matches(submodule, names, n=3)
        hint = (
            f"Did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"It holds {_listed([name for name, _ in module.named_children()])}."
        )
        raise ValueError(
            f"submodule must be the dotted name of a module inside {type(module).__name__}, got "
            f"{submodule!r}. {hint}"
        )
    return find_network(module, submodule)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
