"""The demo's whole path, smaller: real models, planted responses, the report."""

import numpy as np
import pytest

from nfas_lightning import NFAS
from nfas_lightning.demo import _loggers, demo

MODELS = [
    "mobilenet_v2", "xfeat",
    "silero_vad", "ge2e_voice_encoder", "nsnet2",
    "minilm_l6", "paraphrase_minilm_l3",
]  # fmt: skip

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return demo(run_dir=str(out), models=MODELS, n_stimuli=100, n_permutations=99), out


def scores_of(results, feature="stable_mode"):
    rows = results.scores.query("feature == @feature")
    return rows.merge(results.rois[["roi", "driven_by", "follows"]], on="roi")


def test_planted_rois_stand_above_the_rest(planted):
    scores = scores_of(planted[0])
    for modality in ("vision", "audio", "language"):
        own = scores.query("modality == @modality").groupby("driven_by")["r"].mean()
        assert own[modality] > 0.12, modality
        assert own["all"] > 0.08, modality
        # noise that regions of one network share does not average out: a tenth at most
        assert abs(own.drop([modality, "all"])).max() < 0.1, modality


def test_training_shows_where_meaning_was_planted(planted):
    trained, untrained = (scores_of(planted[0], name) for name in ("stable_mode", "random_weights"))
    gain = trained.set_index(["model", "roi"])["r"] - untrained.set_index(["model", "roi"])["r"]
    own = trained[trained["modality"] == trained["driven_by"]].set_index(["model", "roi"])
    by = gain[own.index].groupby(own["follows"]).mean()
    assert by["meaning"] > by["form"] + 0.02


def test_association_regions_have_the_highest_convergence(planted):
    results = planted[0]
    table = NFAS.from_scores(results).statistics().convergence.merge(results.rois, on="roi")
    medians = table.groupby("driven_by")["convergence"].median()
    assert medians.idxmax() == "all"


def test_modalities_are_told_apart_where_benchmarks_can_not_be(planted):
    statistics = NFAS.from_scores(planted[0]).statistics()
    assert statistics.design == "crossed"
    assert statistics.permanova["p_value"] < 0.05
    assert statistics.silhouette["statistic"] > 0.2
    assert statistics.controls["trained"].notna().all()


def test_the_report_says_simulated(planted):
    results, out = planted
    assert results.simulated
    page = (out / "report.html").read_text()
    assert "simulated" in page.lower()
    assert list((out / "figures").glob("*.png"))
    assert "driven_by" in results.rois.columns


def test_nothing_is_found_by_the_quick_demo_where_nothing_is_planted(tmp_path, capsys):
    results = demo(run_dir=str(tmp_path), quick=True, n_permutations=99, signal="none", processes=1)
    assert list(results.models["modality"]) == ["vision", "audio", "language"]
    assert not (tmp_path / "wandb").exists()  # only where it is asked for
    scores = results.scores.query("feature == 'stable_mode'")
    assert abs(scores["r"].mean()) < 0.03
    assert 0.01 < (scores["p"] <= 0.05).mean() < 0.09
    assert np.isfinite(scores["r"]).all()
    told = " ".join(capsys.readouterr().out.split())
    assert "3 pretrained models and their random twins, shown 80 pictures" in told
    assert "About a minute on two idle cores" in told


def test_a_recording_shows_when_blocks_predict(tmp_path, capsys):
    pytest.importorskip("mne")
    results = demo(run_dir=str(tmp_path), recording=True, models=["xfeat"], n_stimuli=60, n_permutations=39)
    assert results.simulated
    stable = results.lags.query("feature == 'stable_mode'").set_index("lag")
    assert stable.loc[0.08, "p_cluster"] < 0.05  # where form was planted
    assert stable.loc[:0.0, "p_cluster"].min() > 0.05  # nothing before the picture
    assert results.lags.query("feature == 'block'").groupby("layer").size().tolist() == [31] * 6
    assert results.depth["peak_lag"].between(0.04, 0.2).all()
    assert np.isfinite(results.models["lag_slope_p"]).all()
    assert {"lags.png", "topographies.png"} <= {path.name for path in (tmp_path / "figures").iterdir()}
    assert "simulated" in (tmp_path / "report.html").read_text().lower()
    assert "60 pictures while sensors record" in " ".join(capsys.readouterr().out.split())


def test_weights_and_biases_stays_offline_where_somebody_is_logged_in(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    (logger,) = _loggers(str(tmp_path))
    assert logger._offline


def test_unknown_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n_stimuli must be at least 1, got 0"):
        demo(run_dir=str(tmp_path), quick=True, n_stimuli=0)
    with pytest.raises(ValueError, match=r"must be packaged models, got \['resnet9000'\]"):
        demo(run_dir=str(tmp_path), models=["resnet9000"])
