"""The card of a network that a loader brings, trained or not."""

from __future__ import annotations

import torch
from torch import nn

from nfas_lightning.models.base import ModelInfo
from nfas_lightning.models.random_twin import state_sha256

__all__ = ["model_info"]


def model_info(
    module: nn.Module,
    *,
    name: str,
    modality: str,
    family: str,
    source: str,
    seed: int | None,
    license: str = "",
    note: str = "",
    objective: str = "",
) -> ModelInfo:
    """Return a network's card, with the number and the hash of its weights, and their dtype unless float32.

    Args:
        module: the network as it runs.
        name: of the model with its pretrained weights; a random one's is ``<name>_random``.
        modality: see `ModelInfo`, as for all but `seed`.
        family: architecture family.
        source: where pretrained weights came from.
        seed: of random weights; None: the weights are pretrained.
        license: of pretrained weights.
        note: what a reader must know of pretrained weights.
        objective: what pretrained weights were trained for.
    """
    if seed is not None:
        name, source = f"{name}_random", f"random (seed {seed})"
        license, note, objective = "", "Random weights, never trained.", "none"
    dtypes = {str(p.dtype) for p in module.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    if dtypes:
        note = f"{note} Runs in {', '.join(sorted(dtypes))}.".strip()
    return ModelInfo(
        name=name,
        modality=modality,
        family=family,
        source=source,
        license=license,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weights_sha256=state_sha256(module),
        note=note,
        objective=objective,
    )
