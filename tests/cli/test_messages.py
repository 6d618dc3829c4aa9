"""What the command says while it loads."""

import sys

import pytorch_lightning  # noqa: F401 - so that it is there

from nfas_lightning.cli.messages import say_loading


def test_a_terminal_hears_what_is_loading_and_a_pipe_does_not(capsys, monkeypatch):
    say_loading("Lightning")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say_loading("Lightning")  # loaded already
    assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    say_loading("Lightning")
    assert capsys.readouterr().err == "loading Lightning ...\n"
