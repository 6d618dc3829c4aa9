"""`nfas data get`: how the benchmarks get here, what is said of it, and what is asked first."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from nfas_lightning.cli.data import names
from nfas_lightning.cli.messages import refuse, say_loading
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks
from nfas_lightning.datamodules.catalogue.download import TransferError, carry_out, free_bytes
from nfas_lightning.datamodules.catalogue.source import Choice, LibrarySource, Plan, Source
from nfas_lightning.errors import nearest
from nfas_lightning.terminal import stdout_console

__all__ = ["get_data"]

_COMMAND = "nfas data get"
_SHOWN = 8
_NOTHING = 3  # exit code: nothing was downloaded, and nothing failed


def get_data(
    name: str,
    *,
    root: str | None = None,
    subjects: str | None = None,
    kinds: str | None = None,
    tasks: str | None = None,
    source: str | None = None,
    bucket: str | None = None,
    workers: int = 4,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Download a benchmark or parts of it, where its license allows; else say how to get it.

    The size is said first and has to be confirmed. After an interruption the same command fetches what is
    missing. Ends with code 0 if all that was asked for is here, 1 if something failed, 2 if the command line
    is wrong, 3 if nothing was downloaded: the terms forbid it, or you said no.

    Args:
        name: of `nfas data list`.
        root: folder that holds the benchmarks' folders; None: ``NFAS_DATA``.
        subjects: with commas between: ``001,002``, ``EN057``; ``EN`` stands for all who heard English.
        kinds: of files, with commas between: ``metadata,stimuli``. `nfas data list` names those of each
            benchmark.
        tasks: stories or languages, with commas between: ``pieman,tunnel``, ``lppEN``.
        source: for a benchmark whose files are converted, a folder that holds its unpacked archives: read
            them, download nothing.
        bucket: address of the bucket, e.g. of a mirror that answers as S3 does; None: the benchmark's own.
        workers: files at once.
        dry_run: say what would be downloaded, and stop.
        yes: do not ask.
    """
    known = benchmarks()
    if name not in known:
        there = f"{nearest(name, known)} There are {', '.join(known)}."
        refuse(_COMMAND, f"there is no benchmark {name!r}.{there}")
    benchmark = known[name]
    say_loading("PyTorch")
    files = benchmark.load("source")
    given = root or os.environ.get("NFAS_DATA")
    folder = benchmark.place(Path(given).expanduser()) if given else None
    chosen = names(kinds)
    if isinstance(files, LibrarySource):
        _get_from_library(files, folder, chosen, dry_run=dry_run)
        return
    if not benchmark.folder:
        print(benchmark.by_hand)
        raise SystemExit(_NOTHING)
    if folder is None:
        wanted = f"the folder that {benchmark.folder}/ lies in"
        refuse(_COMMAND, f"where to? Give --root, or set NFAS_DATA, to {wanted}.")
    by_hand, rest = (text.format(root=given, folder=folder) for text in (benchmark.by_hand, benchmark.rest))
    if files is None or set(files.by_hand) & set(chosen or ()):
        print(by_hand or rest)
        raise SystemExit(_NOTHING)
    if source is not None and not files.converts:
        refuse(_COMMAND, f"{name} has no archives to convert: leave --source out.")
    if source is not None:
        _convert(files, folder, Path(source).expanduser(), dry_run=dry_run)
        return
    choice = Choice(names(subjects), chosen, names(tasks), bucket)
    by_hand = by_hand or rest
    came = _get_files(name, files, folder, choice, workers=workers, dry_run=dry_run, yes=yes, by_hand=by_hand)
    if came and files.converts:
        _convert(files, folder, None, dry_run=False)
    elif came:
        print(f"All of it is in {folder}. Next: nfas data check {folder}")
    if rest:
        print(f"\n{rest}")


def _get_files(
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
    """List, say the size, ask, download, and say what came of it; False after a dry run."""
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
        raise SystemExit(_NOTHING)
    if plan.wanted:
        _download(plan, workers)
    elif plan.obstructed:
        raise SystemExit(1)
    return True


def _convert(source: Source, folder: Path, release: Path | None, *, dry_run: bool) -> None:
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
    print(
        f"{outcome.checksummed + outcome.sized:,} files came: MD5 compared for {outcome.checksummed:,}, size "
        f"alone for {outcome.sized:,} (the server gives no MD5 of those)."
    )
    for key, reason in list(outcome.failed.items())[:_SHOWN]:
        print(f"failed {key}: {reason}", file=sys.stderr)
    if outcome.failed or outcome.not_tried:
        counts = f"{len(outcome.failed):,} files failed, {outcome.not_tried:,} were not tried"
        print(f"{counts}: the same command fetches them.", file=sys.stderr)
    if outcome.failed or outcome.not_tried or plan.obstructed:
        raise SystemExit(1)


def _get_from_library(
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
