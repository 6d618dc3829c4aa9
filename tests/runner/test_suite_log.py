"""What is said of models that fail, and of warnings that several models share."""

import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel
from nfas_lightning.results import RunResults
from nfas_lightning.runner import FailedModelsError, score_models
from tests.helpers.suites import QUICK, ROIS, Net, Other, brain, images, spec


class Broken(Net):
    """A network whose forward pass fails once it is shown more than a probe."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 4:
            raise RuntimeError("shapes do not fit")
        return super().forward(x)


def unreachable(monkeypatch, name: str) -> None:
    load = FrozenModel.load

    def refuse(self):
        if self._arguments["name"] == name:
            raise OSError("the hub can't be reached")
        return load(self)

    monkeypatch.setattr(FrozenModel, "load", refuse)


def test_models_that_fail_do_not_cost_the_others_their_report(tmp_path, monkeypatch, capsys):
    unreachable(monkeypatch, "far")
    bad = [{"model": "timm:resnet18", "name": "far"}, spec(Broken(), name="bad")]
    told = r"2 of 4 models failed; the tables in .*\n  far: .*\n  bad: "
    with pytest.raises(FailedModelsError, match=told) as raised:
        score_models([*bad, spec(Net(seed=1)), spec(Other(12))], brain(), tmp_path, settings=QUICK)
    assert list(raised.value.errors) == ["far", "bad"]
    assert [type(error) for error in raised.value.errors.values()] == [OSError, RuntimeError]
    assert raised.value.__cause__ is raised.value.errors["far"]
    assert list(raised.value.results.models["model"]) == ["net", "other"]
    assert list(RunResults.load(tmp_path).models["model"]) == ["net", "other"]
    assert (tmp_path / "report.html").is_file()
    said = capsys.readouterr()
    for name in ("far", "bad"):
        assert said.out.count(f"✗ {name}") == 1  # at once, and not again for its random twin
    assert said.err.count("Traceback") == 1
    assert "shapes do not fit" in said.err  # with the place where it failed
    monkeypatch.undo()
    again = score_models(
        [spec(Net(seed=1)), spec(Other(12))], brain(), tmp_path, settings=QUICK, report=False
    )
    assert "net: found finished" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again.scores, raised.value.results.scores)


def test_one_model_that_fails_raises_its_own_error(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        score_models(spec(Broken()), brain(), tmp_path, settings=QUICK)
    unreachable(monkeypatch, "bad")
    with pytest.raises(OSError, match=r"^the hub can't be reached$"):
        score_models({"model": "timm:resnet18", "name": "bad"}, brain(), tmp_path, settings=QUICK)
    with pytest.raises(FailedModelsError, match=r"2 of 2 models failed\. Run it again") as raised:
        score_models(
            [{"model": "timm:resnet18", "name": "bad"}, spec(Broken())], brain(), tmp_path, settings=QUICK
        )
    assert raised.value.results is None


def test_what_is_wrong_with_the_benchmark_is_said_once(tmp_path, capsys):
    values = images().flatten(1)[:, :3].clone()
    values[:, 2] = 1.0  # an ROI that never changes
    data = ArrayDataModule(images(), values, rois=ROIS, dataset="toy", batch_size=16)
    models = [spec(Net(seed=1)), spec(Other(12)), spec(Net(seed=3), name="third")]
    with pytest.warns(UserWarning, match="1 of 3 ROIs score NaN") as warned:
        score_models(models, data, tmp_path, settings=QUICK, report=False)
    texts = [str(warning.message) for warning in warned if "1 of 3 ROIs score NaN" in str(warning.message)]
    assert len(texts) == 1
    assert "for 'net'" in texts[0]
    assert (
        "The same warning holds for other, third: 1 of 3 ROIs score NaN for this model"
        in capsys.readouterr().out
    )
