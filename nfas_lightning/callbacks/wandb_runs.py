"""Weights & Biases: when it is offline, what it is told of a key, and its runs of a suite.

A suite is one run, and each of its models another, all in the experiment's group. So W&B compares models by
itself: each is a row of its runs table with card and scores in columns, and a point in its scatter plots.
What belongs to all models (the grid of scores, the space, the report) is in the suite's run. A model's run
appears whole, once the model is finished, as its folder on disk does. The run folder remembers the ids in
``wandb.json``: a suite that was stopped continues in W&B too, and no model is logged twice.

The only module that imports wandb, and only where the user chose its logger.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from requests.utils import get_netrc_auth

from nfas_lightning.lightning_packages import kinds, pl
from nfas_lightning.writing import short_hash, write_text

__all__ = [
    "define_metrics",
    "forget_anonymous",
    "log_artifact",
    "model_links",
    "model_run",
    "open_runs",
    "wandb_loggers",
    "wandb_offline_without_key",
]

_STEP = "trainer/global_step"  # what WandbLogger calls the step that it is given
_HIGHER = ("mean_r", "best_baseline_r2")
_VARIABLES = {  # where a user may have said the same
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "name": "WANDB_NAME",
    "id": "WANDB_RUN_ID",
}
_defined: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # run to the keys that it knows


def wandb_offline_without_key() -> None:
    """Keep Weights & Biases offline when nobody is logged in: a run must not stop to ask for a key."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    has_key = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if not has_key and get_netrc_auth(server) is None:  # `wandb login` leaves the key in .netrc
        os.environ.setdefault("WANDB_MODE", "offline")


def wandb_loggers(loggers: Iterable[pl.loggers.Logger]) -> list[Any]:
    """Return the Weights & Biases loggers among these."""
    return [logger for logger in loggers if isinstance(logger, kinds("WandbLogger"))]


def define_metrics(logger: Any, keys: Iterable[str]) -> None:
    """Tell a run each key's step, and that the summary of a score keeps its best beside its last value."""
    run = logger.experiment
    known = _defined.setdefault(run, set())
    for key in keys:
        if key not in known:
            known.add(key)
            is_score = key.rpartition("/")[2].startswith(_HIGHER) or "/r2/" in key
            summary = "max,last" if is_score else "last"
            run.define_metric(key, step_metric=_STEP, step_sync=True, summary=summary)


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

    A run that is open stays as it is. A folder that was logged to this project before continues in its run.

    Args:
        loggers: those of the Trainer; others than W&B's are left alone.
        group: name of the experiment; group and name of the run where the logger says nothing else.
        job_type: ``"suite"`` or ``"model"``.
        folder: of the run.
    """
    loggers = wandb_loggers(loggers)
    forget_anonymous(loggers)
    for logger in loggers:
        if logger.save_dir:
            Path(logger.save_dir).mkdir(parents=True, exist_ok=True)
        # private, but a logger's only place for what it does not say itself; its own words are kept
        options = logger._wandb_init
        before = None if logger.version else _run_id(folder, logger.name, job_type)
        defaults = {"group": group, "job_type": job_type, "name": group, "id": before}
        for name, value in defaults.items():
            if not options.get(name) and _VARIABLES[name] not in os.environ:
                options[name] = value
        run = logger.experiment
        if not run.disabled:
            _remember(folder, logger.name, job_type, run.id)


@contextmanager
def model_run(
    logger: Any, *, name: str, key: str, folder: str | Path, config: Mapping[str, Any]
) -> Iterator[Any | None]:
    """Open a run for one model beside the suite's, in the same project and group.

    Args:
        logger: the suite's.
        name: of the model.
        key: what the model is known by in the folder.
        folder: of the suite's run.
        config: of the run, from its start.

    Yields:
        A logger of the new run; None if this model was logged before, or W&B is disabled.
    """
    import wandb

    suite = logger.experiment
    if suite.disabled or _run_id(folder, logger.name, key) is not None:
        yield None
        return
    run = wandb.init(
        id=uuid.uuid4().hex[:8],  # or else WANDB_RUN_ID, which an agent of a sweep sets for the suite's run
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
    run.define_metric(_STEP)
    run.define_metric("*", step_metric=_STEP, step_sync=True)
    try:
        yield type(logger)(experiment=run)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    _remember(folder, logger.name, key, run.id)


def model_links(logger: Any, folder: str | Path, models: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return where the runs of models are: their addresses, or their ids where W&B is offline.

    Args:
        logger: the suite's; of another kind than W&B's, there is no run of a model.
        folder: of the suite's run.
        models: names, and what they are known by in the folder.
    """
    if not wandb_loggers([logger]) or (suite := logger.experiment).disabled:
        return {}
    home = "" if suite.offline else f"{suite.url.rpartition('/')[0]}/"
    ids = _ids(folder).get(logger.name, {})
    return {name: f"{home}{ids[key]}" for name, key in models if key in ids}


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


def _ids(folder: str | Path) -> dict[str, dict[str, str]]:
    """The ids of the W&B runs that belong to a run folder, by project and name."""
    path = Path(folder) / "wandb.json"
    ids: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.is_file() else {}
    return ids


def _run_id(folder: str | Path, project: str, name: str) -> str | None:
    return _ids(folder).get(project, {}).get(name)


def _remember(folder: str | Path, project: str, name: str, run_id: str) -> None:
    ids = _ids(folder)
    ids.setdefault(project, {})[name] = run_id
    write_text(Path(folder) / "wandb.json", json.dumps(ids, indent=2))
