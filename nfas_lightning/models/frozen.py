"""A pretrained network that is only looked at, as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.data.stimuli.timing import check_own_tokens
from nfas_lightning.errors import FailureError, InputTypeError
from nfas_lightning.functional.checks import check_option, check_seed
from nfas_lightning.hooks.pooling import TIMES
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.hooks.state_checks import is_placed
from nfas_lightning.lightning_packages import LightningModule
from nfas_lightning.models.loaded import (
    LoadedModel,
    ModelInfo,
    ModelInputs,
    Preprocess,
    as_inputs,
    move_inputs,
)
from nfas_lightning.models.loaders import OF_SOME, check_label, load_model, modality_of, model_name
from nfas_lightning.models.sources import split_name
from nfas_lightning.models.zoo.entry import ZooEntry
from nfas_lightning.notebook import card

__all__ = ["FrozenModel"]


class FrozenModel(LightningModule):
    """Run a frozen network over stimuli in ``validate``, ``test`` or ``predict``.

    The network is always in evaluation mode, none of its parameters asks for a gradient (a module that is
    handed over is frozen in place), and ``fit`` is refused. Given a name or an entry, the constructor loads
    nothing: `load` does, which Lightning reaches through `setup`. Raw batches stay on the CPU, where
    preprocessing runs; only the network's own inputs move to the device.

    Args:
        model: a name for `load_model` (``"minilm_l6"``, ``"zoo:resnet50"``, ``"timm:resnet18"``,
            ``"hf:org/name@revision"``), an entry of the zoo, any module, or what a loader returned.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture without its training.
        seed: of the random weights.
        layers: blocks to record, see `resolve_layers`; None: the loader's choice.
        pooling: see `pool`; None: the loader's choice.
        time: of clips that are read frame by frame, ``"mean"``, ``"keep"`` or ``"dmd"``, see `DepthRecorder`.
        preprocess: raw batch to `ModelInputs`; None: the loader's. A bare module gets the batch's image or
            audio as it is.
        revision: commit or tag of a hub model.
        dtype: of the weights, for ``hf:``, the zoo and timm: ``"float32"``, ``"bfloat16"``, ``"float16"``,
            ``"float64"``, or ``"auto"`` for that of the checkpoint. None: float32, to which half precision is
            raised. The card has what was stored and what runs.
        device_map: of transformers' ``from_pretrained``, for ``hf:`` and the zoo: ``"auto"``, a device, or a
            device for each part. The network then stays there, whatever the Trainer's device.
        quantization_config: of ``from_pretrained``, or a mapping such as ``{"load_in_4bit": True}``. The
            network is never moved, and has no random twin.
        attn_implementation: of ``from_pretrained``, such as ``"sdpa"`` or ``"eager"``.
        options: of a packaged model's builder, e.g. ``{"max_seconds": 10}`` for whisper_base.
        folder: of a model of the zoo: a local folder with its repository's files.
        name: in results, without the ``_random`` that random weights add; None: the loader's, or a bare
            module's class.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: the loader's, of a bare module that of
            `preprocess`, or of the benchmark where this does not tell.

    Raises:
        ValueError: a name that neither the zoo nor the packaged models have, or an unknown source.

    Example:
        >>> model = FrozenModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
        >>> model({"stimulus_id": torch.arange(2), "image": torch.zeros(2, 3, 2, 2)}).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        model: str | nn.Module | LoadedModel | ZooEntry,
        *,
        weights: str = "pretrained",
        seed: int = 0,
        layers: str | list[str] | Callable[[nn.Module], list[str]] | None = None,
        pooling: str | None = None,
        time: str = "mean",
        preprocess: Preprocess | None = None,
        revision: str | None = None,
        dtype: str | None = None,
        device_map: str | int | dict[str, Any] | None = None,
        quantization_config: Any = None,
        attn_implementation: str | None = None,
        options: dict[str, Any] | None = None,
        folder: str | None = None,
        name: str | None = None,
        modality: str | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        self._arguments = given  # in a mapping, so that a module is registered once, under the name `module`
        check_option("weights", weights, ("pretrained", "random"))
        check_option("time", time, TIMES)
        check_seed(seed)
        if name is not None:
            check_label(name)
        if modality is not None:
            check_option("modality", modality, MODALITIES)
        self.module: nn.Module | None = None
        self.mask: Tensor | None = None
        told = {key: value for key, value in self._arguments.items() if key != "preprocess"}
        if callable(layers):
            told["layers"] = getattr(layers, "__name__", repr(layers))
        if hasattr(quantization_config, "to_dict"):
            told["quantization_config"] = quantization_config.to_dict()
        told["model"] = model if isinstance(model, str) else model_name(model)
        # not for loggers, which get the card: Lightning refuses a modality or a seed that is not the data's
        self.save_hyperparameters(told, logger=False)
        self._loaded: LoadedModel | None = None
        if isinstance(model, str):
            split_name(model)
        elif not isinstance(model, ZooEntry):
            self.load()

    def load(self) -> LoadedModel:
        """Load the network if it is not there yet, onto this model's device, and freeze it in place."""
        if self._loaded is None:
            given = self._arguments
            loaded = load_model(**{key: given[key] for key in ("model", "weights", "seed", *OF_SOME)})
            self._loaded = replace(
                loaded, preprocess=given["preprocess"] or loaded.preprocess, info=self._card(loaded)
            )
            self.module = self._loaded.module.eval().requires_grad_(False)
            is_ours = isinstance(
                given["model"], str | ZooEntry
            )  # a module that is handed over stays where it is
            if is_ours and not is_placed(self.module):
                self.module.to(self.device)  # `to` may have come before there was anything to move
        return self._loaded

    def _card(self, loaded: LoadedModel) -> ModelInfo:
        given, info = self._arguments, loaded.info
        name, is_random = given["name"], given["weights"] == "random"
        return replace(
            info,
            name=f"{name}_random" if name and is_random else name or info.name,
            modality=given["modality"] or info.modality or modality_of(given["preprocess"]),
        )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that this model was made with, as a `ModelSuite` takes them."""
        return dict(self._arguments)

    def setup(self, stage: str) -> None:
        """Load the network."""
        self.load()

    def _repr_html_(self) -> str:
        given = self._arguments["model"]
        if self._loaded is None:
            name = given if isinstance(given, str) else getattr(given, "name", type(given).__name__)
            return card(f"FrozenModel: {name}", {"weights": "not loaded yet: setup() loads them"})
        facts = {**vars(self.info), "blocks": self.layers, "pooling": self.pooling}
        return card(f"FrozenModel: {facts.pop('name')}", facts)

    @property
    def info(self) -> ModelInfo:
        """The model's card; loads the network."""
        return self.load().info

    @property
    def layers(self) -> Layers:
        """Blocks to record; loads the network."""
        layers: Layers | None = self._arguments["layers"]
        return self.load().layers if layers is None else layers

    @property
    def pooling(self) -> str:
        """How a block's output becomes one vector per stimulus; loads the network."""
        pooling: str | None = self._arguments["pooling"]
        return self.load().pooling if pooling is None else pooling

    @property
    def time(self) -> str:
        """What becomes of the frames of clips."""
        return str(self._arguments["time"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the network; one that is quantized, or placed by a device map, stays as it is."""
        stays = self.module is not None and is_placed(self.module)
        super()._apply(fn, recurse and not stays)  # type: ignore[no-untyped-call]
        return self

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked: a frozen network has no other."""
        return super().train(False)

    def inputs(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Preprocess a raw batch (see `nfas_lightning.data.stimuli.texts`); `mask` then says what counts.

        See `move_inputs` for the device.

        Raises:
            TypeError: the preprocessing returned something else, or the stimuli came in half precision.
        """
        for key, value in batch.items():
            if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
                raise InputTypeError(
                    f"Raw stimuli must not be halved before preprocessing, got {key!r} in {value.dtype}. "
                    f"With a Trainer choose precision='bf16-mixed' or '16-mixed', which halve the network's "
                    f"work alone."
                )
        inputs = as_inputs(self.load().preprocess(batch))
        check_own_tokens(batch, inputs.mask)
        inputs = move_inputs(inputs, self)
        self.mask = inputs.mask
        return inputs

    def forward(self, batch: Mapping[str, Any]) -> Any:
        """Run the network on a raw batch."""
        inputs = self.inputs(batch)
        return self.load().module(*inputs.args, **inputs.kwargs)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the raw batch where it is: preprocessing runs on the CPU."""
        return batch

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run the network, for callbacks to look at."""
        self(batch)

    def test_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Run the network, for callbacks to look at."""
        self(batch)

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Run the network; return the stimulus ids alone, since Lightning keeps what is returned."""
        self(batch)
        return batch.get("stimulus_id")

    def training_step(self, *args: Any) -> NoReturn:
        """Refuse to train."""
        self.configure_optimizers()

    def configure_optimizers(self) -> NoReturn:
        """Refuse to train.

        Raises:
            RuntimeError: always.
        """
        raise FailureError(
            "FrozenModel does not train: run validate, test or predict. To follow a network's alignment "
            "while it trains, add the callback to its own LightningModule."
        )
