"""Pretrained audio models: each architecture in a file of its own, the table of them in `table`."""

from nfas_lightning.packaged_models.audio.table import AUDIO_MODELS

__all__ = ["AUDIO_MODELS"]
