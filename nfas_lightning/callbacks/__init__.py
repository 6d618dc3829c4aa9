"""Callbacks: Lightning's, and one for `transformers.Trainer`."""

from typing import TYPE_CHECKING, Any

from nfas_lightning.callbacks.brain_alignment import BrainAlignment
from nfas_lightning.callbacks.depth_trajectory import DepthTrajectory
from nfas_lightning.callbacks.score_writer import ScoreWriter

if TYPE_CHECKING:
    from nfas_lightning.callbacks.brain_alignment_hf import BrainAlignmentHF

__all__ = ["BrainAlignment", "BrainAlignmentHF", "DepthTrajectory", "ScoreWriter"]


def __getattr__(name: str) -> Any:
    if name == "BrainAlignmentHF":  # on first use: its base class is transformers'
        from nfas_lightning.callbacks.brain_alignment_hf import BrainAlignmentHF

        return BrainAlignmentHF
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
