"""Run a suite of models on one benchmark: plan first, then model by model, then the tables."""

from nfas_lightning.runner.planning import PlannedModel, plan, plan_table
from nfas_lightning.runner.report import report_run
from nfas_lightning.runner.score import score_models
from nfas_lightning.runner.suite_trainer import SuiteTrainer, quiet_lightning

__all__ = [
    "PlannedModel",
    "SuiteTrainer",
    "plan",
    "plan_table",
    "quiet_lightning",
    "report_run",
    "score_models",
]
