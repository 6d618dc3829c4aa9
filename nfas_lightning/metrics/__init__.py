"""Torchmetrics shells over the functional core."""

from nfas_lightning.metrics.alignment import DMDAlignment
from nfas_lightning.metrics.roi import RoiAlignment
from nfas_lightning.metrics.snci import SNCI
from nfas_lightning.metrics.spectrum import DepthSpectrum

__all__ = ["SNCI", "DMDAlignment", "DepthSpectrum", "RoiAlignment"]
