"""`nfas doctor`: what is installed, where it would run, what is here, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from rich.markup import escape
from rich.table import Column, Table

from nfas_lightning.cli.messages import say_loading
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks, find_benchmarks
from nfas_lightning.terminal import stdout_console
from nfas_lightning.versions import installed_version
from nfas_lightning.writing import cache_dir

__all__ = ["doctor"]

_EXTRAS = ("vision", "audio", "language", "wandb", "cluster", "large", "demo")
_HUB = "https://huggingface.co"


def doctor() -> None:
    """Say what is installed, which device, cache, weights and benchmarks are here, and what to do."""
    say_loading("PyTorch")
    table = Table(Column("what", no_wrap=True), Column("found", overflow="fold"), Column("what to do"))
    for what, found, advice in (*_installed(), *_device(), *_weights(), *_data()):
        table.add_row(what, escape(found), escape(advice))
    stdout_console().print(table)


def _installed() -> Iterator[tuple[str, str, str]]:
    names = ("nfas-lightning", "torch", "pytorch-lightning")
    versions = [f"{name} {installed_version(name)}" for name in names]
    yield "package", ", ".join([*versions, f"python {platform.python_version()}"]), ""
    try:
        required = metadata.requires("nfas-lightning") or []
    except metadata.PackageNotFoundError:
        yield "extras", "not known: a checkout that is not installed", "pip install -e '.[all]'"
        return
    of_others: set[str] = set()  # demo is all of them, and one more
    for extra in _EXTRAS:
        wanted = [re.match(r"[\w.-]+", line) for line in required if re.search(rf"extra == .{extra}\b", line)]
        packages = [found[0] for found in wanted if found and found[0] not in {"nfas-lightning", *of_others}]
        if extra not in ("audio", "language"):  # which share theirs
            of_others |= set(packages)
        missing = [name for name in packages if installed_version(name) == "none"]
        here = ", ".join(f"{name} {installed_version(name)}" for name in packages if name not in missing)
        advice = f"pip install 'nfas-lightning[{extra}]'" if missing else ""
        yield f"extra {extra}", here + (f" missing: {', '.join(missing)}" if missing else ""), advice


def _device() -> Iterator[tuple[str, str, str]]:
    import torch

    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
    if torch.cuda.is_available():
        cards = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield "device", f"CUDA: {cards}; {cores}", ""
    elif torch.backends.mps.is_available():
        yield "device", f"MPS; {cores}", ""
    else:
        yield "device", f"CPU: {cores}", "large models want a GPU: docs/performance.md"


def _weights() -> Iterator[tuple[str, str, str]]:
    from nfas_lightning.models.reach import is_reachable
    from nfas_lightning.models.sources import sources
    from nfas_lightning.results import CaptureCache

    folder, cache = cache_dir(), CaptureCache(None)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    writable = os.access(there, os.W_OK)
    files = cache.files()
    size = sum(file.n_bytes for file in files) / 1e9
    found = f"{folder}{'' if writable else ' (not writable)'}; {len(files)} captures, {size:.1f} GB"
    yield "cache", found, "nfas cache list" if writable else "let NFAS_CACHE name another folder"
    for name, source in sources().items():
        if entries := source.entries():
            here = sum(source.is_local(entry) for entry in entries)
            advice = "fetched when first used" if here < len(entries) else ""
            yield f"weights {name}", f"{here} of {len(entries)} models are here", advice
    is_open = is_reachable(_HUB)
    found = f"{_HUB} {'answers' if is_open else 'does not answer'}"
    yield "hub", found, "" if is_open else "packaged models, or weights in NFAS_WEIGHTS: docs/models.md"


def _data() -> Iterator[tuple[str, str, str]]:
    given = os.environ.get("NFAS_DATA")
    folder = Path(given).expanduser() if given else None
    here = (
        {b.name: b.glance(place) for b, place in find_benchmarks(folder)}
        if folder and folder.is_dir()
        else {}
    )
    state = "not set" if folder is None else f"{folder}{'' if folder.is_dir() else ' is no folder'}"
    yield "NFAS_DATA", state, "" if folder and folder.is_dir() else "let it name the folder of the benchmarks"
    for benchmark in benchmarks().values():
        if benchmark.folder:
            is_here = benchmark.name in here
            advice = f"nfas data check {folder}" if is_here else f"nfas data get {benchmark.name}"
            yield f"data {benchmark.name}", here.get(benchmark.name, "not here"), advice
