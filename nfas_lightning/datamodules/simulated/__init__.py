"""Planted brains: real or generated stimuli, features that no network computed, and responses to them."""

from nfas_lightning.datamodules.simulated.planted_brain import (
    INTEGRATIVE,
    SimulatedBrain,
    plan_rois,
    simulate_brain,
)

__all__ = ["INTEGRATIVE", "SimulatedBrain", "plan_rois", "simulate_brain"]
