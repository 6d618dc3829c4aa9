from rich.console import Console

from nfas_lightning.plotting import roi_score_table, score_table
from nfas_lightning.plotting.tables import baseline_table, roi_scores
from tests.helpers.results import make_results


def _print(table, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system="truecolor")  # noqa: SIM115
    console.print(table)
    return console.export_text(styles=False)


def test_score_table_has_a_line_a_model_and_fits_a_terminal():
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
    cells = [column._cells[-1] for column in score_table(results).columns]
    assert [cell for cell in cells if "[bold]" in cell] == ["[bold]0.900[/bold]"]
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
