"""What `nfas data get` says and asks while it downloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from nfas_lightning.cli.messages import refuse
from nfas_lightning.datamodules.catalogue.download import Outcome, TransferError, carry_out, free_bytes
from nfas_lightning.datamodules.catalogue.source import Choice, LibrarySource, Plan, Source
from nfas_lightning.terminal import stdout_console

__all__ = ["NOTHING", "convert", "get_files", "get_from_library"]

_COMMAND = "nfas data get"
_SHOWN = 8
NOTHING = 3
"""Exit code: nothing was downloaded, and nothing failed."""


def get_files(
    name: str,
    source: Source,
    folder: Path,
    choice: Choice,
    *,
    workers: int,
    dry_run: bool,
    yes: bool,
    by_hand: str = "",
) -> bool:
    """List, say the size, ask, download, and say what came of it.

    Args:
        name: of the benchmark.
        source: asks the server what there is.
        folder: of the benchmark.
        choice: the parts to bring.
        workers: files at once.
        dry_run: stop after the size is said.
        yes: do not ask.
        by_hand: what to do if the server gives nothing.

    Returns:
        Whether all of it is here; False after a dry run. Anything else ends the process.
    """
    try:
        with Console(stderr=True).status(f"asking what there is of {name}"):
            plan = source.plan(folder, choice)
    except ValueError as error:
        refuse(_COMMAND, str(error))
    except TransferError as error:
        refuse(_COMMAND, f"{error} Nothing was downloaded.{by_hand and chr(10) * 2}{by_hand}", code=1)
    _print_plan(plan)
    if dry_run:
        return False
    if plan.wanted and not yes and not _agreed():
        print("Nothing was downloaded.")
        raise SystemExit(NOTHING)
    if plan.wanted:
        _download(plan, workers)
    elif plan.obstructed:
        raise SystemExit(1)
    return True


def convert(source: Source, folder: Path, release: Path | None, *, dry_run: bool) -> None:
    """Write what the benchmark reads out of what was downloaded, or out of an unpacked `release`."""
    if dry_run:
        print(f"Would read the release in {release} and write what the benchmark reads to {folder}.")
        return
    try:
        for line in source.convert(folder, release):
            print(line)
    except (OSError, ValueError) as error:
        refuse(_COMMAND, str(error), code=1)
    print(f"Next: nfas data check {folder}")


def _print_plan(plan: Plan) -> None:
    table = Table("kind", title=str(plan.folder), title_justify="left")
    for column in ("files", "size", "already here", "to download"):
        table.add_column(column, justify="right")
    for kind in dict.fromkeys(job.kind for job in plan.jobs):
        own, here, wanted = (
            [job for job in jobs if job.kind == kind] for jobs in (plan.jobs, plan.here, plan.wanted)
        )
        sizes = [decimal(sum(job.size for job in jobs)) for jobs in (own, wanted)]
        table.add_row(kind, f"{len(own):,}", sizes[0], f"{len(here):,}", sizes[1])
    stdout_console().print(table)
    need, free = decimal(plan.n_bytes), decimal(free_bytes(plan.folder))
    print(f"To download: {len(plan.wanted):,} files, {need}; free on this disk: {free}.")
    for job, state in plan.obstructed[:_SHOWN]:
        print(f"In the way: {job.target} is {state}.", file=sys.stderr)
    if len(plan.obstructed) > _SHOWN:
        print(f"In the way: {len(plan.obstructed) - _SHOWN:,} more.", file=sys.stderr)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        print("Nobody is there to be asked: say --yes, or --dry_run to look alone.", file=sys.stderr)
        return False
    return input("Download? [y/N] ").strip().lower() in ("y", "yes")


def _download(plan: Plan, workers: int) -> None:
    try:
        outcome = carry_out(plan, workers=workers, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        said = f"{_COMMAND}: stopped. Finished files stay; the same command fetches the others."
        print(said, file=sys.stderr)
        raise SystemExit(130) from None
    except (OSError, RuntimeError) as error:
        refuse(_COMMAND, str(error), code=1)
    _print_outcome(outcome)
    if outcome.failed or outcome.not_tried or plan.obstructed:
        raise SystemExit(1)


def _print_outcome(outcome: Outcome) -> None:
    done = outcome.checksummed + outcome.sized
    print(
        f"{done:,} files came: MD5 compared for {outcome.checksummed:,}, size alone for {outcome.sized:,} "
        "(the server gives no MD5 of those)."
    )
    for key, reason in list(outcome.failed.items())[:_SHOWN]:
        print(f"failed {key}: {reason}", file=sys.stderr)
    if outcome.failed or outcome.not_tried:
        print(
            f"{len(outcome.failed):,} files failed, {outcome.not_tried:,} were not tried: the same command "
            "fetches them.",
            file=sys.stderr,
        )


def get_from_library(
    source: LibrarySource, folder: Path | None, kinds: Sequence[str] | None, *, dry_run: bool
) -> None:
    """Let another library fetch its files, into `folder` or, without one, into its own."""
    chosen = list(source.usual if kinds is None else kinds)
    if unknown := [kind for kind in chosen if kind not in source.kinds]:
        refuse(_COMMAND, f"there is no {unknown[0]!r}; there are {', '.join(source.kinds)}.")
    place = f"{source.library}'s own data folder" if folder is None else str(folder)
    what = "; ".join(f"{kind} ({source.kinds[kind]})" for kind in chosen)
    print(f"{what}: through {source.library}, into {place}.")
    if dry_run:
        return
    for kind in chosen:
        try:
            files = source.fetch(kind, folder)
        except OSError as error:
            refuse(_COMMAND, f"{kind} can't be had: {error}", code=1)
        for file in files:
            print(f"{kind}: {file}")
    if folder is not None:
        print(f"To have them found by name, set {source.variable}={folder}")
