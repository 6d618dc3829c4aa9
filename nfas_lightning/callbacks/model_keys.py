"""Keys of a model that a Trainer tests: the capture key, the scoring key, and what a pass leaves alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from nfas_lightning.callbacks.depth_trajectory import DepthTrajectory
from nfas_lightning.data.responses import Responses
from nfas_lightning.lightning_packages import LightningModule
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.results import NoKeyError, capture_key, scoring_key, stimuli_key
from nfas_lightning.scoring import ScoringSettings

__all__ = ["model_capture_key", "model_scoring_key", "remember_pass"]

_BEFORE_A_PASS: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()
"""Capture keys of networks that were run: by the key after a pass, the key before it.

A pass may leave tables and counters in attributes; the network is no other for that.
"""


def model_capture_key(
    module: LightningModule, recorder: DepthTrajectory, datamodule: Any, precision: object
) -> str:
    """Return the `capture_key` of a module; after a pass, the one that it had before.

    Args:
        module: a `FrozenModel`, which is loaded, or any LightningModule.
        recorder: records its states.
        datamodule: shows it stimuli, after ``setup``.
        precision: of the Trainer.

    Raises:
        NoKeyError: see `capture_key`; or the stimuli are no `StimulusSet` and have no hash.
    """
    _, layers, pooling = recorder.target(module)
    key = capture_key(
        _computing(module),
        preprocess=module.load().preprocess if isinstance(module, FrozenModel) else None,
        stimuli=stimuli_key(datamodule),
        recorder={
            **recorder.options,
            "layers": layers,
            "pooling": pooling,
            "time": recorder.time_of(module),
        },
        precision=str(precision),
    )
    return _BEFORE_A_PASS.get(_computing(module), {}).get(key, key)


def model_scoring_key(
    module: LightningModule,
    capture: str,
    responses: Responses,
    settings: ScoringSettings,
    name: str | None,
) -> str:
    """Return the `scoring_key` of a module.

    Args:
        module: as for `model_capture_key`.
        capture: its capture key.
        responses: the benchmark's.
        settings: of the scoring.
        name: of a LightningModule that is no `FrozenModel`, in the tables.
    """
    card: dict[str, Any] = asdict(module.info) if isinstance(module, FrozenModel) else {"name": name}
    return scoring_key(capture, responses=responses.fingerprint(), settings=asdict(settings), card=card)


def remember_pass(
    module: LightningModule, recorder: DepthTrajectory, datamodule: Any, precision: object, before: str
) -> None:
    """Remember, after a pass, the capture key that a module had before it."""
    with suppress(NoKeyError):  # a pass may leave what has no key
        after = model_capture_key(module, recorder, datamodule, precision)
        _BEFORE_A_PASS.setdefault(_computing(module), {})[after] = before


def _computing(module: LightningModule) -> nn.Module:
    """What computes the states: a model's network, or all of a LightningModule, whose steps feed it."""
    return module.load().module if isinstance(module, FrozenModel) else module
