import sys

import pytest
from rich.console import Console

import nfas_lightning
import nfas_lightning.callbacks
from nfas_lightning.terminal import stdout_console


def test_a_pipe_is_as_wide_as_asked_and_a_terminal_as_it_is(monkeypatch):
    assert stdout_console().width == 110
    assert stdout_console(160).width == 160
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert stdout_console(160).width == Console().width


@pytest.mark.parametrize("package", [nfas_lightning, nfas_lightning.callbacks])
def test_names_that_are_imported_on_first_use_are_listed(package):
    assert set(package.__all__) <= set(dir(package))
