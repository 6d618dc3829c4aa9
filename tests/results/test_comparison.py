"""A feature against its baselines: which networks, ROIs and data sets count, and how."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nfas_lightning.results import MEASURED, SIMULATED, RunResults, compare_features
from tests.helpers.results import make_results


@pytest.fixture
def results():
    made = make_results(("audio",), n_models=5, n_rois=8, simulated=False, score="alone")
    return replace(made, models=made.models.assign(dataset="audio-story"))


def by_hand(results, baseline, column="r"):
    """Difference of each network's means over ROIs."""
    wide = results.scores.pivot_table(index=["model", "roi"], columns="feature", values=column)
    difference = (wide["stable_mode"] - wide[baseline]).dropna()
    return difference.groupby("model").mean().to_numpy()


@pytest.mark.parametrize("column", ["r", "r2"])
def test_equals_scipy(results, column):
    table = compare_features(results.scores, value=column).set_index("baseline")
    assert list(table.index) == [
        "last_block", "best_block", "mean_depth", "all_blocks", "random_weights", "nuisance",
    ]  # fmt: skip
    for baseline, row in table.iterrows():
        d = by_hand(results, baseline, column)
        interval = stats.ttest_1samp(d, 0).confidence_interval()
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((d.mean(), *interval))
        flips = stats.permutation_test(
            (d, 0 * d), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert row["p_value"] == pytest.approx(flips.pvalue)
        assert row["ahead"] == (d > 0).sum()
        assert row["n_models"] == 5
        assert row["n_rois"] == 8
        assert row["feature_mean"] - row["baseline_mean"] == pytest.approx(row["difference"])
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"]))


def test_rois_count_where_both_features_have_them(results):
    scores = results.scores.copy()
    lost = (scores["feature"] == "last_block") & (scores["roi"] == scores["roi"].iloc[0])
    scores.loc[lost, "r"] = np.nan
    gone = (scores["feature"] == "all_blocks") & (scores["model"] == "whisper_base")
    scores.loc[gone, "r"] = np.nan
    partly = replace(results, scores=scores)
    table = compare_features(partly.scores).set_index("baseline")
    assert table.loc["last_block", "n_rois"] == 7
    assert table.loc["last_block", "difference"] == pytest.approx(by_hand(partly, "last_block").mean())
    assert table.loc["all_blocks", "n_models"] == 4
    assert table.loc["all_blocks", "difference"] == pytest.approx(by_hand(partly, "all_blocks").mean())
    assert table.loc["mean_depth", "n_models"] == 5


def test_a_network_counts_once_over_all_data_sets(results):
    """Two of five networks are scored on a second data set too: five units, not seven."""
    shared = results.models["model"].tolist()[:2]
    second = results.select(f"model in {shared}")
    scores = second.scores.assign(dataset="second", r=second.scores["r"] * 0.5)
    models = second.models.assign(dataset="second")
    table = compare_features(
        RunResults.concatenate([results, replace(second, scores=scores, models=models)]).scores
    ).set_index(["dataset", "baseline"])
    d = by_hand(results, "last_block")
    names = sorted(results.models["model"])
    pooled = [x * (0.75 if name in shared else 1) for name, x in zip(names, d, strict=True)]
    row = table.loc[(MEASURED, "last_block")]
    assert row["n_models"] == 5
    assert row["difference"] == pytest.approx(np.mean(pooled))
    assert (row["low"], row["high"]) == pytest.approx(
        tuple(stats.ttest_1samp(pooled, 0).confidence_interval())
    )
    assert table.loc[("second", "last_block"), "n_models"] == 2


def test_planted_responses_are_taken_together_apart(results):
    planted = make_results(("vision", "language"), n_models=3, n_rois=5, score="alone")
    table = compare_features(RunResults.concatenate([results, planted]).scores)
    datasets = ["audio-story", "simulated-vision", "simulated-language", SIMULATED]  # one measured set is all
    assert list(table["dataset"].unique()) == datasets
    assert table.groupby("dataset")["simulated"].all().to_dict() == {
        name: name != "audio-story" for name in datasets
    }


def test_one_network_has_a_difference_and_no_test(results):
    one = compare_features(results.select("model == 'silero_vad'").scores)
    assert one[["low", "high", "p_value", "q_value"]].isna().all(axis=None)
    assert one["difference"].notna().all()


@pytest.mark.parametrize(("score", "column"), [("joint", "r_joint"), ("partial", "r_partial"), (None, "r")])
def test_one_of_three_numbers_is_compared(results, score, column):
    table = compare_features(results.scores, score=score).set_index("baseline")
    d = by_hand(results, "last_block", column)
    assert table.loc["last_block", "difference"] == pytest.approx(d.mean())
    # what the nuisances add to themselves is no number
    assert ("nuisance" in table.index) == (score != "partial")


def test_nothing_to_compare(results):
    alone = results.scores.query("feature == 'stable_mode'")
    with pytest.raises(ValueError, match="nothing to compare: score with baselines"):
        compare_features(alone)
