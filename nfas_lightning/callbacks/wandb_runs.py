"""Weights & Biases for a suite: one run a model, one for the suite, all in the experiment's group.

A run a model is what W&B compares by itself: a row of its runs table with the model's card and scores in
columns, a point in its scatter plots. What belongs to all models (the grid of scores, the space, the report)
is in the suite's run. A model's run appears whole, once the model is finished, as its folder on disk does.
The run folder remembers the ids in ``wandb.json``: a suite that goes on after it was stopped goes on in W&B
too, and a model is never logged twice.

The only module that imports wandb, and only where the user chose its logger.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nfas_lightning.callbacks.logging import STEP_KEY, wandb_loggers
from nfas_lightning.lightning_packages import pl
from nfas_lightning.writing import short_hash, write_text

__all__ = ["RunIds", "forget_anonymous", "log_artifact", "model_run", "open_runs"]

_VARIABLES = {  # where a user may have said the same
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "name": "WANDB_NAME",
    "id": "WANDB_RUN_ID",
}


class RunIds:
    """Ids of the W&B runs that belong to a run folder, by project.

    Args:
        folder: of the run; the ids are in its ``wandb.json``.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / "wandb.json"

    def get(self, project: str, name: str) -> str | None:
        """Return the id of a run, None if it was never logged."""
        found = self._read().get(project, {}).get(name)
        return None if found is None else str(found)

    def put(self, project: str, name: str, run_id: str) -> None:
        """Remember the id of a run."""
        ids = self._read()
        ids.setdefault(project, {})[name] = run_id
        write_text(self._path, json.dumps(ids, indent=2))

    def _read(self) -> dict[str, dict[str, str]]:
        if not self._path.is_file():
            return {}
        ids: dict[str, dict[str, str]] = json.loads(self._path.read_text())
        return ids


def forget_anonymous(loggers: Iterable[pl.loggers.Logger]) -> None:
    """Keep Lightning from passing on ``anonymous=None`` that nobody gave: wandb warns of any value of it.

    Args:
        loggers: those of the Trainer, before their runs are open; a value that a user gave is kept.
    """
    for logger in wandb_loggers(loggers):
        options = logger._wandb_init  # private; see open_runs
        if "anonymous" in options and options["anonymous"] is None:
            del options["anonymous"]


def open_runs(loggers: Iterable[pl.loggers.Logger], *, group: str, job_type: str, folder: str | Path) -> None:
    """Open the W&B run of each logger, in a group of its experiment; what the user chose is kept.

    A run that is open stays as it is. A folder that was logged to this project before goes on in its run.

    Args:
        loggers: those of the Trainer; others than W&B's are left alone.
        group: name of the experiment; group and name of the run where the logger says nothing else.
        job_type: ``"suite"`` or ``"model"``.
        folder: of the run.
    """
    ids = RunIds(folder)
    loggers = wandb_loggers(loggers)
    forget_anonymous(loggers)
    for logger in loggers:
        if logger.save_dir:
            Path(logger.save_dir).mkdir(parents=True, exist_ok=True)
        # private, but a logger's only place for what it does not say itself; its own words are kept
        options = logger._wandb_init
        before = None if logger.version else ids.get(logger.name, job_type)
        defaults = {"group": group, "job_type": job_type, "name": group, "id": before}
        for name, value in defaults.items():
            if not options.get(name) and _VARIABLES[name] not in os.environ:
                options[name] = value
        run = logger.experiment
        if not run.disabled:
            ids.put(logger.name, job_type, run.id)


@contextmanager
def model_run(
    logger: Any, *, name: str, key: str, ids: RunIds, config: Mapping[str, Any]
) -> Iterator[Any | None]:
    """Open a run for one model beside the suite's, in the same project and group.

    Args:
        logger: the suite's.
        name: of the model.
        key: what the model is known by in `ids`.
        ids: of the run folder.
        config: of the run, from its start.

    Yields:
        A logger of the new run; None if this model was logged before, or W&B is disabled.
    """
    import wandb

    suite = logger.experiment
    if suite.disabled or ids.get(logger.name, key) is not None:
        yield None
        return
    run = wandb.init(
        entity=suite.entity or None,
        project=suite.project,
        group=suite.group or suite.name,
        job_type="model",
        name=name,
        dir=logger.save_dir,
        mode="offline" if suite.offline else "online",
        config=json.loads(json.dumps(dict(config), default=str)),
        reinit="create_new",
        settings=wandb.Settings(silent=True),
    )
    run.define_metric(STEP_KEY)
    run.define_metric("*", step_metric=STEP_KEY, step_sync=True)
    try:
        yield type(logger)(experiment=run)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    ids.put(logger.name, key, run.id)


def log_artifact(
    loggers: Iterable[pl.loggers.Logger], name: str, run_dir: Path, metadata: Mapping[str, Any]
) -> None:
    """Log a run folder's report, figures, tables and configs as an artifact of type ``report``.

    Args:
        loggers: those of the Trainer; others than W&B's are left alone.
        name: of the experiment.
        run_dir: the folder.
        metadata: shown beside the artifact.
    """
    for logger in wandb_loggers(loggers):
        import wandb

        allowed = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        artifact = wandb.Artifact(
            # two experiments must not be versions of one artifact
            f"{allowed if allowed == name else f'{allowed}-{short_hash(name)}'}-report",
            type="report",
            metadata=json.loads(json.dumps(dict(metadata), default=str)),
        )
        for pattern in ("report.html", "*.parquet", "meta.json", "config*.yaml", "figures/*.png"):
            for path in sorted(run_dir.glob(pattern)):
                artifact.add_file(str(path), name=str(path.relative_to(run_dir)))
        logger.experiment.log_artifact(artifact)
