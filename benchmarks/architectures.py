"""What `layers="auto"` finds in every family of timm and every architecture of transformers.

One small untrained network for each: whether its blocks are found (or the error that says what to name), how
many there are, how far a batch of three is from three batches of one, and how many of the states that the
library itself returns (`forward_intermediates`, `output_hidden_states`) are among the recorded ones.

    python benchmarks/architectures.py --rows rows.jsonl

prints one line per network, and at the end the table of docs/capture.md with the reasons, grouped. It goes on
where an earlier run with the same file stopped; `--only timm --limit 20` runs a few.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from architecture_builds import Network, NotBuiltError, build, names
from torch import Tensor

from nfas_lightning.hooks import DepthRecorder

_TOLERANCE = 1e-3
_SECONDS = 90


def examine(name: str) -> dict[str, Any]:
    """Return one row of the table."""
    row: dict[str, Any] = {"name": name, "result": "", "depth": None, "apart": None, "agree": "", "note": ""}
    try:
        network = build(name)
    except NotBuiltError as error:
        return row | {"result": "not built", "note": str(error)}
    try:
        with torch.inference_mode():
            network.module(**network.kwargs)
    except Exception as error:  # noqa: BLE001 - one row of a table: the small network or its input is at fault
        return row | {"result": "not run", "note": f"{type(error).__name__}: {error}"[:160]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            recorder = DepthRecorder(network.module, network.layers)
            states = record(recorder, network, slice(None))
        except (ValueError, TypeError, RuntimeError) as error:
            return row | {"result": "error", "note": str(error)[:300]}
    ours = [str(w.message)[:200] for w in caught if "nfas_lightning" in str(w.filename)]
    row |= {"result": "found", "depth": len(states), "first": recorder.names[0], "last": recorder.names[-1]}
    row["note"] = " | ".join(ours)
    try:
        row["apart"] = batch_apart(recorder, network, states)
    except ValueError as error:  # some networks can't run on one stimulus of this size
        return row | {"result": "not run", "note": f"one stimulus alone: {error}"[:160]}
    row["agree"], row["missing"] = agreement(network, states)
    return row


def record(recorder: DepthRecorder, network: Network, rows: slice) -> list[Tensor]:
    with recorder, torch.inference_mode():
        network.module(**network.rows(rows))
        states = recorder.states
        recorder.collect(range(len(next(iter(network.rows(rows).values())))))  # a row for each stimulus
        recorder.clear()
        return states


def batch_apart(recorder: DepthRecorder, network: Network, states: list[Tensor]) -> float:
    """Largest difference between a batch and single stimuli, of the block's largest value."""
    alone = [record(recorder, network, slice(i, i + 1)) for i in range(len(states[0]))]
    single = [torch.cat(parts) for parts in zip(*alone, strict=True)]
    return max(distance(one, other) for one, other in zip(states, single, strict=True))


def distance(one: Tensor, other: Tensor) -> float:
    return (
        float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))
        if one.shape == other.shape
        else 9.0
    )


def agreement(network: Network, states: list[Tensor]) -> tuple[str, list[int]]:
    """How many of the library's own states were recorded, without the embedding and a normed last one."""
    try:
        with torch.inference_mode():
            own = network.own_states()
    except Exception as error:  # noqa: BLE001 - many networks have no such option
        return f"none ({type(error).__name__})", []
    if not own:
        return "none", []
    found = [any(is_mean(one, state) for state in states) for one in own]
    first = 0 if found[0] else 1  # the embedding, or a stem
    last = len(own) - 1 if not found[-1] else len(own)
    inside = range(first, last)
    missing = [i for i in inside if not found[i]]
    return f"{len(inside) - len(missing)} of {len(inside)}", missing


def is_mean(own: Tensor, state: Tensor) -> bool:
    """Whether a state is the mean of what the library returned over tokens or space."""
    if own.ndim < 3:
        return distance(state, own) < _TOLERANCE
    first, last = own.flatten(2).mean(2), own.flatten(1, -2).mean(1)
    turned = own.mean(0) if own.ndim == 3 else last
    return any(distance(state, mean) < _TOLERANCE for mean in (first, last, turned))


def _out_of_time(*_: Any) -> None:
    raise TimeoutError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names that contain this, e.g. 'timm', 'hf:swin'")
    parser.add_argument("--limit", type=int, default=0, help="at most so many; 0: all")
    parser.add_argument("--part", default="0/1", help="every n-th from the i-th, as i/n")
    parser.add_argument(
        "--rows", type=Path, help="a file of rows to go on with: names that it has are not run again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    wanted = [name for name in names() if options.only in name][part::parts]
    wanted = wanted[: options.limit or None]
    lines = options.rows.read_text().splitlines() if options.rows and options.rows.is_file() else []
    rows = {row["name"]: row for row in map(json.loads, lines)}
    signal.signal(signal.SIGALRM, _out_of_time)
    for name in wanted:
        if name in rows:
            continue
        signal.alarm(_SECONDS)
        try:
            rows[name] = examine(name)
        except TimeoutError:
            rows[name] = {"name": name, "result": "not run", "note": f"more than {_SECONDS} s"}
        except Exception as error:  # noqa: BLE001 - a row that tells of a fault of the recorder
            rows[name] = {"name": name, "result": "CRASH", "note": f"{type(error).__name__}: {error}"[:300]}
        signal.alarm(0)
        if options.rows:
            with options.rows.open("a") as file:
                file.write(json.dumps(rows[name]) + "\n")
        print(line(rows[name]), flush=True)
    print(summary(list(rows.values())))


def line(row: dict[str, Any]) -> str:
    apart = "" if row.get("apart") is None else f"{row['apart']:.1e}"
    cells = f"{row['name']:34s} {row['result']:9s} {row.get('depth') or '':>4} {apart:>8s}"
    return f"{cells} {row.get('agree', ''):12s} {row['note'][:150]}"


def summary(rows: list[dict[str, Any]]) -> str:
    """The table of docs/capture.md, and how often each reason came."""
    libraries = {"timm": "timm:", "transformers": "hf:"}
    groups = [[row for row in rows if row["name"].startswith(start)] for start in libraries.values()]
    lines = [
        ("", *libraries),
        ("families", *map(len, groups)),
        ("not built small", *(_count(group, "not built") for group in groups)),
        ("not run on a guessed input", *(_count(group, "not run") for group in groups)),
        ('found by `"auto"`', *(_count(group, "found") for group in groups)),
        ("an error that says what to name or give", *(_count(group, "error") for group in groups)),
        ("a fault of the recorder", *(_count(group, "CRASH") for group in groups)),
        ("largest difference between a batch and single stimuli", *map(_largest, groups)),
        ("all own states among the recorded ones", *map(_agreeing, groups)),
    ]
    table = ["| " + " | ".join(map(str, cells)) + " |" for cells in lines]
    reasons = Counter((row["result"], _reason(row)) for row in rows if row["result"] != "found")
    grouped = [f"{n:4d} {result:9s} {reason}" for (result, reason), n in reasons.most_common()]
    return "\n".join([table[0], "|---|---|---|", *table[1:], "", *grouped])


def _count(rows: list[dict[str, Any]], result: str) -> int:
    return sum(row["result"] == result for row in rows)


def _largest(rows: list[dict[str, Any]]) -> str:
    """The three largest differences, with the networks' names."""
    known = sorted((row for row in rows if row.get("apart") is not None), key=lambda row: -row["apart"])
    return ", ".join(f"{row['apart']:.1e} ({row['name']})" for row in known[:3])


def _agreeing(rows: list[dict[str, Any]]) -> str:
    pairs = [row["agree"].split(" of ") for row in rows if " of " in row.get("agree", "")]
    return f"{sum(found == wanted for found, wanted in pairs)} of {len(pairs)}"


def _reason(row: dict[str, Any]) -> str:
    """A note without its names and numbers, so that equal reasons count together."""
    return re.sub(r"'[^']*'", "'...'", re.sub(r"[0-9]+", "N", row["note"]))[:90]


if __name__ == "__main__":
    main()
