"""Torchmetrics shells over the functional core: `compute` gives the number to log, `details` the rest."""

from nfas_lightning.metrics.alignment_metrics import DMDAlignment
from nfas_lightning.metrics.depth_spectrum import DepthSpectrum
from nfas_lightning.metrics.roi_alignment import RoiAlignment
from nfas_lightning.metrics.snci_metric import SNCI

__all__ = ["SNCI", "DMDAlignment", "DepthSpectrum", "RoiAlignment"]
