"""Planted brains: real or generated stimuli, features that no network computed, and responses to them."""

from nfas_lightning.datamodules.simulated.planted_brain import SimulatedBrain, simulate_brain
from nfas_lightning.datamodules.simulated.planted_rois import INTEGRATIVE, plan_rois

__all__ = ["INTEGRATIVE", "SimulatedBrain", "plan_rois", "simulate_brain"]
