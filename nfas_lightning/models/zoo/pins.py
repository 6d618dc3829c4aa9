"""A lock file of models: which commit, and the hash of the weights that it brought."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.writing import write_text

__all__ = ["Pin", "check_pin", "lock_path", "read_pins", "write_pins"]

_FILE = "nfas-models.lock"
_FORMAT = 1


@dataclass(frozen=True)
class Pin:
    """What a model was when it was pinned.

    Attributes:
        hub: repository of the weights.
        revision: the commit that was read; ``"main"`` where a local folder does not tell.
        weights_sha256: hash of the network's state as it runs, see `state_sha256`.
    """

    hub: str
    revision: str
    weights_sha256: str


def lock_path() -> Path:
    """Return the lock file's path: ``NFAS_MODELS_LOCK``, else ``nfas-models.lock`` in the working folder."""
    return Path(os.environ.get("NFAS_MODELS_LOCK") or _FILE).expanduser()


def read_pins(path: Path | None = None) -> dict[str, Pin]:
    """Return the pins by model; none where there is no lock file, unless one was named.

    Raises:
        FileNotFoundError: the file that was asked for is not there.
        ValueError: it is no lock file.
    """
    file = path or lock_path()
    if not file.is_file():
        if path is not None or os.environ.get("NFAS_MODELS_LOCK"):
            raise MissingFileError(f"No lock file {file}: write one with 'nfas models pin NAME'.")
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            raise InputError(f"format {stored['format']}")
        return {name: Pin(**pin) for name, pin in stored["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is no lock file of this version ({error!r}): expected JSON with 'format': {_FORMAT} and "
            f"'models'. Write it anew with 'nfas models pin'."
        ) from error


def write_pins(pins: Mapping[str, Pin], path: Path | None = None) -> Path:
    """Add pins to the lock file, in one step; those of other models stay.

    Returns:
        The file's path.
    """
    file = path or lock_path()
    kept = read_pins(file) if file.is_file() else {}
    models = {name: asdict(pin) for name, pin in sorted({**kept, **pins}.items())}
    write_text(file, json.dumps({"format": _FORMAT, "models": models}, indent=2) + "\n")
    return file


def check_pin(name: str, hub: str, weights_sha256: str, pin: Pin | None) -> None:
    """Raise where weights are not those that were pinned.

    Raises:
        ValueError: another repository, or other weights.
    """
    if pin is None or (pin.hub == hub and pin.weights_sha256 == weights_sha256):
        return
    raise InputError(
        f"{name} is pinned to weights {pin.weights_sha256[:12]}... of {pin.hub}@{pin.revision} in "
        f"{lock_path()}, and {weights_sha256[:12]}... of {hub} was loaded. Restore the pinned weights, or "
        f"pin the new ones with 'nfas models pin {name}'."
    )
