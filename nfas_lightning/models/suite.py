"""Several frozen models under one config: what a Trainer tests one after another."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_seed
from nfas_lightning.lightning_packages import LightningModule
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaded import LoadedModel
from nfas_lightning.models.loaders import check_label, model_name
from nfas_lightning.models.sources import split_name
from nfas_lightning.models.zoo.entry import ZooEntry

__all__ = ["ModelSuite", "RandomTwin"]


class RandomTwin(FrozenModel):
    """A model's architecture without its training: a baseline of that model, not a model of its own."""

    @property
    def twin_of(self) -> str:
        """Name of the trained model."""
        return self.info.name.removesuffix("_random")


class ModelSuite(LightningModule):
    """A list of frozen models, built one at a time.

    `nfas_lightning.runner.SuiteTrainer.test` runs the members in order; only one is in memory at a time.

    Args:
        models: names (``"minilm_l6"``, ``"zoo:resnet50"``, ``"hf:org/name@revision"``), or mappings with the
            arguments of `FrozenModel` where a name is not enough. Modules, what a loader returned, entries of
            the zoo and FrozenModels will do too.
        random_twins: follow each model by the same architecture without its weights, the baseline
            ``random_weights``.
        seed: seed of the random twins.

    Raises:
        ValueError: no model, two of one name in the results, a name that nobody knows (see `split_name`), or
            a mapping with a key that `FrozenModel` does not take.
        TypeError: something that is no model.

    Example:
        >>> ModelSuite(["minilm_l6", {"model": "timm:vit_tiny_patch16_224", "pooling": "cls"}])
        ModelSuite(minilm_l6, timm:vit_tiny_patch16_224; with random twins)
    """

    def __init__(
        self, models: Sequence[str | dict[str, Any]], *, random_twins: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        if isinstance(models, str | Mapping | nn.Module):
            raise InputTypeError(f"models must be a list, of one model too, got {models!r:.80}: write [...].")
        self.specs = [_spec(model) for model in models]
        if not self.specs:
            raise InputError("models must name at least one model, got none.")
        for spec in self.specs:
            if isinstance(spec["model"], str):
                split_name(spec["model"])
        names = [_name(spec) for spec in self.specs]
        for name in names:
            check_label(name)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(
                f"models must name each model once, got {repeated} more than once. Where they differ, give "
                f"name=, e.g. {{'model': ..., 'name': '{repeated[0]}_2'}}."
            )
        self.random_twins = random_twins
        check_seed(seed)
        self.seed = seed
        # of networks their names: Lightning would copy what it saves
        told = [spec if isinstance(spec["model"], str) else _name(spec) for spec in self.specs]
        self.save_hyperparameters({"models": told, "random_twins": random_twins, "seed": seed})

    def members(self) -> Iterator[FrozenModel]:
        """Yield each model, and its random twin after it; nothing is loaded before its turn."""
        for spec in self.specs:
            yield from self.members_of(spec)

    def members_of(self, spec: Mapping[str, Any]) -> Iterator[FrozenModel]:
        """Yield the model of one of `specs`, and its random twin."""
        yield FrozenModel(**spec)
        if self.random_twins and spec.get("weights", "pretrained") == "pretrained":
            yield RandomTwin(**{**spec, "weights": "random", "seed": self.seed})

    def name_of(self, spec: Mapping[str, Any]) -> str:
        """Return the name that the results of one of `specs` will have, without loading anything."""
        return _name(spec)

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        names = ", ".join(str(spec["model"]) for spec in self.specs)
        return f"ModelSuite({names}{'; with random twins' if self.random_twins else ''})"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a suite is run member by member."""
        raise InputTypeError(
            "A ModelSuite has no forward pass of its own: run it with `nfas test` or "
            "nfas_lightning.runner.SuiteTrainer.test, or take one model with FrozenModel."
        )


def _spec(model: Any) -> dict[str, Any]:
    """The arguments of `FrozenModel` that a member of `models` stands for."""
    if type(model) in (FrozenModel, RandomTwin):
        return dict(model.arguments())
    spec = _checked_keys(dict(model)) if isinstance(model, Mapping) else {"model": model}
    network = spec["model"]
    known = isinstance(network, str | nn.Module | LoadedModel | ZooEntry)
    if not known or isinstance(network, FrozenModel | ModelSuite):
        kind = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
        raise InputTypeError(
            f"Each of models must be a name, an nn.Module instance, what a loader returned, a FrozenModel "
            f"itself, or a mapping of FrozenModel's arguments, {{'model': net, 'layers': ...}}; got {kind}."
        )
    return spec


def _checked_keys(spec: dict[str, Any]) -> dict[str, Any]:
    allowed = list(inspect.signature(FrozenModel).parameters)
    for key in spec:
        if key not in allowed:
            close = get_close_matches(str(key), allowed, n=1)
            meant = f": did you mean {close[0]!r}?" if close else "."
            raise InputError(f"A model's mapping has no key {key!r}{meant} Allowed: {', '.join(allowed)}.")
    if "model" not in spec:
        raise InputError(f"A model's mapping must have the key 'model', got {sorted(spec)}.")
    return spec


def _name(spec: Mapping[str, Any]) -> str:
    """The name that the spec's results will have."""
    name = spec.get("name") or model_name(spec["model"])
    return f"{name}_random" if spec.get("weights") == "random" else name
