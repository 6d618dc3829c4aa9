"""From the scores table of a run to the score matrix of a space, and what that refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.results import COLUMNS, RunResults
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results
from tests.helpers.space import scores_table, wide


def test_the_space_is_the_pivoted_table(space, plain):
    wide, labels = plain
    assert len(space) == 45
    np.testing.assert_array_equal(space.scores, wide.loc[space.models["model"], space.rois["roi"]])
    assert space.models["modality"].tolist() == labels[space.models["model"]].tolist()


def test_from_scores_joins_on_roi_id_and_not_on_position():
    table = scores_table()
    shuffled = table.sample(frac=1, random_state=0)
    for rows in (table, shuffled):
        space = NFAS.from_scores(rows)
        expected = wide(table).loc[space.models["model"], space.rois["roi"]]
        np.testing.assert_array_equal(space.scores, expected)
        assert (
            space.rois["network"] == "net" + (space.rois["roi"].str[3:].astype(int) % 2).astype(str)
        ).all()
        assert dict(zip(space.models["model"], space.models["modality"], strict=True))["m5"] == "vision"
    assert NFAS.from_scores(table, feature="last_block").scores.sum() == 0


def test_a_model_that_scores_nowhere_does_not_take_the_others_with_it():
    table = scores_table()
    table.loc[table["model"] == "m4", "r2"] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 6 models score NaN at every ROI and were left out: \['m4'\]"):
        space = NFAS.from_scores(table)
    assert list(space.models["model"]) == ["m0", "m1", "m2", "m3", "m5"]
    without = NFAS.from_scores(table[table["model"] != "m4"])
    torch.testing.assert_close(space.scores, without.scores)
    assert "m4" in space.statistics(n_permutations=19).notes[0]
    with (
        pytest.warns(UserWarning, match="8 of 8 ROIs lack"),
        pytest.raises(ValueError, match="No ROI has a finite score"),
    ):
        NFAS.from_scores(table.assign(r2=np.nan))


def test_axes_that_differ_are_an_error_or_an_intersection():
    table = scores_table()
    table = table[~((table["model"] == "m4") & table["roi"].isin(["roi2", "roi5"]))]
    with pytest.raises(
        ValueError, match=r"1 of 6 models lack some: 'm4' lacks 2 of 8 \('roi2', 'roi5'\).*the 6 ROIs"
    ):
        NFAS.from_scores(table)
    space = NFAS.from_scores(table, axis="intersection")
    assert space.rois["roi"].tolist() == ["roi0", "roi1", "roi3", "roi4", "roi6", "roi7"]
    assert space.notes == ("2 of 8 ROIs were not scored for every model and left out.",)
    assert space.statistics(n_permutations=9).notes[0] == space.notes[0]


def test_rois_with_a_missing_score_are_dropped_and_reported():
    table = scores_table()
    table.loc[(table["model"] == "m1") & (table["roi"] == "roi3"), "r2"] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 8 ROIs lack a finite score.*\['roi3'\]"):
        space = NFAS.from_scores(table)
    assert "roi3" not in space.rois["roi"].tolist()
    assert space.scores.isfinite().all()
    table["r2"] = np.nan
    with (
        pytest.warns(UserWarning, match="8 of 8"),
        pytest.raises(ValueError, match="No ROI has a finite score"),
    ):
        NFAS.from_scores(table)


def test_a_model_scored_twice_is_an_error():
    table = scores_table()
    with pytest.raises(ValueError, match="'m0' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, table]))
    with pytest.raises(
        ValueError, match=r"feature must be one of the table's \['last_block', 'stable_mode'\], got 'x'"
    ):
        NFAS.from_scores(table, feature="x")
    with pytest.raises(ValueError, match="value must be a column"):
        NFAS.from_scores(table, value="rho")


def test_the_value_that_was_asked_for_is_the_one_that_is_read():
    table = scores_table()
    table["r"] = np.random.default_rng(7).uniform(-1, 1, size=len(table))
    chosen = table[(table["feature"] == "stable_mode") & (table["subject"] == "s1")]
    space = NFAS.from_scores(table, value="r", subject="s1")
    expected = chosen.set_index(["model", "roi"])["r"].unstack()  # noqa: PD010  # the pivot is the oracle
    np.testing.assert_array_equal(space.scores, expected.loc[space.models["model"], space.rois["roi"]])
    assert repr(space).startswith("NFAS(6 models x 8 ROIs, r:")


def subjects_table():
    """Two subjects per model and no group: s2 is s1 with a shift that differs between ROIs."""
    table = scores_table()
    first = table[table["subject"] == "s1"]
    shift = first["roi"].str[3:].astype(int) / 100
    return pd.concat([first, first.assign(subject="s2", r2=first["r2"] + shift)], ignore_index=True)


def test_without_a_group_models_stand_at_the_mean_over_subjects():
    table = subjects_table()
    stable = table[table["feature"] == "stable_mode"]
    space = NFAS.from_scores(table)
    expected = stable.groupby(["model", "roi"])["r2"].mean().unstack()  # noqa: PD010  # the oracle
    np.testing.assert_allclose(space.scores, expected.loc[space.models["model"], space.rois["roi"]])
    assert space.notes == (
        "6 of 6 models were not scored on the subjects' mean response: their scores are means over 2 "
        "subjects (s1, s2), without p values.",
    )
    assert space.notes[0] in space.statistics(n_permutations=19, stability=False).notes
    run = RunResults(table, *(pd.DataFrame() for _ in range(3)), rois=space.rois)
    torch.testing.assert_close(NFAS.from_runs(run).scores, space.scores)
    second = NFAS.from_runs(run, subject="s2")
    chosen = stable[stable["subject"] == "s2"].set_index(["model", "roi"])["r2"].unstack()  # noqa: PD010
    np.testing.assert_array_equal(second.scores, chosen.loc[second.models["model"], second.rois["roi"]])
    assert second.notes == ("Scores of one subject: s2.",)
    with pytest.raises(ValueError, match=r"subject must be one of the table's \['s1', 's2'\], got 'group'"):
        NFAS.from_scores(table, subject="group")


def test_an_average_over_subjects_does_not_hide_a_model_that_was_scored_twice():
    table = subjects_table()
    again = table[table["model"] == "m1"]
    with pytest.raises(ValueError, match="got 'm1' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, again]))
    with pytest.raises(ValueError, match="got 'm1' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, again.assign(dataset="other")]))


@pytest.mark.parametrize("score", [None, "alone", "joint", "partial"])
def test_any_of_the_three_numbers_can_place_the_models(score):
    results = make_results(("vision", "audio"), n_models=2, n_rois=6, score="partial")
    column = {None: "r_partial", "alone": "r"}.get(score, f"r_{score}")
    space = NFAS.from_runs(results, value="r", score=score)
    stable = results.scores.query("feature == 'stable_mode'")
    wanted = stable.pivot_table(index="model", columns="roi", values=column)
    found = space.to_frame("scores")
    pd.testing.assert_frame_equal(found, wanted.loc[found.index, found.columns], check_names=False)


def test_runs_that_report_different_numbers_are_compared_by_one_that_is_named():
    runs = [
        make_results((modality,), n_models=2, n_rois=6, score=score)
        for modality, score in (("vision", "partial"), ("audio", "alone"))
    ]
    with pytest.raises(ValueError, match=r"different numbers, \['alone', 'partial'\]: say which"):
        NFAS.from_runs(runs)
    assert len(NFAS.from_runs(runs, score="joint")) == 4
    with pytest.raises(ValueError, match="score must be one of 'alone', 'joint', 'partial', got 'sum'"):
        NFAS.from_runs(runs, score="sum")


def null_run(generator, copies=()):
    """A run of models whose scores are noise; `copies` maps a model to the one whose weights it has."""
    models = [f"m{i}" for i in range(8)]
    weights = {name: f"{i:064x}" for i, name in enumerate(models)}
    vectors = {name: generator.uniform(0.1, 0.9, size=6) for name in models}
    for name, original in dict(copies).items():
        weights[name] = weights[original]
        vectors[name] = vectors[original] + 0.01 * generator.uniform(-1, 1, size=6)  # e.g. another precision
    table = pd.DataFrame(
        [
            {
                **dict.fromkeys(COLUMNS["scores"], 0.0),
                **{"model": name, "modality": "ab"[i // 4], "dataset": "d", "subject": "group"},
                "score": "alone",
                **{"feature": "stable_mode", "roi": f"V{r}", "network": "", "r2": vectors[name][r]},
            }
            for i, name in enumerate(models)
            for r in range(6)
        ]
    )
    cards = pd.DataFrame({"model": models, "weights_sha256": [weights[name] for name in models]})
    return RunResults(table, pd.DataFrame(), pd.DataFrame(), cards, pd.DataFrame({"roi": table["roi"][:6]}))


TWICE = {"m1": "m0", "m3": "m2", "m5": "m4", "m7": "m6"}


@pytest.mark.filterwarnings("ignore:.*under a second name")
def test_a_model_under_two_names_does_not_make_a_null_space_reject():
    generator = np.random.default_rng(0)
    p_once, p_twice = [], []
    for _ in range(60):
        # three independent models per group, and in one group another one three times
        run = null_run(generator, {"m1": "m0", "m2": "m0", "m3": "m0", "m5": "m4", "m6": "m4", "m7": "m4"})
        extra = null_run(generator)
        cards = extra.models.assign(model="x" + extra.models["model"])
        cards["weights_sha256"] = "f" + cards["weights_sha256"].str[1:]
        both = extra.scores.assign(model="x" + extra.scores["model"])
        run = replace(run, scores=pd.concat([run.scores, both]), models=pd.concat([run.models, cards]))
        space = NFAS.from_scores(run)
        assert len(space) == 10
        p_once.append(float(space.permanova(n_permutations=99).p_value))
        both = NFAS.from_scores(run.scores)  # without the cards nothing tells
        p_twice.append(float(both.permanova(n_permutations=99).p_value))
    assert np.mean(np.array(p_twice) <= 0.05) > 0.3
    assert np.mean(np.array(p_once) <= 0.05) <= 0.12  # 5 % of 60: at most 7 with p > .98


def test_a_model_under_two_names_counts_once_and_is_named():
    run = null_run(np.random.default_rng(0), TWICE)
    with pytest.warns(UserWarning, match=r"4 of 8 models .* m1 \(as m0\), m3 \(as m2\)"):
        space = NFAS.from_scores(run)
    assert list(space.models["model"]) == ["m0", "m2", "m4", "m6"]
    assert "m7 (as m6)" in space.notes[0]
    # one model on two datasets is no repetition, nor are networks without any weights or known hash
    cards = run.models.assign(dataset=["d", "e"] * 4)
    elsewhere = run.scores.assign(dataset=np.where(run.scores["model"].isin(TWICE), "e", "d"))
    assert len(NFAS.from_scores(replace(run, scores=elsewhere, models=cards))) == 8
    for unknown in ("", None, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"):
        blank = replace(run, models=run.models.assign(weights_sha256=unknown))
        assert len(NFAS.from_scores(blank)) == 8


def test_equal_scores_tell_a_model_too_where_no_card_does():
    table = scores_table()
    again = table[table["model"] == "m1"].assign(model="copy")
    with pytest.warns(UserWarning, match=r"1 of 7 models .* copy \(as m1\)"):
        space = NFAS.from_scores(pd.concat([table, again]))
    assert len(space) == 6
    assert len(NFAS.from_scores(table, feature="last_block")) == 6  # all zero, which tells nothing
