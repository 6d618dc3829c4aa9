from dataclasses import replace

import pandas as pd

from nfas_lightning.plotting.report_tables import (
    agreement_grid,
    baseline_grid,
    card_grid,
    nearest_grid,
    pairwise_grid,
    stability_grid,
)
from nfas_lightning.plotting.score_tables import baseline_table


def test_pairs_have_two_digits_of_f_and_a_p_that_is_never_zero(statistics):
    pairs = pd.DataFrame([("a", "b", 9.126, 0.0001, 0.02)], columns=list(statistics.pairwise))
    grid = pairwise_grid(replace(statistics, pairwise=pairs))
    assert grid.columns == ["pair", "pseudo-F", "p", "q"]
    assert [text for text, _ in grid.rows[0]] == ["a and b", "9.13", "< 0.001", "0.020"]
    assert pairwise_grid(replace(statistics, pairwise=pairs[:0])) is None


def test_neighbors_of_another_group_are_bold(statistics):
    nearest = pd.DataFrame(
        [("m", "audio", 1, "n", "audio", 0.1), ("m", "audio", 2, "v", "vision", 0.255)],
        columns=["model", "group", "rank", "neighbor", "neighbor_group", "distance"],
    )
    grid = nearest_grid(replace(statistics, nearest=nearest, group_by="kind"))
    assert grid.columns == ["model", "kind", "nearest", "second"]
    assert grid.rows == [(("m", False), ("audio", False), ("n (0.10)", False), ("v (0.26)", True))]


def test_agreement_shows_the_five_surest_rois_of_each_group(zoo_statistics):
    grid = agreement_grid(zoo_statistics)
    table = zoo_statistics.snci.query("group == 'audio'").nlargest(5, "bounded_low")
    shown = [[text for text, _ in row] for row in grid.rows if row[0][0] == "audio"]
    assert [row[1] for row in shown] == table["roi"].tolist()
    assert [row[3] for row in shown] == [f"{ratio:.2f}" for ratio in table["ratio"]]
    assert grid.columns[0] == "modality"


def test_the_best_feature_is_bold_in_rows_and_means(results):
    grid, table = baseline_grid(results.scores), baseline_table(results.scores)
    bold = {row[0][0]: grid.columns[i] for row in grid.rows for i, (_, best) in enumerate(row) if best}
    assert bold["mean of audio"] == "all blocks"
    best = table.loc[("vision", "hed_vgg16")]
    cells = next([text for text, _ in row] for row in grid.rows if row[0][0].startswith("hed_vgg16"))
    assert f"{best.max():.3f}" in cells


def test_stability_lists_the_models_of_largest_effect_first(zoo_statistics):
    table = zoo_statistics.stability
    grid = stability_grid(zoo_statistics)
    change = (table["permanova"] - zoo_statistics.permanova["statistic"]).abs()
    assert grid.rows[0][0][0] == table.loc[change.idxmax(), "model"]
    assert len(grid.rows) == len(table)
    assert stability_grid(replace(zoo_statistics, stability=table[:0])) is None


def test_what_a_card_does_not_know_is_a_dash(results):
    models = results.models.head(1).assign(license=None, parameters=22_713_216, stable_imag=1e-5)
    grid = card_grid(models)
    card = dict(zip(grid.columns, (text for text, _ in grid.rows[0]), strict=True))
    assert card["license"] == "–"
    assert card["parameters"] == "22.7 M"
    assert card["eigenvalue"] == f"{models['stable_real'].iloc[0]:.3f}"
