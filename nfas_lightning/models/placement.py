"""How a network of transformers is loaded: its precision, its devices, whole or quantized."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.optional import require
from nfas_lightning.models.random_twin import NoTwinError

__all__ = [
    "DTYPES",
    "LOADING",
    "WEIGHT_FILES",
    "as_dtype",
    "cached_file",
    "part_of",
    "pretrained",
    "stored_dtypes",
    "stored_note",
    "untrained",
]

LOADING = ("dtype", "device_map", "quantization_config", "attn_implementation")
"""What the sources ``hf:`` and ``zoo:`` take; timm takes `dtype`."""
DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")
WEIGHT_FILES = tuple(
    name + end for end in ("", ".index.json") for name in ("model.safetensors", "pytorch_model.bin")
)
"""Names of files of weights in a repository, whole ones before indices of shards."""
_FLOATS = {"F64": "torch.float64", "F32": "torch.float32", "F16": "torch.float16", "BF16": "torch.bfloat16"}


def as_dtype(dtype: str | torch.dtype | None, stored: Sequence[object] = ()) -> torch.dtype:
    """Return a dtype by its name; None is float32, ``"auto"`` the one dtype that is stored, else float32.

    Raises:
        ValueError: an unknown name.
    """
    name = str(dtype or "float32").removeprefix("torch.")
    check_option("dtype", name, DTYPES)
    if name == "auto":
        name = str(stored[0]).removeprefix("torch.") if len(stored) == 1 else "float32"
    found: torch.dtype = getattr(torch, name)
    return found


def pretrained(kind: Any, place: str, *, dtype: str | torch.dtype | None = None, **options: Any) -> Any:
    """Load a network of transformers; code from the hub is never run, pickles are read with ``weights_only``.

    Args:
        kind: a class of transformers, or ``AutoModel``.
        place: folder or hub entry of the weights.
        dtype: see `as_dtype`.
        **options: of ``from_pretrained``.

    Raises:
        ImportError: accelerate is missing, which device maps need.
    """
    device_map = options.get("device_map")
    if device_map is not None:
        require("accelerate", "large")
    kept = dtype if dtype == "auto" else as_dtype(dtype)
    found = kind.from_pretrained(place, weights_only=True, trust_remote_code=False, dtype=kept, **options)
    _note_map(found[0] if isinstance(found, tuple) else found, device_map)
    return found


def untrained(
    kind: Any,
    config: Any,
    *,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    **options: Any,
) -> Any:
    """Build a network of transformers with random weights, drawn where a device map puts them.

    Args:
        kind: a class of transformers, or ``AutoModel``.
        config: its configuration.
        dtype: see `as_dtype`.
        device_map: of ``from_pretrained``.
        quantization_config: refused, as in `config`.
        **options: `attn_implementation`, and arguments of the constructor.

    Raises:
        ImportError: accelerate is missing, which device maps need.
        NoTwinError: the weights are to be quantized, or to lie on the disk.
    """
    if quantization_config is not None or getattr(config, "quantization_config", None) is not None:
        raise NoTwinError(config.model_type, "its weights are quantized")
    options["dtype"] = as_dtype(dtype, [getattr(config, "dtype", None) or torch.float32])
    make = getattr(kind, "from_config", None) or kind._from_config
    if device_map is None:
        return make(config, **options)
    require("accelerate", "large")
    if isinstance(device_map, Mapping) and "disk" in device_map.values():
        raise NoTwinError(config.model_type, "parts of it lie on the disk, where nothing can be drawn")
    with torch.device("meta"):
        kind = type(make(config, **options))
    logging = require("transformers", "large").utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list every tensor as missing
    try:
        with torch.random.fork_rng():  # of every accelerator
            torch.manual_seed(torch.initial_seed())
            # of a state without a tensor transformers builds all on the meta device, places it and draws it
            network = kind.from_pretrained(
                None, config=config, state_dict={}, device_map=device_map, **options
            )
    finally:
        logging.set_verbosity(verbosity)
    return _note_map(network, device_map)


def _note_map(network: nn.Module, device_map: Any) -> nn.Module:
    """Let a network know its device map; transformers does where this names several devices."""
    if device_map is not None and not getattr(network, "hf_device_map", None):
        network.hf_device_map = {"": device_map}  # type: ignore[assignment]
    return network


def part_of(whole: nn.Module, part: nn.Module) -> nn.Module:
    """Return a part of a network, with what the whole has noted of its devices and its packing."""
    for name in ("hf_device_map", "is_quantized", "quantization_method"):
        if (value := getattr(whole, name, None)) and part is not whole:
            setattr(part, name, value)
    return part


def cached_file(place: str, name: str, revision: str | None = None) -> Path | None:
    """Return a file's path in a folder or in the hub's cache, None where it is not there."""
    if Path(place).is_dir():
        return Path(place) / name if (Path(place) / name).is_file() else None
    hub = require("huggingface_hub", "language")
    path = hub.try_to_load_from_cache(place, name, revision=revision)
    return Path(path) if isinstance(path, str) else None


def stored_dtypes(find: Callable[[str], Path | None]) -> list[str]:
    """Return a checkpoint's floating point types, e.g. ``["torch.float16"]``; empty where it is not at hand.

    Args:
        find: returns the path of a file of weights by its name. Of weights in shards the first decides.
    """
    path = next((found for name in WEIGHT_FILES if (found := find(name))), None)
    if path is not None and path.suffix == ".json":
        path = find(min(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    if path is None:
        return []
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            dtypes = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - no mapping
        return sorted(_FLOATS[dtype] for dtype in dtypes if dtype in _FLOATS)
    state = torch.load(path, map_location="meta", weights_only=True)  # types alone
    values = [value for value in state.values() if isinstance(value, Tensor)]
    return sorted({str(value.dtype) for value in values if value.is_floating_point()})


def stored_note(stored: Iterable[str], network: nn.Module) -> str:
    """Return what a card says of weights that run in another precision than they are stored in."""
    runs = {str(value.dtype) for value in network.parameters() if value.is_floating_point()}
    changed = [dtype for dtype in stored if dtype not in runs]
    return f"Stored in {', '.join(changed)}, loaded as {', '.join(sorted(runs))}." if changed else ""
