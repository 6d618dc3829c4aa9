"""Every slip in a config is one message with the nearest names and exit code 2; nothing is run."""

import re
from enum import Enum
from typing import Any, Literal, NotRequired, TypedDict

import pytest
import pytorch_lightning.cli  # with its own ReduceLROnPlateau, as in `nfas fit`
import torch
import yaml

from nfas_lightning.cli import main
from nfas_lightning.cli.check_config import ConfigError, check_arguments, check_lightning
from tests.helpers.command_line import GOOD, TEXT, refused


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("trainer:", "trainner:", "unknown key 'trainner'. Did you mean 'trainer'?"),
        ("callbacks:", "callback:", "SuiteTrainer has no option 'callback'. Did you mean 'callbacks'"),
        ("ModelSuite", "ModelSuit", "model: there is no class 'ModelSuit'. Did you mean 'ModelSuite'?"),
        ("DepthTrajectory", "DepthTrajectry", "trainer.callbacks: there is no class 'DepthTrajectry'."),
        (
            "DepthTrajectory",
            "nfas_lightning.callbacks.DepthTrajectry",
            "nfas_lightning.callbacks has no 'DepthTrajectry'. Did you mean 'DepthTrajectory'",
        ),
        ("DepthTrajectory", "nowhere.Callback", "there is no module 'nowhere'"),
        ("dtype:", "dtyp:", "DepthTrajectory has no option 'dtyp'. Did you mean 'dtype'?"),
        ("models:", "model:", "ModelSuite has no option 'model'. Did you mean 'models'?"),
        ("n_permutations", "n_perms", "trainer.callbacks.settings: ScoringSettings has no option 'n_perms'."),
        ("run_dir: run", "name: run", "ScoreWriter needs run_dir."),
        ("n_stimuli: 24", "n_stimuli: many", "data.n_stimuli: expected int, got 'many'."),
        ("n_stimuli: 24", "tr: fast", "nfas test: error: data.tr: expected float, got 'fast'."),
        ("logger: false", "max_epochs: ten", "trainer.max_epochs: expected int or null, got 'ten'."),
        ("logger: false", "logger: WandLogger", "there is no class 'WandLogger'. Did you mean 'WandbLogger'"),
        ("n_stimuli: 24", "modality: visoin", "got 'visoin'. Did you mean 'vision'?"),
        ("n_stimuli: 24", "batch_size: 0", "batch_size must be at least 1, got 0."),
        ("dtype: float32", "dtype: float31", "got 'float31'. Did you mean 'float32'"),
        ("timm:test_vit", "zoo:resnet51", "No model is called 'zoo:resnet51'. Try one of: zoo:resnet50"),
        ("timm:test_vit", "resnet51", "No model is called 'resnet51'. Try one of: zoo:resnet50"),
        ("timm:test_vit", "timm:test_vjt", "timm has no model 'test_vjt'. Similar names: test_vit"),
        ("timm:test_vit", "tim:test_vit", "Unknown source 'tim' in 'tim:test_vit'"),
    ],
)  # fmt: skip
def test_typos_in_a_config(capsys, tmp_path, right, wrong, message):
    assert right in TEXT
    assert message in refused(capsys, tmp_path, TEXT.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("import not_there", "No module named 'not_there'"), ("1 / 0", "ZeroDivisionError: division by zero")],
)
def test_a_module_whose_own_import_fails_is_named(capsys, tmp_path, monkeypatch, text, reason):
    name = f"mine_{len(reason)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    told = refused(capsys, tmp_path, TEXT.replace("DepthTrajectory", f"{name}.Recorder", 1))
    assert f"{name} cannot be imported: {reason}" in told
    with pytest.raises((SystemExit, ZeroDivisionError)):
        main(["help", f"{name}.Recorder"])
    assert (f"{name} cannot be imported: {reason}" in capsys.readouterr().err) == ("No module" in reason)


def test_typos_in_class_path_and_init_args(capsys, tmp_path):
    data = {**GOOD, "data": {"class_pth": "SimulatedBrainDataModule", "init_args": {"n_stimuli": 24}}}
    assert "Did you mean 'class_path'?" in refused(capsys, tmp_path, yaml.safe_dump(data))
    data = {**GOOD, "data": {"class_path": "SimulatedBrainDataModule", "init_arg": {"n_stimuli": 24}}}
    assert "Did you mean 'init_args'?" in refused(capsys, tmp_path, yaml.safe_dump(data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainr.devices", "2"], "unknown option '--trainr.devices'. Did you mean '--trainer.devices'"),
        (["--data.n_stimul", "3"], "has no option 'n_stimul'. Did you mean 'n_stimuli'?"),
        (["--ckpt_path", "net.ckpt"], "--ckpt_path: there is no file net.ckpt."),
    ],
)
def test_typos_on_the_command_line(capsys, tmp_path, options, message):
    assert message in refused(capsys, tmp_path, TEXT, *options)


class _Own:
    def __init__(self, n: int = 1):
        self.n = n


class _Color(Enum):
    RED = "r"


class _Record(TypedDict):
    size: int
    unit: NotRequired[str]


class _Form:
    """Annotations as users write them."""

    class Inner(_Own):
        pass

    def __init__(
        this,
        maybe: list[int] = None,  # noqa: RUF013 - the habit of many
        pair: tuple[int, str] = (1, "a"),
        grid: list[list[int]] | None = None,
        flag: bool | None = None,
        choice: Literal[1, True, "auto"] = 1,
        anything: Any = None,
        own: _Own = None,
        table: dict[str, float] | None = None,
        options: dict | None = None,
        color: _Color = _Color.RED,
        record: _Record | None = None,
        dtype: torch.dtype = torch.float32,
        rate: float | torch.Tensor = 0.1,
        **kwargs,
    ):
        this.given = kwargs.pop("popped", 3)


@pytest.mark.parametrize(
    "given",
    [
        {"maybe": None},
        {"maybe": "[1, 2]"},
        {"pair": [1, "a"]},
        {"grid": "[[1], [2]]"},
        {"flag": "off"},
        {"flag": "null"},
        {"choice": "1"},
        {"choice": "true"},
        {"anything": {"class_path": "nowhere.X"}},
        {"options": {"class_path": "nowhere.X"}},
        {"own": {"class_path": f"{__name__}._Form.Inner", "init_args": {"n": 2}}},
        {"own": {"class_path": f"{__name__}._own"}},
        {"table": "{a: 1}"},
        {"table": {"a": "1e-3"}},
        {"popped": 2},
        {"color": "RED"},
        {"record": {"size": 1}},
        {"record": "{size: 1, unit: mm}"},
        {"dtype": "torch.bfloat16"},
        {"rate": "1e-3"},
    ],
)
def test_what_the_parser_takes_passes(given):
    check_arguments(given, _Form, "data")


def _own() -> _Own:
    return _Own()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pair": [1]}, "data.pair: expected 2 values"),
        ({"pair": ["a", "b"]}, "data.pair: expected int, got 'a'"),
        ({"poped": 2}, "Did you mean 'popped'"),
        ({"own": {"class_path": f"{__name__}._Own", "init_args": [1]}}, "own.init_args: expected keys and"),
        ({"own": {"class_path": f"{__name__}._Own", "init_args": {"n": 3.0}}}, "expected int, got 3.0"),
        ({"color": "red"}, "data.color: expected one of 'RED', got 'red'. Did you mean 'RED'?"),
        ({"record": {"unit": "mm"}}, "data.record: _Record needs size. There are size, unit."),
        ({"record": {"size": 1, "units": "mm"}}, "_Record has no option 'units'. Did you mean 'unit'?"),
        ({"record": {"size": "big"}}, "data.record.size: expected int, got 'big'."),
        ({"record": 3}, "data.record: expected _Record or null, got 3."),
        ({"dtype": "float32"}, "expected a dtype by its module, got 'float32'. Did you mean 'torch.float32'"),
        ({"rate": "fast"}, "data.rate: expected float or Tensor, got 'fast'."),
    ],
)
def test_what_the_parser_refuses_is_one_line(given, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_arguments(given, _Form, "data")


def test_options_that_lightning_passes_on():
    from pytorch_lightning.loggers import TensorBoardLogger
    from pytorch_lightning.strategies import DDPStrategy

    check_arguments({"find_unused_parameters": True}, DDPStrategy, "trainer.strategy")
    check_arguments({"save_dir": "logs"}, TensorBoardLogger, "trainer.logger")


CLASSES = {
    "data": pytorch_lightning.LightningDataModule,
    "optimizer": torch.optim.Optimizer,
    "lr_scheduler": torch.optim.lr_scheduler.LRScheduler,
}
FLAGS = [f"--{name}" for name in (*CLASSES, "trainer")]


def check(words=(), *configs):
    check_lightning(words, configs, FLAGS, pytorch_lightning.Trainer, CLASSES, ["data"])


@pytest.mark.parametrize(
    "words",
    [
        ["--data.class_path=LightningDataModule", "--data.dict_kwargs.z=1"],
        ["--data", '{"class_path": "LightningDataModule"}'],
        ["--data=LightningDataModule", "--data.help"],
    ],
)
def test_words_of_the_command_line_that_name_no_option(words):
    check(words)


DATA = {"data": {"class_path": "LightningDataModule"}}


def test_an_optimizer_and_its_scheduler_pass_without_what_comes_later():
    check((), DATA)
    check(["--optimizer=SGD", "--lr_scheduler", "StepLR", "--lr_scheduler.step_size=1"], DATA)
    plateau = {"class_path": "ReduceLROnPlateau", "init_args": {"monitor": "loss"}}  # Lightning's own
    check((), DATA, {"optimizer": {"class_path": "torch.optim.Adam"}, "lr_scheduler": plateau})


@pytest.mark.parametrize(
    ("words", "config", "message"),
    [
        ([], {}, "data missing: give a config"),
        ([], {"data": {}}, "data: expected class_path and init_args, got nothing."),
        ([], {"optimizer": {"class_path": "Adm"}}, "optimizer: there is no class 'Adm'. Did you mean 'Adam"),
        (
            ["--optimizer=SGD", "--optimizer.lrr=1"],
            {},
            "optimizer: SGD has no option 'lrr'. Did you mean 'lr",
        ),
        ([], {"optimizer": {"class_path": "SGD", "init_args": {"lr": "fast"}}}, "optimizer.lr: expected"),
        (["--lr_scheduler", "SGD"], {}, "lr_scheduler: there is no class 'SGD'."),
    ],
)
def test_mistakes_in_classes(words, config, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(words, config if "data missing" in message else {**DATA, **config})
