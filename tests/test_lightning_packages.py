"""`pytorch_lightning` and `lightning.pytorch`: side by side, alone, and which releases are not imported."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from nfas_lightning.callbacks import BrainAlignment, DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.lightning_packages import _own_package, installed_packages
from tests.helpers.training import QUICK, RAW, assert_same_training, brain, train

PACKAGES = ("pytorch_lightning", "lightning.pytorch")
ROOT = Path(__file__).parents[1]


def test_both_are_installed_here():
    assert [package.__name__ for package in installed_packages()] == list(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("kind", [BrainAlignment, DepthTrajectory, ScoreWriter, ArrayDataModule])
def test_classes_belong_to_both(package, kind):
    pl = import_module(package)
    assert issubclass(kind, pl.LightningDataModule if kind is ArrayDataModule else pl.Callback)


@pytest.mark.parametrize("package", PACKAGES)
def test_either_trainer_takes_them_and_trains_the_same(package, tmp_path):
    loggers = import_module(f"{package}.loggers")
    callback, depth = (
        BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW),
        DepthTrajectory(),
    )
    options = {"package": package, "validate": True}
    plain = train(logger=loggers.CSVLogger(tmp_path, "plain"), **options)
    logger = loggers.CSVLogger(tmp_path, "watched")
    watched = train(callback, depth, logger=logger, **options)
    assert_same_training(plain, watched)
    assert sorted(callback.curves["step"].unique()) == [6, 12]
    assert len(depth.trajectory.stimulus_ids) == 12
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert table["brain/mean_r2"].notna().sum() == 2
    assert len(list(Path(logger.log_dir).glob("figures/brain_curves-*.png"))) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_one_callback_is_taken_without_a_list(package):
    callback = BrainAlignment(brain(), preprocess=RAW)
    trainer = import_module(package).Trainer(
        callbacks=callback, logger=False, enable_checkpointing=False, accelerator="cpu"
    )
    assert callback in trainer.callbacks


ALONE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):  # as if the package had not been installed
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
sys.path.insert(0, {root!r})
"""


def run(code, absent):
    return subprocess.run(
        [sys.executable, "-c", ALONE.format(absent=absent, root=str(ROOT)) + code],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("package", "absent"), [PACKAGES, PACKAGES[::-1]])
def test_the_one_that_is_not_installed_is_not_needed(package, absent):
    absent = absent.partition(".")[0]
    done = run(
        f"""
from tests.helpers.training import *
from nfas_lightning.callbacks import BrainAlignment, DepthTrajectory
from nfas_lightning.models import FrozenModel
from importlib import import_module
callback = BrainAlignment(brain(), settings=QUICK, on_error="raise", preprocess=RAW)
module, trainer = train(callback, DepthTrajectory(), package={package!r}, validate=True, epochs=1)
assert len(callback.curves) > 0
assert {absent!r} not in sys.modules
frozen = FrozenModel(module.model)
depth = DepthTrajectory()
import_module({package!r}).Trainer(
    callbacks=[depth], logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False
).test(frozen, datamodule=brain(), verbose=False)
assert len(depth.trajectory.stimulus_ids) == 60
""",
        {absent},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_suites_are_tested_by_the_package_that_was_imported_before(tmp_path):
    package = "lightning.pytorch"  # the other one is what every test of suites here runs
    done = run(
        f"""
import {package}
from tests.helpers.training import *
from nfas_lightning import score_models
from nfas_lightning.runner import SuiteTrainer
from {package}.loggers import CSVLogger
assert issubclass(SuiteTrainer, {package}.Trainer)
net = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in range(4)])
logger = CSVLogger({str(tmp_path)!r})
folder = {str(tmp_path / "run")!r}
results = score_models(net, brain(), folder, settings=QUICK, report=False, loggers=[logger])
assert {{"stable_mode", "random_weights"}} <= set(results.scores["feature"])
""",
        set(),
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_module_belongs_to_the_package_that_was_imported_before(monkeypatch):
    assert _own_package().__name__ == "pytorch_lightning"
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    assert _own_package().__name__ == "lightning.pytorch"


def test_without_either_there_is_one_clear_error():
    done = run("import nfas_lightning.lightning_packages", {"lightning", "pytorch_lightning"})
    told = "nfas-lightning needs pytorch-lightning (or lightning): pip install it."
    assert f"MissingPackageError: {told}" in done.stderr


def test_malicious_releases_are_not_imported(tmp_path):
    package = tmp_path / "lightning"
    package.mkdir()
    (package / "__init__.py").write_text("print('the payload ran')")
    info = tmp_path / "lightning-2.6.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.2\n")
    code = f"sys.path.insert(0, {str(tmp_path)!r}); import nfas_lightning.lightning_packages"
    done = run(code, {"pytorch_lightning"})
    assert "lightning 2.6.2 is a malicious release and was not imported" in done.stderr
    assert "MissingPackageError: nfas-lightning needs pytorch-lightning" in done.stderr
    assert "payload" not in done.stdout
