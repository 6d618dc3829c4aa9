"""`nfas models`: which networks can be named in a config, what they are, and whether they still are."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from nfas_lightning.cli.messages import refuse, refusing, say_loading
from nfas_lightning.errors import nearest
from nfas_lightning.terminal import stdout_console

if TYPE_CHECKING:
    from nfas_lightning.models.zoo import ZooEntry

__all__ = ["check_models", "list_models", "pin_models", "search_models", "show_model"]

_PIPE_COLUMNS = 160  # names, licenses and numbers side by side


def list_models(
    *,
    modality: str | None = None,
    family: str | None = None,
    license: str | None = None,
    source: str | None = None,
    local: bool = False,
) -> list[dict[str, str]]:
    """List the models that a config can name: the zoo (`zoo:NAME`) and the packaged ones (`NAME`).

    "here" says whether the weights are on this machine: in the hub's cache or NFAS_WEIGHTS, or in the cache
    of packaged files.

    Args:
        modality: vision, audio or language alone.
        family: of one architecture family alone, e.g. resnet.
        license: of licenses that start so alone, e.g. Apache.
        source: of one source alone: zoo, packaged, or what another package registers.
        local: those whose weights are here alone.
    """
    say_loading("PyTorch")
    from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
    from nfas_lightning.models.sources import listed_models, split_name

    if modality not in (None, *MODALITIES):
        refuse("nfas models list", f"--modality must be vision, audio or language, got {modality!r}.")
    entries = {name: (split_name(name)[0], entry) for name, entry in listed_models().items()}
    known = dict.fromkeys(found for found, _ in entries.values())
    if source not in (None, *known):
        refuse("nfas models list", f"--source must be one of {', '.join(known)}, got {source!r}.")
    rows = [
        _row(name, found, entry)
        for name, (found, entry) in entries.items()
        if modality in (None, entry.modality)
        and family in (None, entry.family)
        and source in (None, found)
        and entry.license.lower().startswith((license or "").lower())
    ]
    rows = [row for row in rows if row["here"] == "yes" or not local]
    if not rows:
        families = sorted({entry.family for _, entry in entries.values()})
        refuse("nfas models list", f"no model fits. Families: {', '.join(families)}.")
    order: dict[str, int] = {name: i for i, name in enumerate((*known, *MODALITIES))}
    rows.sort(key=lambda row: (order[row["source"]], order[row["modality"]], row["name"]))
    columns = ("modality", "family", "objective", "parameters", "blocks", "pinned", "here", "license")
    table = Table(Column("name", no_wrap=True), *columns, title=f"{len(rows)} models")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in ("name", *columns)))
    stdout_console(_PIPE_COLUMNS).print(table)
    return rows


def _row(name: str, source: str, entry: Any) -> dict[str, str]:
    from nfas_lightning.models.sources import sources

    found, own_name = sources()[source], name.rpartition(":")[2]
    return {
        "name": name,
        "source": source,
        "modality": entry.modality,
        "family": entry.family,
        "objective": getattr(entry, "objective", ""),
        "parameters": f"{entry.parameters / 1e6:.1f} M",
        "blocks": str(getattr(entry, "blocks", "")),
        "pinned": found.pinned(own_name),
        "here": "yes" if found.is_local(own_name) else "-",
        "license": entry.license,
    }


def show_model(name: str) -> dict[str, Any]:
    """Show everything known about one model, the names of its blocks included; no weights are fetched.

    Args:
        name: of any source, as `nfas models list` and `nfas models search` have it.
    """
    say_loading("PyTorch")
    from nfas_lightning.models.sources import sources, split_name

    with refusing("nfas models info"):
        found, own_name = split_name(name)
    source = sources()[found]
    entry = source.entries().get(own_name)
    about = {"name": name, **(source.about(own_name) if entry is None else dataclasses.asdict(entry))}
    if entry is not None:
        about |= {"pinned": source.pinned(own_name), "here": "yes" if source.is_local(own_name) else "-"}
    if names := source.block_names(own_name):
        about["block names"] = list(names)
    table = Table(Column("", no_wrap=True), Column("", overflow="fold"), show_header=False)
    for key, value in about.items():
        plain = not isinstance(value, (dict, list, tuple))
        text = str(value) if plain else yaml.safe_dump(value, sort_keys=False, default_flow_style=None)
        table.add_row(key, escape("\n".join(value) if key == "block names" else text.rstrip()))
    stdout_console(_PIPE_COLUMNS).print(table)
    return about


def search_models(pattern: str) -> list[str]:
    """List the names in which a word occurs: of the zoo, packages, timm, torchvision and the hub's cache.

    Args:
        pattern: part of a name, e.g. resnet, or a pattern with stars, e.g. ``timm:vit_*_224``.
    """
    say_loading("PyTorch")
    from nfas_lightning.models.sources import listed_models, sources

    known = {name: f"{entry.parameters / 1e6:.1f} M" for name, entry in listed_models().items()}
    for source, found in sources().items():
        try:
            known |= {f"{source}:{name}": "-" for name in found.names()}
        except ImportError as error:
            print(f"nfas models search: {source} is left out: {error}", file=sys.stderr)
    wanted = pattern if set("*?[") & set(pattern) else f"*{pattern}*"
    fitting = [name for name in known if fnmatch(name.lower(), wanted.lower())]
    if not fitting:
        refuse("nfas models search", f"no name fits {pattern!r}.{nearest(pattern, known)}")
    table = Table(Column("name", no_wrap=True), Column("parameters", justify="right", no_wrap=True))
    for name in fitting:
        table.add_row(escape(name), known[name])
    table.caption = f"{len(fitting)} of {len(known)} names; `nfas models info NAME` says more of one"
    stdout_console(_PIPE_COLUMNS).print(table)
    return fitting


def check_models(
    names: list[str] = (),  # type: ignore[assignment]  # an empty tuple says that the words may be left out
    *,
    weights: str | None = None,
    modality: str | None = None,
) -> None:
    """Check models of the zoo without a hub: shapes at full size, values in a small random network.

    Each must have the parameters, blocks and widths that its file says, and give a finite trajectory that
    neither padding nor the other stimuli of a batch change. Ends with code 1 if one does not.

    Args:
        names: models of the zoo; none stands for all.
        weights: folder with one subfolder per model, which holds the files of its hub repository; for one
            model the files themselves. What is there is loaded and run too.
        modality: vision, audio or language alone.
    """
    say_loading("PyTorch")
    from nfas_lightning.models.zoo import zoo
    from nfas_lightning.models.zoo.check import check_entry

    entries = [_zoo_only(name, "check") for name in names] or list(zoo().values())
    entries = [entry for entry in entries if modality in (None, entry.modality)]
    if not entries:
        refuse("nfas models check", f"no model of modality {modality!r}.")
    folders = _folders(entries, weights, "check", every=bool(names))
    results = [
        check_entry(entry, folders.get(entry.name))
        for entry in track(entries, "checking", console=Console(stderr=True), transient=True)
    ]
    columns = ("modality", "parameters", "blocks", "widths", "weights", "s", "")
    table = Table(Column("name", no_wrap=True), *columns)
    for result in results:
        ends = dict.fromkeys((min(result.widths), max(result.widths))) if result.widths else ()
        numbers = f"{result.parameters:,}", str(result.blocks), "-".join(map(str, ends)), result.weights
        verdict = "[red]failed[/]" if result.problem else "ok"
        table.add_row(result.name, result.modality, *numbers, f"{result.seconds:.1f}", verdict)
    console = stdout_console(_PIPE_COLUMNS)
    console.print(table)
    failed = [result for result in results if result.problem]
    for result in failed:
        console.print(f"{result.name}: {result.problem}", markup=False, style="red")
    console.print(f"{len(results) - len(failed)} of {len(results)} passed")
    if failed:
        raise SystemExit(1)


def pin_models(
    names: list[str], *, weights: str | None = None, revision: str | None = None, lock: str | None = None
) -> None:
    """Load models of the zoo and write their commits and the hashes of their weights into a lock file.

    Later runs read the lock file: they ask the hub for the commit in it, and refuse other weights.

    Args:
        names: models of the zoo.
        weights: folder with one subfolder per model, see `nfas models check`; None: the hub or its cache.
        revision: commit, tag or branch to pin instead of the entry's own.
        lock: file; None: NFAS_MODELS_LOCK, else nfas-models.lock in the working folder.
    """
    say_loading("PyTorch")
    from nfas_lightning.models.zoo.pins import write_pins
    from nfas_lightning.models.zoo.registry import pin_of

    entries = [_zoo_only(name, "pin") for name in names]
    folders = _folders(entries, weights, "pin", every=True)
    for entry in entries:
        try:
            pin = pin_of(entry, folder=folders.get(entry.name), revision=revision)
        except (OSError, ValueError) as error:
            refuse("nfas models pin", str(error), code=1)
        path = write_pins({entry.name: pin}, Path(lock) if lock else None)
        print(f"{entry.name}: {pin.hub}@{pin.revision}, sha256 {pin.weights_sha256[:12]}... in {path}")


def _folders(
    entries: Iterable[ZooEntry], weights: str | None, command: str, *, every: bool
) -> dict[str, Path]:
    """Each entry's folder inside the one that was given: where there is one, or for every entry."""
    if weights is None:
        return {}
    root, entries = Path(weights).expanduser(), list(entries)
    if not root.is_dir():
        refuse(f"nfas models {command}", f"no folder {weights!r}.")
    if len(entries) == 1 and not (root / entries[0].name).is_dir():
        return {entries[0].name: root}
    return {entry.name: root / entry.name for entry in entries if every or (root / entry.name).is_dir()}


def _zoo_only(name: str, command: str) -> ZooEntry:
    from nfas_lightning.models.zoo import zoo_entry

    try:
        return zoo_entry(name.removeprefix("zoo:"))
    except ValueError as error:
        refuse(f"nfas models {command}", str(error))
