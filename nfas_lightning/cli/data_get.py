"""What `nfas data get` says and asks while it downloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from nfas_lightning.data.catalogue import Plan, make_plan
from nfas_lightning.data.catalogue.atlases import ATLAS_KINDS, fetch_atlas
from nfas_lightning.data.catalogue.get import Outcome, carry_out, room_for
from nfas_lightning.data.catalogue.transfer import Client, TransferError

__all__ = ["get_atlases", "get_files", "nothing_downloaded"]

_SHOWN = 8
NOTHING = 3
"""Exit code: nothing was downloaded, and nothing failed."""


def nothing_downloaded(terms: str) -> NoReturn:
    """Say how a benchmark is had that is not downloaded from here, and end."""
    print(terms)
    raise SystemExit(NOTHING)


def get_files(
    name: str,
    root: Path,
    subjects: Sequence[str] | None,
    kinds: Sequence[str] | None,
    tasks: Sequence[str] | None,
    *,
    bucket: str,
    workers: int,
    dry_run: bool,
    yes: bool,
) -> None:
    """List, say the size, ask, download, and say what came of it."""
    client = Client()
    try:
        with Console(stderr=True).status(f"asking {bucket} what it has of {name}"):
            plan = make_plan(name, root, client, subjects=subjects, kinds=kinds, tasks=tasks, bucket=bucket)
    except ValueError as error:
        _end(2, str(error))
    except TransferError as error:
        _end(1, f"{error} Nothing was downloaded.")
    _print_plan(plan)
    if dry_run:
        return
    if plan.wanted and not yes and not _agreed():
        print("Nothing was downloaded.")
        raise SystemExit(NOTHING)
    if plan.wanted:
        _download(plan, client, bucket, workers)
    elif plan.obstructed:
        raise SystemExit(1)
    print(f"All of it is in {plan.folder}. Next: nfas data check {plan.folder}")


def _print_plan(plan: Plan) -> None:
    table = Table("kind", title=str(plan.folder), title_justify="left")
    for column in ("files", "size", "already here", "to download"):
        table.add_column(column, justify="right")
    for kind in dict.fromkeys(job.kind for job in plan.jobs):
        own = [job for job in plan.jobs if job.kind == kind]
        wanted = [job for job in own if job.state == "wanted"]
        sizes = [decimal(sum(job.remote.size for job in jobs)) for jobs in (own, wanted)]
        here = sum(job.state == "here" for job in own)
        table.add_row(kind, f"{len(own):,}", sizes[0], f"{here:,}", sizes[1])
    Console().print(table)
    need, free = room_for(plan)
    print(f"To download: {len(plan.wanted):,} files, {decimal(need)}; free on this disk: {decimal(free)}.")
    for job in plan.obstructed[:_SHOWN]:
        print(f"In the way: {job.target} is {job.state}.", file=sys.stderr)
    if len(plan.obstructed) > _SHOWN:
        print(f"In the way: {len(plan.obstructed) - _SHOWN:,} more.", file=sys.stderr)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        print("Nobody is there to be asked: say --yes, or --dry_run to look alone.", file=sys.stderr)
        return False
    return input("Download? [y/N] ").strip().lower() in ("y", "yes")


def _download(plan: Plan, client: Client, bucket: str, workers: int) -> None:
    try:
        outcome = carry_out(plan, client, bucket, workers=workers, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        _end(130, "stopped. Finished files stay; the same command goes on from here.")
    except (OSError, RuntimeError) as error:
        _end(1, str(error))
    _print_outcome(outcome)
    if outcome.failed or outcome.not_tried or plan.obstructed:
        raise SystemExit(1)


def _print_outcome(outcome: Outcome) -> None:
    done = outcome.checksummed + outcome.sized
    print(
        f"{done:,} files came: MD5 compared for {outcome.checksummed:,}, size alone for {outcome.sized:,} "
        "(uploaded in parts, so their ETag is no MD5)."
    )
    for key, reason in list(outcome.failed.items())[:_SHOWN]:
        print(f"failed {key}: {reason}", file=sys.stderr)
    if outcome.failed or outcome.not_tried:
        print(
            f"{len(outcome.failed):,} files failed, {outcome.not_tried:,} were not tried: the same command "
            "goes on from here.",
            file=sys.stderr,
        )


def get_atlases(root: Path | None, kinds: Sequence[str] | None, *, dry_run: bool) -> None:
    """Fetch parcellations through nilearn."""
    chosen = ["schaefer400"] if kinds is None else list(kinds)
    if unknown := [kind for kind in chosen if kind not in ATLAS_KINDS]:
        _end(2, f"there is no atlas {unknown[0]!r}; there are {', '.join(ATLAS_KINDS)}.")
    place = "nilearn's own data folder" if root is None else str(root / "atlases")
    print(f"{', '.join(chosen)}: a label image and a table of names each, through nilearn, into {place}.")
    if dry_run:
        return
    for kind in chosen:
        try:
            files = fetch_atlas(kind, None if root is None else root / "atlases")
        except OSError as error:
            _end(1, f"{kind} can't be had: {error}")
        for file in files:
            print(f"{kind}: {file}")
    if root is not None:
        print(f"To have them found by name, set NILEARN_DATA={root / 'atlases'}")


def _end(code: int, message: str) -> NoReturn:
    print(f"nfas data get: {message}", file=sys.stderr)
    raise SystemExit(code)
