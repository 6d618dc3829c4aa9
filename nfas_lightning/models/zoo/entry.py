"""One pretrained model of the zoo: where its weights are, what it is, and what must be true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.pooling import split_pooling

__all__ = ["LIBRARIES", "ZooEntry"]

LIBRARIES = ("timm", "transformers")
_MODALITIES = ("vision", "audio", "language")
_ARCHITECTURE = {
    "timm": {"model", "options"},
    "transformers": {"class", "config", "options", "part"},
}
_REQUIRED = {"timm": "model", "transformers": "class"}
_REDUCED = {"options", "config", "preprocessing"}


@dataclass(frozen=True)
class ZooEntry:
    """A pretrained model as a config holds it: enough to build, check, load and cite it.

    `FrozenModel(model=entry)` runs it; a file of ``configs/models`` is such an entry under
    ``model.init_args.model``. What is expected (blocks, widths, parameters) is checked whenever the model is
    built, so that another checkpoint or another release of a library is noticed.

    Attributes:
        name: short unique name, the file's.
        modality: ``"vision"``, ``"audio"`` or ``"language"``: what it is shown.
        family: architecture family, e.g. ``"resnet"``.
        objective: what it was trained for, e.g. ``"self-supervised"``.
        hub: repository of the weights, ``"organization/name"``.
        revision: commit of that repository; ``"main"`` where no commit is known, see `nfas models pin`.
        library: ``"timm"`` or ``"transformers"``.
        architecture: for timm ``model`` and ``options`` of ``timm.create_model``; for transformers ``class``,
            the ``config`` of that class, ``options`` of its constructor, and ``part``, the submodule that
            runs (one tower, an encoder).
        reduced: overrides (``config`` or ``options``, ``preprocessing``) of a small network with the same
            blocks, for a forward pass in a check.
        layers: blocks to record, see `resolve_layers`.
        blocks: L, how many there are.
        widths: D, or L widths where they differ.
        pooling: how a block's output becomes one vector per stimulus, see `pool`.
        preprocessing: ``kind`` and the numbers the model was trained with, see `build_preprocess`.
        parameters: number of parameters of what runs.
        license: license of the weights, SPDX where there is one.
        source: address of the weights' page.
        paper: address of the paper.
        note: what a reader of the results must know.

    Raises:
        ValueError: a value or key that no entry can have.
    """

    name: str
    modality: str
    family: str
    objective: str
    hub: str
    revision: str
    library: str
    architecture: dict[str, Any]
    layers: str | list[str]
    blocks: int
    widths: int | list[int]
    preprocessing: dict[str, Any]
    parameters: int
    license: str
    source: str
    paper: str = ""
    pooling: str = "mean"
    reduced: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        check_option("modality", self.modality, _MODALITIES)
        check_option("library", self.library, LIBRARIES)
        split_pooling(self.pooling)
        self._check_keys("architecture", self.architecture, _ARCHITECTURE[self.library])
        self._check_keys("reduced", self.reduced, _REDUCED)
        required = _REQUIRED[self.library]
        if required not in self.architecture:
            raise InputError(
                f"{self.name}: architecture must name its {required!r}, got {self.architecture}."
            )
        if "kind" not in self.preprocessing:
            raise InputError(f"{self.name}: preprocessing must name its 'kind', got {self.preprocessing}.")
        if not self.hub or not self.revision:
            raise InputError(
                f"{self.name}: expected a hub repository and a revision (a commit, or 'main' where none is "
                f"known), got {self.hub!r} and {self.revision!r}."
            )
        if isinstance(self.widths, list) and len(self.widths) != self.blocks:
            raise InputError(
                f"{self.name}: widths must be one number or one per block ({self.blocks}), got "
                f"{len(self.widths)}."
            )

    def _check_keys(self, field_name: str, given: dict[str, Any], known: Sequence[str] | set[str]) -> None:
        if unknown := set(given) - set(known):
            raise InputError(
                f"{self.name}: {field_name} of a {self.library} model takes {sorted(known)}, got "
                f"{sorted(unknown)}."
            )

    @property
    def address(self) -> str:
        """Repository and revision, ``"organization/name@revision"``."""
        return f"{self.hub}@{self.revision}"

    @property
    def extra(self) -> str:
        """The extra of this package that brings the entry's library; timm sees, whatever it is shown."""
        return "vision" if self.library == "timm" else self.modality

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which can't change under the same name."""
        return len(self.revision) == 40 and all(letter in "0123456789abcdef" for letter in self.revision)

    @property
    def width_list(self) -> list[int]:
        """L widths."""
        return list(self.widths) if isinstance(self.widths, list) else [self.widths] * self.blocks
