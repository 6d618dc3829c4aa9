"""Depth meets time: planted latencies come back, noise has none, and rows by region and lag."""

import dataclasses

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import SimulatedRecordingDataModule
from nfas_lightning.functional import ridge_cv
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.results import RunFolder
from nfas_lightning.scoring import ScoringSettings, lag_scores, score_trajectory
from tests.helpers.scoring import CARD

SETTINGS = ScoringSettings(n_permutations=50, n_bootstrap=0)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lag_scores, "_DRAWS", 25)
        yield


def recording(signal):
    brain = SimulatedRecordingDataModule(
        n_stimuli=100, n_subjects=3, n_repetitions=4, montage="biosemi16", sfreq=50.0, image_size=32, snr=1.5,
        tmin=0.0, tmax=0.4, signal=signal, seed=1,
    )  # fmt: skip
    brain.setup()
    layers = tuple(LayerInfo(f"stage.{i}", i, "Stage", (4,), 4, "torch.float32") for i in range(3))
    return brain, Trajectory(brain.stages, layers, torch.arange(100))


@pytest.fixture(scope="module")
def planted():
    brain, track = recording("planted")
    return brain, track, score_trajectory(track, brain.responses, CARD, SETTINGS)


def test_latencies_come_back_within_ten_milliseconds(planted):
    brain, _, result = planted
    depth = result.depth
    assert depth["peak_lag"].tolist() == pytest.approx(brain.latencies, abs=0.010)
    assert (depth["peak_low"] < depth["peak_lag"]).all()
    assert (depth["peak_high"] > depth["peak_lag"]).all()
    assert result.card["lag_slope"] == pytest.approx(0.2, abs=0.02)
    assert result.card["lag_slope_p"] < 0.05
    lags = result.lags
    assert list(lags["feature"].unique()) == ["stable_mode", "block"]
    late = lags[(lags["layer"] == "stage.2") & np.isclose(lags["lag"], 0.28)].iloc[0]
    assert late["low"] < late["r"] < late["high"]
    assert late["p_cluster"] < 0.05
    assert lags.query("layer == 'stage.2' and lag < 0.1")["p_cluster"].min() > 0.05


def test_the_map_is_the_mean_over_channels_of_each_blocks_scores(planted):
    brain, track, result = planted
    block = ridge_cv(
        track.states[1], brain.responses.group_mean, selection="loo", scaling="common", warn=False
    )
    expected = block.r.view(16, 21).mean(0)
    found = result.lags.query("layer == 'stage.1'")["r"].to_numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_tables_carry_channel_lag_and_clusters(planted, tmp_path):
    brain, _, result = planted
    stable = result.scores.query("feature == 'stable_mode'").merge(brain.truth, on="roi")
    assert set(stable["channel"]) == set(brain.responses.lags.channels["channel"])
    significant = stable[stable["p_cluster"] < 0.05]
    assert len(significant) > 10
    assert significant["planted"].mean() > 0.9
    assert result.scores.query("feature == 'last_block'")["p_cluster"].isna().all()
    folder = RunFolder(tmp_path)
    folder.write("net", "key", result)
    run = folder.gather([("net", "key")], brain.responses.rois, {})
    assert len(run.lags) == len(result.lags)
    assert type(run).load(tmp_path).lags["r"].tolist() == pytest.approx(result.lags["r"].tolist())


def test_noise_has_no_latency():
    brain, track = recording("none")
    result = score_trajectory(track, brain.responses, CARD, SETTINGS)
    stable = result.scores.query("feature == 'stable_mode'")
    assert stable["p_cluster"].min() > 0.05
    assert stable["q"].min() > 0.05
    assert result.lags["p_cluster"].min() > 0.01
    assert result.card["lag_slope_p"] > 0.05


def test_regions_keep_their_lags_apart_and_missing_values_are_masked(planted):
    brain, track, _ = planted
    values = brain.responses.values.clone()
    values[0, :10] = float("nan")  # rejected epochs
    values[1, :, :21] = float("nan")  # a bad channel of one subject
    responses = dataclasses.replace(brain.responses, values=values)
    settings = dataclasses.replace(
        SETTINGS, regions="region", n_permutations=20, subjects="each", baselines=False
    )
    result = score_trajectory(track, responses, CARD, settings)
    rows = result.scores.query("subject == 'sim-03'").set_index("roi")
    assert len(rows) == brain.responses.lags.channels["region"].nunique() * 21
    members = list(brain.responses.rois.query("region == 'back middle' and lag == 0.1")["roi"])
    alone = score_trajectory(
        track, responses, CARD, dataclasses.replace(settings, regions=None, n_permutations=0)
    )
    expected = alone.scores.query("subject == 'sim-03'").set_index("roi").loc[members, "r"].mean()
    row = rows.loc["back middle@100ms"]
    assert (row["channel"], row["lag"]) == ("back middle", 0.1)
    assert row["r"] == pytest.approx(expected, abs=1e-6)
    assert row["p_cluster"] <= 1
    bad = alone.scores.query("subject == 'sim-02'")
    assert bad.groupby("channel")["r"].apply(lambda r: r.isna().all()).sum() == 1
    first = alone.scores.query("subject == 'sim-01'")
    assert (first["n_volumes"] == 90).all()
    assert set(result.lags["feature"]) == {"stable_mode"}
