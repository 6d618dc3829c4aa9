"""Run a suite of models on one benchmark: plan first, then model by model, then the tables."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfas_lightning.runner.planning import PlannedModel, plan, plan_table
    from nfas_lightning.runner.run_report import report_run
    from nfas_lightning.runner.score_run import score_models
    from nfas_lightning.runner.suite_log import FailedModelsError
    from nfas_lightning.runner.suite_trainer import SuiteTrainer, quiet_lightning
    from nfas_lightning.runner.variance_parts import partition_variance
    from nfas_lightning.runner.workers import processes_here

__all__ = [
    "FailedModelsError",
    "PlannedModel",
    "SuiteTrainer",
    "partition_variance",
    "plan",
    "plan_table",
    "processes_here",
    "quiet_lightning",
    "report_run",
    "score_models",
]

_HOMES = {
    "FailedModelsError": "suite_log",
    "PlannedModel": "planning",
    "SuiteTrainer": "suite_trainer",
    "partition_variance": "variance_parts",
    "plan": "planning",
    "plan_table": "planning",
    "processes_here": "workers",
    "quiet_lightning": "suite_trainer",
    "report_run": "run_report",
    "score_models": "score_run",
}


def __getattr__(name: str) -> Any:
    # on first use: a report of finished runs does without Lightning, which takes seconds to import
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
