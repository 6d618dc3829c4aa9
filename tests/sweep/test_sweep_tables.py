"""What a sweep prints."""

from rich.console import Console

from nfas_lightning.sweep import read_sweep
from nfas_lightning.sweep.sweep_tables import cost_table, failure_table, not_estimated, plan_table
from tests.helpers.sweeps import write

ESTIMATE = {
    "parameters": 2e6,
    "n_blocks": 3,
    "trajectory_mb": 5.0,
    "memory_mb": 1200.0,
    "seconds_forward": 20.0,
    "seconds_scoring": 10.0,
}


def printed(table):
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_estimates_and_costs_stand_beside_each_other(folder):
    sweep = read_sweep(write(folder, ("one", {}), ("two", {})))
    one, two = sweep.cells
    one.keep_estimate(ESTIMATE)
    two.keep_estimate({"error": "no\n such   model"})
    one.say("done", seconds=40.0, peak_mb=1300.0)
    assert not_estimated(sweep.cells) == ["toy:two: no estimate: no such model"]
    plan = " ".join(printed(plan_table(sweep, sweep.cells)).split())
    for said in ("2.0 M", "1.2 GB", "20 s", "10 s", "30 to 90 s", "1 could not be estimated"):
        assert said in plan
    cost = printed(cost_table(sweep.cells))
    (row,) = [line for line in cost.splitlines() if " one " in line]
    assert row.split() == ["toy", "one", "done", "40", "s", "30", "s", "1.3", "GB", "1.2", "GB"]


def test_failures_are_listed_with_their_logs():
    failure = {"benchmark": "toy", "model": "[x]", "error": "word " * 100, "log": "runs/logs/1.log"}
    said = printed(failure_table([failure]))
    assert "[x]" in said
    assert "runs/logs/1.log" in said
    assert "…" in said
