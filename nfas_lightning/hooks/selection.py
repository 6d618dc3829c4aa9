"""Which modules to record: names, globs, regular expressions, a callable, or blocks found by structure."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.blocks import find_blocks

__all__ = ["MIN_DEPTHS", "Layers", "find_network", "has_forward", "resolve_layers"]

Layers = str | Sequence[str] | Callable[[nn.Module], list[str]]

_LIGHTNING = ("pytorch_lightning", "lightning")

MIN_DEPTHS = 3
"""Fewest depths of a trajectory, two transitions: with one, any pair of states fits a linear step exactly."""


def resolve_layers(model: nn.Module, layers: Layers = "auto", *, min_depths: int = MIN_DEPTHS) -> list[str]:
    """Return the names of the modules to record, in the order in which the model defines them.

    Args:
        model: the network; names are relative to it.
        layers: one of

            - ``"auto"``: the trunk's blocks, found by structure (see `find_blocks`);
            - an exact name, ``"encoder.layer.3"``;
            - a glob, ``"encoder.layer.*"``: ``*`` and ``?`` stay inside one dotted part, ``**`` does not;
            - a regular expression after ``re:``, which must match the whole name;
            - a list of those, their union;
            - a callable that takes the model and returns names.
        min_depths: fewest modules to accept.

    Returns:
        Module names, each once, in definition order.

    Raises:
        ValueError: a name or pattern matches nothing (the closest names are listed), fewer than `min_depths`
            modules are left, or they run as TorchScript.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
        >>> resolve_layers(net)
        ['0', '1', '2', '3']
        >>> resolve_layers(net, ["re:[13]", "0"])
        ['0', '1', '3']
    """
    _check_hooks_run(model, [])
    names = [name for name, _ in model.named_modules() if name]
    if callable(layers):
        wanted = set(_exact(list(layers(model)), names))
    elif layers == "auto":
        wanted = set(find_blocks(model))
    else:
        wanted = set()
        for pattern in [layers] if isinstance(layers, str) else layers:
            wanted.update(find_blocks(model) if pattern == "auto" else _match(pattern, names))
    if len(wanted) < min_depths:
        raise InputError(
            f"DMD over depth needs at least {min_depths} depths, got {len(wanted)} modules of "
            f"{type(model).__name__} for layers={layers!r}: {sorted(wanted)}. Name more modules, or a finer "
            f"kind.{_numbered_children(model)}{_in_plain_lists(model)}"
        )
    _check_hooks_run(model, wanted)
    return [name for name in names if name in wanted]


def find_network(module: nn.Module, submodule: str | None = None, *, to_run: bool = False) -> nn.Module:
    """Return the network inside a module that trains or evaluates it.

    Args:
        module: e.g. a LightningModule.
        submodule: dotted name of the network; None: the attribute ``model`` or ``module`` if there is one;
            else, where `module` has no forward pass of its own, its only child that is a network (that has
            parameters and submodules, or else that has parameters); else `module` itself.
        to_run: the network will be called, so it has to have a forward pass.

    Raises:
        ValueError: there is no such submodule (the closest names are listed); or, with `to_run`, none or
            several networks that could be called (their names are listed).
    """
    if submodule is None:
        candidates = (getattr(module, name, None) for name in ("model", "module"))
        found = next((c for c in candidates if isinstance(c, nn.Module)), None)
        if found is not None or has_forward(module):
            return module if found is None else found
        return _only_network(module, to_run)
    names = [name for name, _ in module.named_modules() if name]
    if submodule not in names:
        close = difflib.get_close_matches(submodule, names, n=3)
        children = ", ".join(repr(name) for name, _ in module.named_children())
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"It holds {children}."
        raise InputError(
            f"submodule must be the dotted name of a module inside {type(module).__name__}, got "
            f"{submodule!r}. {hint}"
        )
    return module.get_submodule(submodule)


def has_forward(module: nn.Module) -> bool:
    """Whether a module has a forward pass; that of a bare LightningModule says only that there is none."""
    if "forward" in vars(module):
        return True
    owner = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return owner is not nn.Module and owner.__module__.split(".")[0] not in _LIGHTNING


def _only_network(module: nn.Module, to_run: bool) -> nn.Module:
    children = {name: child for name, child in module.named_children() if list(child.parameters())}
    networks = {name: child for name, child in children.items() if list(child.children())} or children
    if len(networks) != 1 and not to_run:
        return module  # its steps run the parts, one after the other
    if len(networks) != 1:
        listed = " or ".join(f"submodule={name!r}" for name in networks)
        advice = f"Name one of them: {listed}." if listed else "Give it one."
        raise InputError(
            f"{type(module).__name__} has no forward pass of its own, and holds {len(networks)} networks "
            f"that could be shown the stimuli. {advice}"
        )
    return next(iter(networks.values()))


def _check_hooks_run(model: nn.Module, wanted: Iterable[str]) -> None:
    """Raise where a network, or what holds a wanted module, runs as TorchScript, which calls no hooks."""
    scripted = {name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)}
    inside = next((w for w in wanted if any(w.startswith(f"{name}.") for name in scripted)), None)
    if "" in scripted or inside is not None:
        what = type(model).__name__ if inside is None else f"{inside!r}, which lies in a scripted module"
        raise InputError(
            f"Expected a network that runs as Python, got TorchScript ({what}), which calls no forward "
            "hooks: record the module as it was before torch.jit.script or torch.jit.trace."
        )


def _numbered_children(model: nn.Module) -> str:
    """The longest row of attributes that are numbered modules with weights, such as conv1 ... conv4."""
    best: list[str] = []
    for name, module in model.named_modules():
        rows = defaultdict(list)
        for key, child in module.named_children():
            word = re.sub(r"\d+", "", key)
            if word not in ("", key) and any(True for _ in child.parameters()):
                rows[word].append(f"{name}.{key}".lstrip("."))
        best = max([best, *rows.values()], key=len)
    return f" Some look like a row: layers={best}." if len(best) >= MIN_DEPTHS else ""


def _in_plain_lists(model: nn.Module) -> str:
    """What torch does not see: modules that an attribute holds in a list, a tuple or a dictionary."""
    hidden = [
        f"{name}.{attribute}".lstrip(".")
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and isinstance(value, list | tuple | dict)
        if any(isinstance(v, nn.Module) for v in (value.values() if isinstance(value, dict) else value))
    ]
    return f" Modules in {', '.join(hidden)} are unknown to torch: use nn.ModuleList." if hidden else ""


def _exact(wanted: list[str], names: list[str]) -> list[str]:
    known = set(names)
    for name in wanted:
        if name not in known:
            raise InputError(_unknown(name, names))
    return wanted


def _match(pattern: str, names: list[str]) -> list[str]:
    """Names that one pattern stands for; never empty."""
    if pattern.startswith("re:"):
        expression = re.compile(pattern[3:])
    elif any(letter in pattern for letter in "*?["):
        expression = re.compile(_glob_to_regex(pattern))
    else:
        return _exact([pattern], names)
    found = [name for name in names if expression.fullmatch(name)]
    if not found:
        raise InputError(_unknown(pattern, names))
    return found


def _glob_to_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*|\*|\?|\[[^\]]+\])", pattern)
    special = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return "".join(
        special.get(p, p if p.startswith("[") and p.endswith("]") else re.escape(p)) for p in pieces
    )


def _unknown(pattern: str, names: list[str]) -> str:
    close = difflib.get_close_matches(pattern.removeprefix("re:"), names, n=5, cutoff=0.3) or names[:5]
    return (
        f"layers: {pattern!r} matches none of the {len(names)} modules. The closest names are "
        f"{', '.join(map(repr, close))}. Globs stay inside one dotted part (use ** to cross), and names are "
        f"relative to the network that is recorded."
    )
