from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from nfas_lightning.plotting import (
    roi_score_table,
    score_table,
)
from nfas_lightning.plotting.score_tables import baseline_table, few_stimuli, roi_scores
from tests.helpers.results import make_results


def _print(table, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system="truecolor")  # noqa: SIM115
    console.print(table)
    return console.export_text(styles=False)


def test_score_table_has_one_line_per_model_and_fits_a_terminal():
    results = make_results(n_rois=12)
    text = _print(score_table(results))
    assert all(any(name in line for line in text.splitlines()) for name in ("mobilenet_v2", "g2p_en_gru"))
    assert "SIMULATED responses" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    value = baseline_table(results.scores).loc[("vision", "mobilenet_v2"), "all_blocks"]
    assert f"{value:.3f}" in text


def test_the_best_feature_is_bold_even_where_it_is_not_the_stable_mode():
    results = make_results(("audio",), n_models=1, n_rois=4, simulated=False)
    results.scores.loc[results.scores["feature"] == "nuisance", "r"] = 0.9
    rows = list(zip(*(column._cells for column in score_table(results).columns), strict=True))
    best = [[cell for cell in row if "[bold]" in cell] for row in rows]
    assert ["[bold]0.900[/bold]"] in best  # of the numbers that features reach alone
    assert "SIMULATED" not in _print(score_table(results))


def test_roi_table_shows_every_roi_with_null_and_ceiling():
    results = make_results(("language",), n_models=2, n_rois=3, simulated=False)
    text = _print(roi_score_table(results), width=140)
    row = roi_scores(results.scores, "minilm_l6", "language").iloc[0]
    line = next(line for line in text.splitlines() if row.name in line)
    for value in (
        f"{row['stable_mode']:.3f}",
        f"{row['p']:.4f}",
        f"{row['ceiling']:.3f}",
        f"{row['nuisance']:.3f}",
    ):
        assert value in line
    assert len([line for line in text.splitlines() if "seitzman" in line]) == 6


def test_markup_in_names_is_printed_as_it_is():
    results = make_results(("audio",), n_models=1, n_rois=2)
    results.scores["model"] = "[red]x[/red]"
    assert "[red]x[/red]" in _print(score_table(results))


def test_a_model_without_any_score_has_dashes():
    results = make_results(("audio",), n_models=1, n_rois=2)
    results.scores[["r", "r2"]] = float("nan")
    assert "-" in _print(score_table(results))


def test_the_three_numbers_stand_under_one_another_in_eighty_columns():
    results = make_results(("audio",), n_models=1, n_rois=4, simulated=False, score="partial")
    results.scores["roi"] = results.scores["roi"].str.slice(-3)
    text = _print(score_table(results), width=80)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "Partial r (what is added to the nuisances)" in text
    first = next(i for i, line in enumerate(lines) if "whisper_base" in line)
    assert [line.split()[0] for line in lines[first + 1 : first + 3]] == ["alone", "joint"]
    means = results.scores.groupby("feature")[["r", "r_joint", "r_partial"]].mean()
    for line, column in zip(lines[first : first + 3], ("r_partial", "r", "r_joint"), strict=True):
        for feature in ("stable_mode", "all_blocks", "random_weights"):
            assert f"{means.loc[feature, column]:.3f}" in line
    # what nuisances predict alone stands in its own line only
    nuisance = f"{means.loc['nuisance', 'r']:.3f}"
    assert [nuisance in line for line in lines[first : first + 3]] == [False, True, False]


def test_what_nuisances_predict_alone_is_never_the_best_partial_score():
    results = make_results(("audio",), n_models=1, n_rois=2, simulated=False, score="partial")
    results.scores.loc[results.scores["feature"] == "nuisance", ["r", "r_joint"]] = 0.99
    assert "[bold]0.990[/bold]" not in [c for col in roi_score_table(results).columns for c in col._cells]


@pytest.mark.parametrize("score", ["alone", "joint", "partial"])
def test_the_reported_number_is_what_tables_average(score):
    results = make_results(("audio",), n_models=1, n_rois=4, score=score)
    column = "r" if score == "alone" else f"r_{score}"
    means = results.scores.groupby("feature")[column].mean()
    table = baseline_table(results.scores).iloc[0]
    for feature in ("stable_mode", "last_block"):
        assert table[feature] == pytest.approx(means[feature])
    assert table["nuisance"] == pytest.approx(results.scores.query("feature == 'nuisance'")["r"].mean())


def test_baseline_table_is_the_plain_mean(results):
    part = results.scores.query("model == 'whisper_base' and feature == 'nuisance'")
    assert baseline_table(results.scores).loc[("audio", "whisper_base"), "nuisance"] == pytest.approx(
        part["r"].mean()
    )


def test_subjects_are_averaged_where_no_group_is_given(results):
    part = results.scores.query("model == 'minilm_l6'")
    shifts = {"a": 0.1, "b": -0.1}
    subjects = pd.concat([part.assign(subject=name, r=part["r"] + shift) for name, shift in shifts.items()])
    pd.testing.assert_frame_equal(baseline_table(subjects), baseline_table(part))
    # one model with a group row does not make the others vanish
    other = results.scores.query("model == 'hed_vgg16'")
    pd.testing.assert_frame_equal(
        baseline_table(pd.concat([other, subjects])), baseline_table(pd.concat([other, part]))
    )


def test_few_stimuli_get_a_caution():
    results = make_results(n_rois=4)
    few, enough = (replace(results, models=results.models.assign(n_stimuli=n)) for n in (29, 30))
    assert few_stimuli(enough) == []
    told = few_stimuli(few)
    assert len(told) == few.models["dataset"].nunique()
    assert told[0].startswith("Caution: 29 stimuli of ")
