import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.table import Column, Table

import nfas_lightning
import nfas_lightning.callbacks
from nfas_lightning import terminal
from nfas_lightning.terminal import doing, heartbeat, stdout_console


def test_a_pipe_is_as_wide_as_asked_and_a_terminal_as_it_is(monkeypatch):
    assert stdout_console().width == 110
    assert stdout_console(160).width == 160
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert stdout_console(160).width == Console().width


@pytest.mark.parametrize("package", [nfas_lightning, nfas_lightning.callbacks])
def test_names_that_are_imported_on_first_use_are_listed(package):
    assert set(package.__all__) <= set(dir(package))


def wide_table():
    columns = [Column(f"column {i}", justify="right", no_wrap=True) for i in range(8)]
    table = Table(Column("model", no_wrap=True), *columns, caption="one caption")
    table.add_row("a_model_of_some_length", *(f"0.12345{i}" for i in range(8)))
    return table


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_leaves_out_columns_and_never_digits(capsys, width):
    stdout_console(width).print(wide_table())
    out = capsys.readouterr().out
    kept = [i for i in range(8) if f"0.12345{i}" in out]
    assert max(map(len, out.splitlines())) <= width
    assert "a_model_of_some_length" in out
    assert "…" not in out
    assert kept == list(range(len(kept)))
    assert len(kept) == {40: 1, 80: 4, 200: 8}[width]
    told = " ".join(out.split())
    assert "one caption" in told
    assert ("40 columns leave no room for: column 1, column 2" in told) == (width == 40)
    assert ("leave no room" in told) == (width < 200)


def test_a_heartbeat_tells_what_goes_on_and_ends(capsys):
    with heartbeat(0.02), heartbeat(0.001), doing("reading"), doing(lambda: "the second half"):
        time.sleep(0.3)
    told = capsys.readouterr().err.splitlines()
    assert 2 <= len(told) <= 15  # the inner one says nothing
    assert {line.partition(" s: ")[2] for line in told} == {"reading, the second half"}
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_notebook_writes_over_its_line(capsys, monkeypatch):
    kernel = SimpleNamespace(is_terminal=False, is_jupyter=True)
    monkeypatch.setattr(terminal, "Console", lambda **options: kernel)
    with heartbeat(0.02), doing("model 1 of 2"):
        time.sleep(0.2)
    before, *lines = capsys.readouterr().err.split("\r")
    assert before == ""
    assert {line.rstrip().partition(" s: ")[2] for line in lines} == {"model 1 of 2"}
    assert lines[-1].endswith(" \n")
    assert len(lines) > 1
