"""What a sweep calls its models: packaged names, entries of the zoo, config files, in one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from torch import nn

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.errors import InputError, nearest
from nfas_lightning.models.sources import listed_models, sources
from nfas_lightning.models.zoo.entry import ZooEntry
from nfas_lightning.writing import load_yaml

__all__ = ["ModelSpec", "instantiate", "resolve_models"]

_WILD = set("*?[")


@dataclass(frozen=True)
class ModelSpec:
    """A model of a sweep, before anything of it is loaded.

    Attributes:
        label: short unique name; folder and command line use it.
        modality: which benchmarks it meets.
        given: arguments of `FrozenModel`, as a config has them.
    """

    label: str
    modality: str
    given: Mapping[str, Any] = field(repr=False)

    def arguments(self) -> dict[str, Any]:
        """Arguments of `FrozenModel`, with classes that a config names built."""
        arguments = dict(self.given)
        model = arguments["model"]
        if isinstance(model, dict):
            arguments["model"] = _entry(model) if _is_entry(model) else _build("model", nn.Module, model)
        if isinstance(arguments.get("preprocess"), dict):
            arguments["preprocess"] = _build("preprocess", Callable[..., Any], arguments["preprocess"])
        return arguments


def resolve_models(given: Iterable[str | Mapping[str, Any]]) -> list[ModelSpec]:
    """Return the models that a sweep names, in its order.

    Args:
        given: each one of

            - a packaged model, ``"minilm_l6"``, or several, ``"packaged:*"``;
            - an entry of the zoo, ``"zoo:resnet50"``, or several, ``"zoo:*"``;
            - config files, ``"configs/models/vision/*.yaml"``, each with a `FrozenModel` under ``model``;
            - a mapping with the arguments of `FrozenModel`, and ``modality`` where its name does not tell.

    Raises:
        ValueError: a name or pattern that matches nothing, a model without a modality, or one named twice.
    """
    specs = [spec for item in given for spec in _resolve(item)]
    if not specs:
        raise InputError("models must name at least one model, got none.")
    labels = [spec.label for spec in specs]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"models must name each model once, got {repeated} more than once.")
    if broken := [label for label in labels if "," in label]:
        raise InputError(f"models: names must not hold a comma, got {broken}: add `name:` to the mapping.")
    return specs


def _resolve(item: str | Mapping[str, Any]) -> list[ModelSpec]:
    if not isinstance(item, str):
        return [_from_arguments(dict(item))]
    if item.endswith((".yaml", ".yml")):
        paths = sorted(glob(item))
        if not paths:
            raise InputError(f"models: no config file matches {item!r}, seen from {Path.cwd().name}/.")
        return [_from_file(Path(path)) for path in paths]
    source, colon, name = item.partition(":")
    wanted = name if colon else item
    if colon and not (source in sources() and sources()[source].entries()):
        return [_from_arguments({"model": item})]  # of a library, which knows its names
    listed = listed_models()
    short = {name: name.rpartition(":")[2] for name in listed}
    if colon:
        own = sources()[source].entries()
        short = {name: own_name for name, own_name in short.items() if own.get(own_name) is listed[name]}
    if _WILD & set(item):
        names = [name for name, own_name in short.items() if fnmatchcase(own_name if colon else name, wanted)]
    else:
        names = [item] if item in short else [name for name, own_name in short.items() if own_name == wanted]
    if not names:
        hint = nearest(wanted, short.values())
        raise InputError(f"models: no listed model is called {item!r}.{hint} See `nfas models list`.")
    return [ModelSpec(short[name], listed[name].modality, {"model": name}) for name in names]


def _from_arguments(arguments: dict[str, Any], label: str = "", folder: str = "") -> ModelSpec:
    """A spec of FrozenModel's arguments; `folder` tells the modality where nothing else does."""
    modality = arguments.pop("modality", "")
    model = arguments.get("model")
    if not model:
        raise InputError(f"models: a mapping needs the key 'model', got {sorted(arguments)}.")
    if isinstance(model, str):
        named = _resolve(model) if _is_listed(model) else []
        modality = modality or (named[0].modality if named else "")
        arguments["model"] = named[0].given["model"] if named else model
    elif _is_entry(model):
        entry = _entry(model)
        modality, label = modality or entry.modality, label or entry.name
    modality = modality or (folder if folder in MODALITIES else "")
    # without its training it is another model: the name says so, as FrozenModel's does
    label = label or (arguments.get("name") or _label(model)) + (
        "_random" if arguments.get("weights") == "random" else ""
    )
    if modality not in MODALITIES:
        raise InputError(
            f"models: {model if isinstance(model, str) else label!r} does not tell its modality; add "
            f"`modality:` with one of {list(MODALITIES)}, got {modality!r}."
        )
    return ModelSpec(label, modality, arguments)


def _from_file(path: Path) -> ModelSpec:
    config = load_yaml(path.read_text(encoding="utf-8"))
    model = config.get("model") if isinstance(config, dict) else None
    kind = str(model.get("class_path", "")) if isinstance(model, dict) else ""
    if not isinstance(model, dict) or not kind.endswith("FrozenModel"):
        raise InputError(f"{path} must have a FrozenModel under `model:`, got {kind or 'none'}.")
    return _from_arguments(dict(model.get("init_args", {})), path.stem, path.parent.name)


def _label(model: Any) -> str:
    name = model if isinstance(model, str) else str(model.get("class_path", "model")).rpartition(".")[2]
    return name.rpartition("/")[2].partition("@")[0].rpartition(":")[2]


def _is_listed(model: str) -> bool:
    source = model.partition(":")[0] if ":" in model else ""
    return bool(source in sources() and sources()[source].entries()) or model in listed_models()


def _is_entry(model: Any) -> bool:
    return isinstance(model, dict) and str(model.get("class_path", "")).endswith("ZooEntry")


def _entry(model: dict[str, Any]) -> ZooEntry:
    return ZooEntry(**model["init_args"])


def _build(name: str, kind: Any, config: dict[str, Any]) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=kind)
    return instantiate(parser, parser.parse_object({name: config}))[name]


def instantiate(parser: ArgumentParser, options: Any) -> Any:
    """Build the classes that parsed options name; jsonargparse 4.47 gave the method a shorter name."""
    return (getattr(parser, "instantiate", None) or parser.instantiate_classes)(options)
