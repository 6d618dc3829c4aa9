"""The demo's whole path, smaller: real models, planted responses, the report."""

import numpy as np
import pytest

from nfas_lightning import NFAS
from nfas_lightning.demo import demo

MODELS = [
    "mobilenet_v2", "efficientnet_lite0", "xfeat",
    "silero_vad", "ge2e_voice_encoder", "nsnet2",
    "minilm_l6", "paraphrase_minilm_l3",
]  # fmt: skip

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return demo(run_dir=str(out), models=MODELS, n_stimuli=120, n_permutations=199, wandb=False), out


def stable(results):
    rows = results.scores.query("feature == 'stable_mode'")
    return rows.merge(results.rois[["roi", "driven_by", "integrative"]], on="roi")


def test_planted_rois_stand_above_the_rest(planted):
    scores = stable(planted[0])
    for modality in ("vision", "audio", "language"):
        own = scores.query("modality == @modality")
        driven = own[(own["driven_by"] == modality) | own["integrative"]]["r"].mean()
        other = own[(own["driven_by"] != modality) & ~own["integrative"]]["r"].mean()
        assert driven > 0.15, modality
        assert abs(other) < 0.05, modality


def test_integrative_rois_have_the_highest_convergence(planted):
    results = planted[0]
    space = NFAS.from_scores(results.scores, rois=results.rois)
    table = space.statistics().convergence.merge(results.rois[["roi", "integrative"]], on="roi")
    medians = table.groupby("integrative")["convergence"].median()
    assert medians[True] > medians[False] + 0.1
    # the share of integrative ROIs in the top, against their share overall
    top = table.nlargest(int(table["integrative"].sum()), "convergence")["integrative"].mean()
    assert top > 3 * table["integrative"].mean()


def test_modalities_are_told_apart(planted):
    results = planted[0]
    statistics = NFAS.from_scores(results.scores, rois=results.rois).statistics()
    assert statistics.permanova["p_value"] < 0.05
    assert statistics.silhouette["statistic"] > 0.2


def test_the_report_says_simulated(planted):
    results, out = planted
    assert results.simulated
    page = (out / "report.html").read_text()
    assert "simulated" in page.lower()
    assert list((out / "figures").glob("*.png"))
    assert "driven_by" in results.rois.columns


def test_nothing_is_found_where_nothing_is_planted(tmp_path):
    names = ["xfeat", "silero_vad", "paraphrase_minilm_l3"]
    options = {"n_stimuli": 120, "n_permutations": 199, "signal": "none", "wandb": False}
    results = demo(run_dir=str(tmp_path), models=names, processes=1, **options)
    scores = results.scores.query("feature == 'stable_mode'")
    assert abs(scores["r"].mean()) < 0.03
    assert 0.01 < (scores["p"] <= 0.05).mean() < 0.09
    assert (scores["q"] <= 0.05).mean() < 0.01
    assert np.isfinite(scores["r"]).all()


def test_unknown_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be packaged models, got \['resnet9000'\]"):
        demo(run_dir=str(tmp_path), models=["resnet9000"])
