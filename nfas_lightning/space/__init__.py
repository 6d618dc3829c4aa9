"""The space of models: NFAS, its statistics and figures."""

from nfas_lightning.space.nfas import NFAS

__all__ = ["NFAS"]
