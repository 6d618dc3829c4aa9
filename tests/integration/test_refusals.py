"""What score_models refuses before any model runs, in one sentence that says what to do."""

import os

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel
from nfas_lightning.runner import score_models
from nfas_lightning.scoring import ScoringSettings

QUICK = ScoringSettings(n_permutations=0)
ROIS = ["V1", "V2", "IT"]


class Net(nn.Sequential):
    """Fails where it is run."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), *(nn.Linear(12, 12) for _ in range(3)))

    def forward(self, x):
        raise AssertionError("a model ran")


def blocks() -> dict[str, object]:
    """The same with its layers, which the plan asks for before it runs anything."""
    return {"model": Net(), "layers": ["1", "2", "3"]}


def images() -> torch.Tensor:
    return torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def brain(values: torch.Tensor | None = None) -> ArrayDataModule:
    return ArrayDataModule(
        images(), images().flatten(1)[:, :3] if values is None else values, rois=ROIS, dataset="toy"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acelerator": "cpu"}, "no argument 'acelerator': did you mean 'accelerator'?"),
        ({"setings": QUICK}, "no argument 'setings': did you mean 'settings'?"),
        ({"logger": True}, "no argument 'logger': did you mean 'loggers'?"),
        ({"xyzzy": 1}, r"no argument 'xyzzy'\. It takes models, datamodule, .* Lightning's Trainer"),
        ({"callbacks": []}, r"sets the Trainer's callbacks.*SuiteTrainer\(callbacks="),
        ({"loggers": True}, r"loggers must be a list of Lightning's loggers.*got True: leave it out"),
        ({"loggers": None}, "got None: leave it out"),
        ({"loggers": "wandb"}, "got 'wandb': leave it out"),
        ({"loggers": ["csv"]}, "got 'csv': leave it out"),
        ({"loggers": [CSVLogger]}, "got the class CSVLogger"),
        ({"loggers": CSVLogger("logs")}, "got one CSVLogger: put it into a list"),
    ],
)
def test_wrong_arguments_are_named_with_what_was_meant(tmp_path, options, message):
    with pytest.raises(TypeError, match=message):
        score_models(Net(), brain(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_path_that_is_none_is_refused():
    with pytest.raises(
        TypeError, match="run_dir must be the path of a folder, such as 'runs/mine', got None"
    ):
        score_models(Net(), brain(), None)


@pytest.mark.parametrize("below", [False, True])
def test_a_file_is_no_run_folder(tmp_path, below):
    (tmp_path / "taken").write_text("mine")
    folder = tmp_path / "taken" / "run" if below else tmp_path / "taken"
    expected = r"run_dir must be a folder that can be written, got '.*'.*taken' is no folder\. Choose"
    with pytest.raises(OSError, match=expected):
        score_models(Net(), brain(), folder, settings=QUICK)
    trainer = Trainer(
        callbacks=[DepthTrajectory(), ScoreWriter(str(folder))], logger=False, enable_checkpointing=False
    )
    with pytest.raises(OSError, match=expected):
        trainer.test(FrozenModel(Net(), layers=["1", "2", "3"]), datamodule=brain(), verbose=False)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"can be written, got .*Permission denied\. Choose"):
        score_models(Net(), brain(), tmp_path / "run", settings=QUICK)


def test_a_disk_that_takes_nothing_is_refused(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match=r"got '.*run': No space left on device\. Choose"):
        score_models(Net(), brain(), tmp_path / "run", settings=QUICK)


@pytest.mark.filterwarnings("ignore:responses hold")
@pytest.mark.parametrize("subjects", ["group", "each", "both"])
def test_responses_without_a_value_stop_the_run(tmp_path, subjects):
    settings = ScoringSettings(n_permutations=0, subjects=subjects)
    expected = (
        r"responses of 'toy'.*NaN throughout for 2 of 2 subjects \('sub-01', 'sub-02'\), at all 3 ROIs "
        r"\('V1', 'V2', 'IT'\)\. Look at how they were read"
    )
    with pytest.raises(ValueError, match=expected):
        score_models(Net(), brain(torch.full((2, 30, 3), torch.nan)), tmp_path, settings=settings)


def one_silent() -> ArrayDataModule:
    values = images().flatten(1)[:, :3].repeat(2, 1, 1)
    values[1] = torch.nan
    return brain(values)


@pytest.mark.filterwarnings("ignore:responses hold")
def test_a_subject_without_a_value_stops_the_run_where_it_is_scored_alone(tmp_path):
    with pytest.raises(
        ValueError, match=r"1 of 2 subjects \('sub-02'\).*subjects=\[\.\.\.\] of the datamodule"
    ):
        score_models(
            Net(), one_silent(), tmp_path, settings=ScoringSettings(n_permutations=0, subjects="each")
        )


@pytest.mark.filterwarnings("ignore:responses hold")
def test_a_subject_without_a_value_is_named_where_the_others_make_the_mean(tmp_path):
    with (
        pytest.warns(UserWarning, match=r"\('sub-02'\), who have no part in the group's mean"),
        pytest.raises(AssertionError, match="a model ran"),
    ):
        score_models(blocks(), one_silent(), tmp_path, settings=QUICK)


@pytest.mark.filterwarnings("ignore:responses hold")
def test_an_roi_without_a_value_goes_on(tmp_path):
    values = images().flatten(1)[:, :3].clone()
    values[:, 1] = torch.nan
    values[:4, 2] = torch.nan
    with pytest.raises(AssertionError, match="a model ran"):
        score_models(blocks(), brain(values), tmp_path, settings=QUICK)
