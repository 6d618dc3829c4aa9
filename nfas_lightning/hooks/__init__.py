"""Capture of depth trajectories from any network, without Lightning."""

from nfas_lightning.hooks.pooling import pool
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.selection import resolve_layers
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory

__all__ = ["DepthRecorder", "LayerInfo", "Trajectory", "pool", "resolve_layers"]
