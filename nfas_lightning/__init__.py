"""Neural Functional Alignment Space: from any network's depth dynamics to a point in brain space."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfas_lightning.alignment import align
    from nfas_lightning.leaderboard import score
    from nfas_lightning.runner import partition_variance, score_models
    from nfas_lightning.space import NFAS

__all__ = ["NFAS", "align", "partition_variance", "score", "score_models"]

_HOMES = {
    "NFAS": "nfas_lightning.space",
    "align": "nfas_lightning.alignment",
    "partition_variance": "nfas_lightning.runner",
    "score": "nfas_lightning.leaderboard",
    "score_models": "nfas_lightning.runner",
}


def __getattr__(name: str) -> Any:
    # on first use: the `nfas` command must be able to speak to OpenMP before torch is there
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        return import_module("nfas_lightning.versions").installed_version("nfas-lightning")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
