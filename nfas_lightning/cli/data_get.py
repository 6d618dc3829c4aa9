"""What `nfas data get` says and asks while it downloads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from nfas_lightning.cli.messages import refuse
from nfas_lightning.datamodules.alice.alice_archives import alice_plan, convert_archives
from nfas_lightning.datamodules.alice.alice_release import convert_alice
from nfas_lightning.datamodules.catalogue import Plan
from nfas_lightning.datamodules.catalogue.atlas_source import ATLAS_KINDS, fetch_atlas
from nfas_lightning.datamodules.catalogue.download import Outcome, carry_out, room_for
from nfas_lightning.datamodules.catalogue.transfer import Client, TransferError
from nfas_lightning.terminal import stdout_console

__all__ = ["get_alice", "get_atlases", "get_files", "nothing_downloaded"]

_COMMAND = "nfas data get"
_SHOWN = 8
NOTHING = 3
"""Exit code: nothing was downloaded, and nothing failed."""


def nothing_downloaded(terms: str) -> NoReturn:
    """Say how a benchmark is had that is not downloaded from here, and end."""
    print(terms)
    raise SystemExit(NOTHING)


def get_files(
    name: str, planned: Callable[[Client], Plan], *, workers: int, dry_run: bool, yes: bool, by_hand: str = ""
) -> bool:
    """List, say the size, ask, download, and say what came of it.

    Args:
        name: of the benchmark.
        planned: asks the server what there is.
        workers: files at once.
        dry_run: stop after the size is said.
        yes: do not ask.
        by_hand: what to do where the server gives nothing.

    Returns:
        Whether all of it is here; anything else, but a dry run, ends the process.
    """
    client = Client()
    try:
        with Console(stderr=True).status(f"asking what there is of {name}"):
            plan = planned(client)
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
        _download(plan, client, workers)
    elif plan.obstructed:
        raise SystemExit(1)
    return True


def get_alice(
    folder: Path, source: Path | None, *, workers: int, dry_run: bool, yes: bool, by_hand: str
) -> None:
    """Bring Alice's archives, or take the release that `source` holds, and write what the benchmark reads."""
    if source is not None and dry_run:
        print(f"Would read the release in {source} and write roi_timeseries.npz and words.csv to {folder}.")
        return
    if source is None:

        def planned(client: Client) -> Plan:
            return alice_plan(folder, client)

        if not get_files("alice", planned, workers=workers, dry_run=dry_run, yes=yes, by_hand=by_hand):
            return
    try:
        listeners, notes = convert_archives(folder) if source is None else convert_alice(source, folder)
    except (OSError, ValueError) as error:
        refuse(_COMMAND, str(error), code=1)
    for subject, note in notes.items():
        print(f"{subject}{'' if subject in listeners else ' is left out'}: {note}", file=sys.stderr)
    print(f"{len(listeners)} listeners and the words are in {folder}. Next: nfas data check {folder}")


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
    stdout_console().print(table)
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


def _download(plan: Plan, client: Client, workers: int) -> None:
    try:
        outcome = carry_out(plan, client, workers=workers, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        said = f"{_COMMAND}: stopped. Finished files stay; the same command goes on from here."
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
            "goes on from here.",
            file=sys.stderr,
        )


def get_atlases(root: Path | None, kinds: Sequence[str] | None, *, dry_run: bool) -> None:
    """Fetch parcellations through nilearn."""
    chosen = ["schaefer400"] if kinds is None else list(kinds)
    if unknown := [kind for kind in chosen if kind not in ATLAS_KINDS]:
        refuse(_COMMAND, f"there is no atlas {unknown[0]!r}; there are {', '.join(ATLAS_KINDS)}.")
    place = "nilearn's own data folder" if root is None else str(root / "atlases")
    print(f"{', '.join(chosen)}: a label image and a table of names each, through nilearn, into {place}.")
    if dry_run:
        return
    for kind in chosen:
        try:
            files = fetch_atlas(kind, None if root is None else root / "atlases")
        except OSError as error:
            refuse(_COMMAND, f"{kind} can't be had: {error}", code=1)
        for file in files:
            print(f"{kind}: {file}")
    if root is not None:
        print(f"To have them found by name, set NILEARN_DATA={root / 'atlases'}")
