"""What each kind of logger is given."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from pytorch_lightning import loggers
from pytorch_lightning.loggers import CSVLogger

from nfas_lightning.callbacks.loggers import log_config, log_figure, log_run, log_scalars, log_table
from tests.helpers.results import make_modes, make_results
from tests.helpers.wandb_offline import read_runs


def figure():
    drawn = Figure()
    drawn.subplots().plot([0, 1])
    return drawn


def log_training(logger, steps):
    log_config([logger], {"settings": {"svd_rank": 2}})
    for step in steps:
        scalars = {"brain/mean_r2": step / 100, "brain/r2/Visual": step / 50, "brain/seconds": 1.0}
        log_scalars([logger], scalars, step)
    log_table([logger], "brain/scores", pd.DataFrame({"roi": ["V1"], "r2": [0.5]}), steps[-1])
    log_figure([logger], "brain/curves", figure(), steps[-1])


def test_a_csv_logger_gets_files_beside_its_metrics(tmp_path):
    logger = CSVLogger(str(tmp_path))
    log_training(logger, [5, 10])
    logger.save()
    assert pd.read_csv(f"{logger.log_dir}/metrics.csv")["step"].tolist() == [5, 10]
    assert "svd_rank: 2" in Path(logger.log_dir, "hparams.yaml").read_text()
    assert Path(logger.log_dir, "tables", "brain_scores-00000010.csv").read_text().split() == [
        "roi,r2",
        "V1,0.5",
    ]
    assert Path(logger.log_dir, "figures", "brain_curves-00000010.png").read_bytes()[:4] == b"\x89PNG"


def of_csv(logger):
    logger.save()
    rows = pd.read_csv(f"{logger.log_dir}/metrics.csv").set_index("step")
    return {key: list(rows[key].dropna().items()) for key in rows}


def of_board(logger):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger.save()
    events = accumulator.EventAccumulator(logger.log_dir, {"scalars": 0}).Reload()
    keys = set(events.Tags()["scalars"]) - {"hp_metric"}  # Lightning's, beside hyperparameters
    return {key: [(event.step, event.value) for event in events.Scalars(key)] for key in keys}


def of_mlflow(logger):
    keys = logger.experiment.get_run(logger.run_id).data.metrics
    history = logger.experiment.get_metric_history
    return {key: [(metric.step, metric.value) for metric in history(logger.run_id, key)] for key in keys}


@pytest.mark.parametrize(
    ("kind", "read"), [("CSVLogger", of_csv), ("TensorBoardLogger", of_board), ("MLFlowLogger", of_mlflow)]
)
def test_every_logger_holds_the_same_scalars(kind, read, tmp_path, monkeypatch):
    options = {"save_dir": str(tmp_path)}
    if kind == "MLFlowLogger":
        pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra test")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # another store needs a database
    logger = getattr(loggers, kind)(**options)
    log_training(logger, [5, 10])
    assert read(logger) == {
        "brain/mean_r2": [(5, pytest.approx(0.05)), (10, pytest.approx(0.1))],
        "brain/r2/Visual": [(5, pytest.approx(0.1)), (10, pytest.approx(0.2))],
        "brain/seconds": [(5, 1.0), (10, 1.0)],
    }


def test_modes_are_a_table_where_there_are_any(tmp_path):
    logger = CSVLogger(str(tmp_path))
    results = make_results(("vision",), n_models=1, n_rois=3)
    log_run([logger], results)
    tables = Path(logger.log_dir, "tables")
    assert not (tables / "nfas_modes.csv").exists()
    log_run([logger], replace(results, modes=make_modes(results)))
    assert len(pd.read_csv(tables / "nfas_modes.csv")) == 2 * 3


def test_wandb_knows_the_step_and_the_best_of_a_curve_and_a_run_is_resumed_by_its_id(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from pytorch_lightning.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    wandb.teardown()  # forgets what an earlier test made it read from the environment
    for steps in ([5, 10], [15, 20]):
        log_training(WandbLogger(project="p", save_dir=str(tmp_path), id="training1"), steps)
        wandb.finish()
        wandb.teardown()  # waits until everything is on the disk
    first, second = read_runs(tmp_path)
    assert {first.run["run_id"], second.run["run_id"]} == {"training1"}
    assert first.series("brain/mean_r2") + second.series("brain/mean_r2") == [
        (5, 0.05), (10, 0.1), (15, 0.15), (20, 0.2)
    ]  # fmt: skip
    for found in (first, second):
        step = "trainer/global_step"
        assert found.metrics["brain/mean_r2"] == {"step": step, "summary": {"max", "last"}}
        assert found.metrics["brain/r2/Visual"] == {"step": step, "summary": {"max", "last"}}
        assert found.metrics["brain/seconds"] == {"step": step, "summary": {"last"}}
        assert found.config["settings"] == {"svd_rank": 2}
        assert found.table("brain/scores") == (["roi", "r2"], [["V1", 0.5]])
        assert [path.read_bytes()[:4] for path in found.media("brain/curves")] == [b"\x89PNG"]
