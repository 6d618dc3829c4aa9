from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from nfas_lightning.plotting import report_data as module
from nfas_lightning.plotting.brain import hemisphere
from nfas_lightning.plotting.report_data import report_data
from nfas_lightning.results import FEATURES, compare_models
from nfas_lightning.space import NFAS
from tests.helpers.results import make_draws, make_results, make_statistics


@pytest.fixture(scope="module")
def results():
    return make_results(n_models=3, n_rois=30, score="partial")


@pytest.fixture(scope="module")
def statistics(results):
    return NFAS.from_scores(results).statistics(n_permutations=9)


@pytest.fixture(scope="module")
def data(results, statistics):
    return report_data(results, statistics)


def _matrix(data, key, value="r2"):
    return np.array(data["scores"][key][value], dtype=float)


def test_scores_are_those_of_the_table_in_its_order(data, results):
    names = [model["model"] for model in data["models"]]
    rois = [roi["roi"] for roi in data["rois"]]
    assert [number["id"] for number in data["numbers"]] == ["partial", "alone", "joint"]
    assert data["start"]["number"] == "partial"
    for number, column in (("alone", "r"), ("partial", "r_partial")):
        part = results.scores.query("feature == 'last_block'").pivot_table(
            index="model", columns="roi", values=column
        )
        found = _matrix(data, f"last_block {number}", "r")
        np.testing.assert_allclose(found, part.loc[names, rois], atol=6e-5)
    assert "nuisance partial" in data["scores"]  # what the run reports of it: what it predicts alone
    assert "nuisance joint" not in data["scores"]


def test_places_are_pca_and_scaling_of_the_scores(data, statistics):
    own = data["spaces"]["stable_mode partial r2"]["level"]
    np.testing.assert_allclose(own["x"], statistics.coordinates["PC1"], atol=1e-5)
    scores = _matrix(data, "all_blocks alone", "r")
    found = data["spaces"]["all_blocks alone r"]
    expected = PCA(2).fit(scores)
    between = pdist(expected.transform(scores))
    np.testing.assert_allclose(pdist(np.c_[found["level"]["x"], found["level"]["y"]]), between, atol=1e-4)
    np.testing.assert_allclose(found["level"]["share"], expected.explained_variance_ratio_, atol=1e-4)
    pattern = (scores - scores.mean(1, keepdims=True)) / scores.std(1, ddof=1, keepdims=True)
    share = PCA(2).fit(pattern).explained_variance_ratio_
    np.testing.assert_allclose(found["pattern"]["share"], share, atol=1e-3)


def test_a_feature_that_is_the_same_everywhere_has_no_pattern(results, statistics):
    flat = results.scores["feature"] == "last_block"
    scores = results.scores.assign(r2=results.scores["r2"].mask(flat, 0.2))
    spaces = report_data(replace(results, scores=scores), statistics)["spaces"]
    assert "pattern" not in spaces["last_block alone r2"]


def test_missing_scores_are_none_and_stay_out_of_places(results, statistics):
    scores = results.scores.copy()
    lost = scores["roi"] == data_roi(results)
    scores.loc[lost, ["r", "r2", "q"]] = np.nan
    found = report_data(replace(results, scores=scores), statistics)
    table = found["scores"]["last_block alone"]["r2"]
    assert {row[0] for row in table} == {None}
    assert None not in found["spaces"]["last_block alone r2"]["level"]["x"]


def data_roi(results):
    return results.rois["roi"].iloc[0]


def test_dynamics_say_which_mode_is_stable(data, results):
    first = data["models"][0]["model"]
    part = results.depth[results.depth["model"] == first]
    assert data["depth"][0]["layer"] == part["layer"].tolist()
    np.testing.assert_allclose(data["depth"][0]["weight"], part["weight"], atol=1e-4)
    assert sorted(data["spectra"][0]["kind"]) == ["conjugate", "other", "stable"]


def test_vertices_belong_to_regions_near_them(data, results):
    surface = data["surface"]
    for side in ("left", "right"):
        owner = np.array(surface["sides"][side]["owner"])
        assert len(owner) == 10242
        own = np.flatnonzero(owner >= 0)
        at = results.rois[["x", "y", "z"]].to_numpy()[owner[own]]
        assert (np.linalg.norm(hemisphere(side).pial[own] - at, axis=1) <= 12).all()
    assert np.array(surface["faces"]).max() == 10241
    assert report_data(
        replace(results, rois=results.rois[["roi"]]), make_statistics(results)
    )["surface"] is None  # fmt: skip


def test_maps_are_of_regions_and_without_f(data, statistics):
    names = [shown["name"] for shown in data["maps"]]
    assert names[0] == "mean r² of the vision models"
    assert "where modalities differ: ANOVA, eta squared" in names
    eta = data["maps"][names.index("where modalities differ: ANOVA, eta squared")]
    np.testing.assert_allclose(eta["values"], statistics.anova["eta_squared"], atol=1e-4)
    assert eta["top"] == 1


def test_intervals_are_of_the_scores_that_are_shown_or_not_there(results, statistics):
    stable = results.scores.query("feature == 'stable_mode' and modality == 'vision'")
    draws = make_draws(stable.groupby("model")["r_partial"].mean().to_dict())  # of last_block they are others
    found = report_data(replace(results, draws=draws), statistics)
    assert list(found["intervals"]) == ["stable_mode partial r"]
    own = found["intervals"]["stable_mode partial r"]
    expected = compare_models(draws).means.set_index("model")
    for model, low, letters in zip(found["models"], own["low"], own["letters"], strict=True):
        if model["modality"] == "vision":
            assert low == pytest.approx(expected.loc[model["model"], "low"], abs=1e-4)
            assert letters == expected.loc[model["model"], "letters"]
        else:
            assert low is letters is None


def test_a_large_page_leaves_out_what_is_asked_for_least(results, statistics, monkeypatch):
    monkeypatch.setattr(module, "_MOST_CELLS", 9 * 30 * 3)
    kept = list(report_data(results, statistics)["scores"])
    assert kept == [f"{name} partial" for name in list(FEATURES)[:3]]


def test_a_model_keeps_its_card_and_its_group(data, results):
    card = results.models.set_index("model").loc[data["models"][0]["model"]]
    assert data["models"][0]["parameters"] == card["parameters"]
    assert data["models"][0]["family"] == card["family"]
    assert set(data["groups"]) == {"vision", "audio", "language"}
    assert data["groups"]["vision"] == {"color": "#0072b2", "symbol": "circle"}
    assert not pd.isna(data["models"][0]["silhouette"])
