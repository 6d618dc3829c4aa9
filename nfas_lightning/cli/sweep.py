"""`nfas sweep`: models x benchmarks from one file."""

from __future__ import annotations

from typing import Any

from nfas_lightning.cli.check_config import check_arguments
from nfas_lightning.cli.config_files import read_config_files
from nfas_lightning.cli.messages import PlainErrors, refusing, say_loading

__all__ = ["sweep"]


def sweep(
    file: str,
    *,
    run_dir: str | None = None,
    slots: int | None = None,
    cluster: str | None = None,
    plan: bool = False,
    no_resume: bool = False,
    no_cache: bool = False,
    job: str | None = None,
) -> None:
    """Run every model on every benchmark of its modality; what is finished is not computed again.

    Memory and time are estimated first. A model that fails is listed at the end and in failures.json, the
    others run; the exit code is then 1. The runs lie in RUN_DIR/BENCHMARK, for `nfas space`.

    Args:
        file: the sweep, e.g. configs/sweeps/packaged.yaml.
        run_dir: folder of the results, in place of the file's.
        slots: processes at a time, in place of the file's.
        cluster: ``slurm`` or ``local`` for submitit, ``inline`` for this process, in place of the file's.
        plan: estimate memory and time, and run nothing.
        no_resume: compute every model anew and replace its result.
        no_cache: neither take states that an earlier run has kept, nor keep them.
        job: run only ``benchmark`` or ``benchmark:model,model``, in this process; what a sweep's jobs do.
    """
    with refusing("nfas sweep"):
        (config,) = read_config_files(["--config", file])
    # Lightning takes seconds to import: after the file is known to be one
    say_loading("Lightning")
    from nfas_lightning import datamodules
    from nfas_lightning.sweep import Sweep, conduct, read_sweep
    from nfas_lightning.sweep.work import run_job

    for name in datamodules.__all__:  # imported here, so that their short names resolve
        getattr(datamodules, name)
    given = {"run_dir": run_dir, "slots": slots, "cluster": cluster}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    changes |= {"resume": False} if no_resume else {}
    changes |= {"cache": False} if no_cache else {}
    with refusing("nfas sweep"):
        check_arguments(config, Sweep)
        request = read_sweep(file, changes=changes, parser=PlainErrors(prog="nfas sweep"))
        cells = request.cells if job is None else request.choose(job)
    if job is not None:
        if not run_job(request, cells, only_estimate=plan):
            raise SystemExit(1)
        return
    if conduct(request, file, only_estimate=plan).failed:
        raise SystemExit(1)
