"""Networks of timm, with the preprocessing that timm's configuration asks for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from nfas_lightning.errors import InputError, UnreadableError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.loaded import LoadedModel, model_info
from nfas_lightning.models.optional import require
from nfas_lightning.models.placement import as_dtype, cached_file, stored_dtypes, stored_note
from nfas_lightning.models.preprocess import ImagePreprocess
from nfas_lightning.models.random_twin import seeded
from nfas_lightning.models.reach import hub_or_cache
from nfas_lightning.models.sources import ModelSource

__all__ = ["SOURCE", "load_timm", "timm_config_preprocess", "timm_preprocess", "untrained_timm"]


def load_timm(
    name: str,
    *,
    weights: str = "pretrained",
    seed: int = 0,
    dtype: str | torch.dtype | None = None,
    **options: Any,
) -> LoadedModel:
    """Load an image model of timm with the preprocessing it was trained with.

    Args:
        name: a name of ``timm.list_models()``, with or without a pretrained tag.
        weights: ``"pretrained"`` or ``"random"``, see `untrained_timm`.
        seed: of the random weights.
        dtype: see `FrozenModel`.
        **options: of ``timm.create_model``, e.g. ``img_size``.

    Raises:
        ImportError: timm is missing.
        ValueError: timm knows no such model, or it does not read RGB images.
        OSError: the pretrained weights can't be reached.
    """
    check_option("weights", weights, ("pretrained", "random"))
    timm = require("timm", "vision")
    _check(name)
    if weights == "random":
        module = seeded(seed, lambda: untrained_timm(name, **options))
    else:
        try:
            with hub_or_cache():
                module = seeded(seed, lambda: timm.create_model(name, pretrained=True, **options))
        except (OSError, RuntimeError) as error:
            wanted = timm.get_pretrained_cfg(name)
            hub = getattr(wanted, "hf_hub_id", None) or getattr(wanted, "url", None) or "no hub entry"
            raise UnreadableError(
                f"The weights of 'timm:{name}' could not be read from {hub}: {str(error).rstrip('.')}. Fetch "
                f"them where the hub can be reached (the cache can be copied), or choose weights='random'."
            ) from error
    origin: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    hub, _, revision = (origin.get("hf_hub_id") or "").partition("@")
    stored = stored_dtypes(lambda file: cached_file(hub, file, revision or None)) if hub else []
    module = module.to(as_dtype(dtype, stored))
    preprocess = timm_preprocess(module)
    if preprocess is None:
        raise InputError(
            f"'timm:{name}' does not read RGB images. Give FrozenModel the module and a preprocess."
        )
    info = model_info(
        module,
        name=name,
        modality="vision",
        family=type(module).__name__.lower(),
        source=f"timm=={timm.__version__} ({origin.get('tag') or 'untagged'})",
        seed=None if weights == "pretrained" else seed,
        license=origin.get("license") or "",
        note=stored_note(stored, module),
    )
    return LoadedModel(module.eval(), preprocess, info)


def _n_parameters(name: str) -> int:
    if not require("timm", "vision").is_model(name):
        return 0  # loading it lists similar names
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in untrained_timm(name).parameters())


def _check(name: str) -> None:
    if find_spec("timm") is None:
        return  # loading it says so
    timm = require("timm", "vision")
    if not timm.is_model(name):
        close = get_close_matches(name.split(".")[0], timm.list_models(), n=5)
        raise InputError(f"timm has no model {name!r}. Similar names: {', '.join(close) or 'none'}.")


def _about(name: str) -> dict[str, Any]:
    config = require("timm", "vision").get_pretrained_cfg(name)
    told = {key: getattr(config, key, None) for key in ("tag", "hf_hub_id", "license", "input_size")}
    return {"modality": "vision", "parameters": _n_parameters(name), **told}


SOURCE = ModelSource(
    load_timm,
    takes=("dtype",),
    n_parameters=_n_parameters,
    names=lambda: require("timm", "vision").list_models(),
    check=_check,
    about=_about,
)


def untrained_timm(name: str, **options: Any) -> nn.Module:
    """Build a network of timm with random weights, no residual branch of which is zero.

    To ease training, timm's residual networks start with zeros in the last norm of each branch
    (``zero_init_last``). Half of a ResNet's blocks are then the identity, so that depths would be equal.

    Args:
        name: of the model.
        **options: of ``timm.create_model``; ``zero_init_last=True`` keeps the zeros.
    """
    timm = require("timm", "vision")
    module: nn.Module = timm.create_model(name, pretrained=False, **options)
    takes = "zero_init_last" in inspect.signature(type(module)).parameters
    # some of timm's own constructors switch it off already, and can't be told twice
    if takes and "zero_init_last" not in options and _has_zeros(module):
        module = timm.create_model(name, pretrained=False, zero_init_last=False, **options)
    return module


def _has_zeros(module: nn.Module) -> bool:
    weights = (p for name, p in module.named_parameters() if name.endswith("weight") and not p.is_meta)
    return any(not bool(weight.any()) for weight in weights)


def timm_preprocess(network: nn.Module) -> ImagePreprocess | None:
    """Return the preprocessing that timm's configuration of a network asks for; None unless it reads RGB."""
    config = require("timm", "vision").data.resolve_model_data_config(network)
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels % 3:  # create_model(..., in_chans=1), which timm does not note
        return None
    channels, *size = config["input_size"]
    built = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if built is not None:
        size = [built, built] if isinstance(built, int) else list(built)  # create_model(..., img_size=)
    if channels != 3 or len(config["mean"]) != 3:
        return None
    return timm_config_preprocess(config, (size[0], size[1]))


def timm_config_preprocess(config: Mapping[str, Any], size: tuple[int, int] | None = None) -> ImagePreprocess:
    """Return the preprocessing of timm's configuration of a network.

    Args:
        config: of ``timm.data.resolve_model_data_config``.
        size: height and width of a network that was built for another size than its configuration says.

    Raises:
        ValueError: it fits images into a border, which is not known here.
    """
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise InputError(
            f"timm's configuration prepares images with crop_mode={mode!r}, expected 'center' or 'squash': "
            f"give a preprocess of your own."
        )
    return ImagePreprocess(
        size or tuple(config["input_size"][1:]),
        tuple(config["mean"]),
        tuple(config["std"]),
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        resize="squash" if mode == "squash" else "cover",
    )
