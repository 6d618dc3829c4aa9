"""Help reads well, and names every class that a config may name."""

import contextlib
from importlib import import_module
from inspect import isabstract

import pytest
import pytorch_lightning as pl

import nfas_lightning.cli.main
from nfas_lightning.cli import main
from nfas_lightning.cli.help import classes
from nfas_lightning.cli.messages import EXIT_CODES, summary
from nfas_lightning.cli.process import run


def test_help_names_every_class_that_a_config_may_name(capsys):
    bases = {
        "models": pl.LightningModule,
        "datamodules": pl.LightningDataModule,
        "callbacks": pl.Callback,
    }
    run(["predict", "--help"])
    page = capsys.readouterr().out
    named = classes()
    assert set(named) == set(bases)
    for name, base in bases.items():
        package = import_module(f"nfas_lightning.{name}")
        kinds = [getattr(package, exported) for exported in package.__all__]
        kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, base)]
        kinds = [kind for kind in kinds if not isabstract(kind) and not summary(kind).startswith("Base of ")]
        assert {kind.__name__: kind.__module__ for kind in kinds} == named[name]
        for kind in kinds:
            (line,) = (line for line in page.splitlines() if line.startswith(f"  {kind.__name__} "))
            assert summary(kind).startswith(line.split(maxsplit=1)[1].removesuffix(" ..."))


def test_help_and_versions_return_0_and_read_well(capsys):
    assert run(["test", "--help"]) == 0
    page = capsys.readouterr().out
    assert len(page.splitlines()) < 70
    for wanted in ("ModelSuite", "SimulatedBrainDataModule", "DepthTrajectory", "--print_config", "--debug"):
        assert wanted in page
    assert "BrainDataModule  " not in page.replace("SimulatedBrainDataModule", "")  # a base can't be named
    assert max(map(len, page.splitlines())) <= 112
    assert run(["help", "ScoreWriter"]) == 0
    assert "run_dir        folder of the run" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"nfas-lightning {nfas_lightning.__version__}\n")
    assert run(["--help"]) == 0
    usage = capsys.readouterr().out
    for code in EXIT_CODES:
        assert f" {code} " in usage


def test_help_and_models_read_well(capsys):
    main([])
    assert "nfas demo" in capsys.readouterr().out
    main(["models", "list"])
    assert "minilm_l6" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["sweep"], ["models"], ["models", "info"], ["test"]])
def test_help_on_a_command_is_its_own_help(words, capsys):
    pages = []
    for args in (["help", *words], [*words, "--help"]):
        with contextlib.suppress(SystemExit):  # a parser's help ends the process, a page does not
            main(args)
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert f"nfas {words[0]}" in pages[0]
