"""Small entries of the zoo, with files as their hub repositories would hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nfas_lightning.models.random_twin import seeded
from nfas_lightning.models.zoo import ZooEntry, zoo_entry
from nfas_lightning.models.zoo.architecture import build_network, configuration, merged, network_class
from nfas_lightning.models.zoo.stand_ins import stand_in_tokenizer

__all__ = ["save_files", "small_entry", "whole_network"]


def small_entry(name: str) -> ZooEntry:
    """The reduced network of an entry as an entry of its own, blocks and all."""
    entry = zoo_entry(name)
    part = "options" if entry.library == "timm" else "config"
    architecture = merged(entry.architecture, {part: entry.reduced.get(part, {})})
    module = build_network(entry, reduced=True, device="meta")
    return replace(
        entry,
        architecture=architecture,
        reduced={},
        preprocessing=merged(entry.preprocessing, entry.reduced.get("preprocessing", {})),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )


def whole_network(entry: ZooEntry, seed: int = 7) -> torch.nn.Module:
    """The network as its library builds it, with every part, under a seed."""
    if entry.library == "timm":
        return seeded(seed, lambda: build_network(entry))
    options = entry.architecture.get("options", {})
    return seeded(seed, lambda: network_class(entry)(configuration(entry), **options))


def save_files(
    entry: ZooEntry,
    folder: Path,
    *,
    seed: int = 7,
    pickled: bool = False,
    dtype: torch.dtype = torch.float32,
) -> torch.nn.Module:
    """Write weights, configuration and tokenizer into a folder; return the network they are of."""
    folder.mkdir(parents=True, exist_ok=True)
    module = whole_network(entry, seed).to(dtype)
    state = {key: value.contiguous().clone() for key, value in module.state_dict().items()}
    if entry.library == "transformers":
        module.save_pretrained(folder)
        if entry.preprocessing["kind"] == "text":
            part: Any = module.get_submodule(entry.architecture.get("part", ""))
            stand_in_tokenizer(part.config.vocab_size).save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink(missing_ok=True)
        torch.save(state, folder / "pytorch_model.bin")
    elif entry.library == "timm":
        save_file(state, folder / "model.safetensors")
    return module.eval()
