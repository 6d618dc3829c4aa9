"""Which scores stand for a model that was scored on several subjects."""

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.results import (
    COLUMNS,
    LIMITS,
    ModelResult,
    subject_scores,
)
from tests.helpers.results import model_result


def subjects_table():
    """Scores of `many` (three subjects), `grouped` (group and two), `alone` (one subject)."""
    generator = np.random.default_rng(0)
    whose = {"many": ["c", "a", "b"], "grouped": ["group", "a", "b"], "alone": ["a"]}
    rows = [
        {
            **dict.fromkeys(COLUMNS["scores"], ""),
            "score": "alone",
            **{"model": model, "subject": subject, "feature": feature, "roi": roi},
            **dict(zip(("r", "r2", "p", "q", "ceiling"), generator.random(5), strict=True)),
            **{"n_volumes": 30, "simulated": False, "above_ceiling": False},
            **dict.fromkeys(LIMITS, 0.1),
        }
        for model, subjects in whose.items()
        for subject in subjects
        for feature in ("stable_mode", "last_block")
        for roi in ("V2", "V1", "IT")
    ]
    return pd.DataFrame(rows)


def test_subjects_are_averaged_only_where_there_is_no_group_and_more_than_one():
    scores = subjects_table()
    scores.loc[0, ["r", "r2"]] = np.nan  # of one subject at one ROI
    shown = subject_scores(scores)
    assert list(shown) == list(scores)
    assert list(shown["model"].unique()) == ["many", "grouped", "alone"]
    assert not shown.duplicated(["model", "feature", "roi"]).any()
    for model, subject in (("grouped", "group"), ("alone", "a")):
        rows = scores[(scores["model"] == model) & (scores["subject"] == subject)]
        own = shown[shown["model"] == model]
        pd.testing.assert_frame_equal(own.reset_index(drop=True), rows.reset_index(drop=True))
    many = shown[shown["model"] == "many"].set_index(["feature", "roi"])
    assert set(many["subject"]) == {"mean"}
    assert many[["p", "q", *LIMITS]].isna().all(axis=None)
    assert many["above_ceiling"].tolist() == (many["r"] > many["ceiling"]).tolist()
    assert (many["n_volumes"] == 30).all()
    values = ["r", "r2", "ceiling"]
    expected = scores[scores["model"] == "many"].groupby(["feature", "roi"])[values].mean()
    pd.testing.assert_frame_equal(many.loc[expected.index, values], expected)
    pd.testing.assert_frame_equal(subject_scores(shown), shown)
    shuffled = subject_scores(scores.sample(frac=1, random_state=0))
    columns = ["model", "subject", "feature", "roi", *values]
    pd.testing.assert_frame_equal(
        shuffled[columns].sort_values(columns[:4], ignore_index=True),
        shown[columns].sort_values(columns[:4], ignore_index=True),
    )


def test_a_subject_is_chosen_by_name_and_must_be_there():
    scores = subjects_table()
    pd.testing.assert_frame_equal(subject_scores(scores, "a"), scores[scores["subject"] == "a"])
    with pytest.raises(ValueError, match=r"one of the table's \['a', 'b', 'c', 'group'\], got 'z'.*the mean"):
        subject_scores(scores, "z")
    with pytest.raises(
        ValueError, match=r"got 'group', which 2 of 3 models lack, such as \['alone', 'many'\]"
    ):
        subject_scores(scores, "group")
    with pytest.raises(ValueError, match="without a column 'subject'"):
        subject_scores(scores.drop(columns="subject"), "a")


def test_a_result_of_single_subjects_prints_their_mean():
    scores = subjects_table().query("model == 'many'")
    good = model_result()
    text = repr(ModelResult(scores, good.spectra, good.depth, good.card))
    r = scores.query("feature == 'stable_mode'")["r"].mean()
    assert f"mean r {r:.3f} of stable_mode over 3 ROIs" in text
