"""165 natural sounds and the six response components of auditory cortex (Norman-Haignere et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nfas_lightning.data.files import read_npz
from nfas_lightning.datamodules.catalogue.check_rows import Row, archive_row, read_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.errors import InputError

NATURAL_SOUNDS_FILES = ("components.npz", "sounds_16k.npz")


def read_sounds(
    folder: Path,
) -> tuple[list[str], list[str], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read both archives: names of sounds and of components, and the arrays of either file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is incomplete, or the two list the sounds in different orders.
    """
    brain = read_npz(
        folder / "components.npz", {"R": (None, None), "component_names": (None,), "stim_names": (None,)}
    )
    sound = read_npz(folder / "sounds_16k.npz", {"audio": (None, None), "sr": (), "names": (None,)})
    names = [str(name) for name in brain["stim_names"]]
    components = [str(name) for name in brain["component_names"]]
    if brain["R"].shape != (len(names), len(components)):
        raise InputError(
            f"components.npz: R must have one row per sound and one column per component, ({len(names)}, "
            f"{len(components)}), got {brain['R'].shape}."
        )
    if len(sound["audio"]) != len(names) or [str(name) for name in sound["names"]] != names:
        raise InputError(
            f"sounds_16k.npz and components.npz must list the same sounds in the same order, got "
            f"{len(sound['audio'])} and {len(names)}. Row i of R belongs to sound i."
        )
    return names, components, brain, sound


def natural_sounds_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check both archives, which are read whole; `subjects` changes nothing, there is one."""
    del subjects
    shapes: tuple[dict[str, tuple[int, ...]], ...] = ({"R": (165, 6)}, {"audio": (165, 32_000)})
    rows = [
        archive_row(what, folder / name, inspector, own)
        for what, name, own in zip(("components", "sounds"), NATURAL_SOUNDS_FILES, shapes, strict=True)
    ]
    if all(row.complete for row in rows):
        names = read_row(rows[0], folder.name, "names", 165, lambda: len(read_sounds(folder)[0]))
        rows += [] if names.complete else [names]
    return rows
