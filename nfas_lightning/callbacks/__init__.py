"""Lightning callbacks."""

from nfas_lightning.callbacks.brain_alignment import BrainAlignment
from nfas_lightning.callbacks.depth_trajectory import DepthTrajectory
from nfas_lightning.callbacks.score_writer import ScoreWriter

__all__ = ["BrainAlignment", "DepthTrajectory", "ScoreWriter"]
