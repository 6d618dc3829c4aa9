"""The record of a training's evaluations, without a training."""

import pandas as pd
import pytest

from nfas_lightning.callbacks.curves import AlignmentCurves, summarize
from nfas_lightning.plotting.training import ALL_ROIS
from tests.helpers.results import model_result


def filled(folder, *steps):
    curves = AlignmentCurves(folder)
    curves.start(0)
    for step in steps:
        curves.add(model_result(), step=step, epoch=step // 10, moment="step")
    return curves


def test_means_are_those_of_the_rois():
    scores = model_result().scores
    table = summarize(scores).set_index(["feature", "network"])["r"]
    stable = scores[scores["feature"] == "stable_mode"]
    assert table["stable_mode", ALL_ROIS] == pytest.approx(stable["r"].mean())
    for network, own in stable.groupby("network"):
        assert table["stable_mode", network] == pytest.approx(own["r"].mean())


def test_a_table_has_every_evaluation_and_an_empty_one_its_columns():
    table = filled(None, 20, 10).table()
    assert table["step"].drop_duplicates().tolist() == [10, 20]
    assert table["epoch"].drop_duplicates().tolist() == [1, 2]
    assert list(table) == list(AlignmentCurves(None).table())


def test_a_resumed_training_forgets_what_came_after_its_checkpoint(tmp_path):
    whole = filled(tmp_path, 10, 20)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "curves.parquet"), whole.table())
    resumed = AlignmentCurves(tmp_path)
    resumed.start(15)
    assert resumed.table()["step"].unique().tolist() == [10]
    assert [path.name for path in (tmp_path / "alignment").iterdir()] == ["step-00000010.parquet"]


def test_another_training_is_refused(tmp_path):
    filled(tmp_path, 10)
    with pytest.raises(FileExistsError, match="the alignment curve of an earlier training: choose another"):
        AlignmentCurves(tmp_path).start(0)
