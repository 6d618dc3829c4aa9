"""165 natural sounds and the six response components of auditory cortex (Norman-Haignere et al. 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nfas_lightning.data.files import read_npz
from nfas_lightning.errors import InputError

__all__ = ["NATURAL_SOUNDS_FILES", "read_sounds"]

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
