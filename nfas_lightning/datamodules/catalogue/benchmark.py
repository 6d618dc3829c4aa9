"""What a benchmark's folder declares of itself, and the list of the benchmarks that there are."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nfas_lightning.errors import InputError, InputTypeError, MissingFileError

ENTRY_POINTS = "nfas_lightning.benchmarks"
"""Group of entry points under which another distribution registers its `Benchmark` objects."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark, as the ``__init__.py`` of its folder declares it under the name ``BENCHMARK``.

    Code is named as ``"package.module:name"`` and imported when it is used, so that a list of all benchmarks
    imports nothing large.

    Attributes:
        name: what the commands call it.
        title: stimuli and responses in a few words.
        modality: vision, audio or language; several are joined by a comma.
        license: as its source states it.
        size: as its source states it.
        access: how it is had: ``nfas data get`` and which kinds of files, a form, DataLad.
        reference: DOI of the description.
        datamodule: its LightningDataModule; empty if there is none.
        folder: its folder below a data root; empty if it needs no files.
        signs: glob patterns below the folder. If any of them matches, the benchmark lies there.
        counts: what `glance` counts, and the pattern that finds it.
        check: the function (folder, inspector, subjects) -> list of rows that `nfas data check` calls.
        source: the `Source` or `LibrarySource` object that `nfas data get` asks; empty if nothing may be
            downloaded.
        by_hand: how to get it without `nfas data get`; ``{root}`` and ``{folder}`` are filled in.
        rest: how to get what `nfas data get` leaves out; filled in the same way.
    """

    name: str
    title: str
    modality: str
    license: str
    size: str
    access: str
    reference: str
    datamodule: str = ""
    folder: str = ""
    signs: tuple[str, ...] = ()
    counts: tuple[tuple[str, str], ...] = ()
    check: str = ""
    source: str = ""
    by_hand: str = ""
    rest: str = ""

    def load(self, part: str) -> Any:
        """Import what ``datamodule``, ``check`` or ``source`` names; None if it is empty."""
        module, _, name = getattr(self, part).partition(":")
        return getattr(import_module(module), name) if module else None

    def place(self, root: Path) -> Path:
        """Return the benchmark's folder: `root` itself if it has that name, else the one below it."""
        return root if root.name == self.folder else root / self.folder

    def lies_in(self, folder: Path) -> bool:
        """Tell whether `folder` is this benchmark's own, by the names of files alone."""
        return any(next(folder.glob(sign), None) is not None for sign in self.signs)

    def glance(self, folder: Path) -> str:
        """Say in a few words what is there, without opening a file."""
        found = ((label, sum(1 for _ in folder.glob(pattern))) for label, pattern in self.counts)
        return ", ".join(f"{n:,} {label}" for label, n in found if n) or "none of its files"


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name.

    These are the folders of `nfas_lightning.datamodules` whose ``__init__.py`` declares ``BENCHMARK``, and
    the objects that other distributions register under `ENTRY_POINTS`.

    Raises:
        TypeError: what is declared is no `Benchmark`.
        ValueError: two benchmarks have one name.
    """
    home = import_module("nfas_lightning.datamodules")
    packages = [
        f"{home.__name__}.{module.name}" for module in pkgutil.iter_modules(home.__path__) if module.ispkg
    ]
    declared = {name: getattr(import_module(name), "BENCHMARK", None) for name in packages}
    declared |= {point.value: point.load() for point in entry_points(group=ENTRY_POINTS)}
    found: dict[str, Benchmark] = {}
    for where, benchmark in declared.items():
        if benchmark is None:
            continue
        if not isinstance(benchmark, Benchmark):
            raise InputTypeError(f"{where} must declare a Benchmark, got {type(benchmark).__name__}.")
        if benchmark.name in found:
            raise InputError(
                f"{where} declares the benchmark {benchmark.name!r}, which there is already: rename it."
            )
        found[benchmark.name] = benchmark
    return found


def find_benchmarks(root: Path) -> list[tuple[Benchmark, Path]]:
    """Find the benchmarks that lie in `root` itself or in a folder of it, by the names of files alone.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
    """
    if not root.exists():
        raise MissingFileError(f"{root} must be a folder, got nothing: check the path.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} must be a folder, got a file: name the folder that holds it.")
    known = benchmarks().values()
    own = [benchmark for benchmark in known if benchmark.lies_in(root)]
    # the derivatives of a data set look like a data set themselves
    others = [benchmark for benchmark in known if benchmark not in own]
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    below = [(benchmark, folder) for folder in folders for benchmark in others if benchmark.lies_in(folder)]
    return [*((benchmark, root) for benchmark in own), *below]
