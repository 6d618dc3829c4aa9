"""A job of a sweep."""

from nfas_lightning.sweep import read_sweep, work
from tests.helpers.sweeps import write


def test_a_worker_without_its_sweep_stops(folder, monkeypatch):
    sweep = read_sweep(write(folder, ("one", {})))
    monkeypatch.setenv(work.PARENT, "1")
    assert not work.run_job(sweep, sweep.cells)
    assert sweep.cells[0].status() == {"state": "waiting"}
