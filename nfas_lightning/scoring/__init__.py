"""From a depth trajectory and brain responses to tables of scores: the stable mode beside its baselines."""

from nfas_lightning.scoring.model_scores import score_trajectory
from nfas_lightning.scoring.region_model import RegionModel
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["RegionModel", "ScoringSettings", "score_trajectory"]
