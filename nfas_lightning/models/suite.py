"""Several frozen models under one config: what a Trainer tests one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nfas_lightning.lightning_packages import LightningModule
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaders import check_name

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
            arguments of `FrozenModel` where a name is not enough.
        random_twins: follow each model by the same architecture without its weights, the baseline
            ``random_weights``.
        seed: seed of the random twins.

    Raises:
        ValueError: no model, the same one twice, or a name that nobody knows, see `check_name`.

    Example:
        >>> ModelSuite(["minilm_l6", {"model": "timm:vit_tiny_patch16_224", "pooling": "cls"}])
        ModelSuite(minilm_l6, timm:vit_tiny_patch16_224; with random twins)
    """

    def __init__(
        self, models: Sequence[str | dict[str, Any]], *, random_twins: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        self.specs = [{"model": spec} if isinstance(spec, str) else dict(spec) for spec in models]
        if not self.specs:
            raise ValueError("models must name at least one model, got none.")
        if any("model" not in spec for spec in self.specs):
            raise ValueError("Each entry of models must be a name or a mapping with the key 'model'.")
        for spec in self.specs:
            if isinstance(spec["model"], str):
                check_name(spec["model"])
        repeated = {str(spec) for spec in self.specs if self.specs.count(spec) > 1}
        if repeated:
            raise ValueError(f"models must name each model once, got {sorted(repeated)} more than once.")
        self.random_twins = random_twins
        self.seed = seed
        self.save_hyperparameters()

    def members(self) -> Iterator[FrozenModel]:
        """Yield each model, and its random twin after it; nothing is loaded before its turn."""
        for spec in self.specs:
            yield FrozenModel(**spec)
            if self.random_twins and spec.get("weights", "pretrained") == "pretrained":
                yield RandomTwin(**{**spec, "weights": "random", "seed": self.seed})

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        names = ", ".join(str(spec["model"]) for spec in self.specs)
        return f"ModelSuite({names}{'; with random twins' if self.random_twins else ''})"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a suite is run member by member."""
        raise TypeError(
            "A ModelSuite has no forward pass of its own: run it with `nfas test` or "
            "nfas_lightning.runner.SuiteTrainer.test, or take one model with FrozenModel."
        )
