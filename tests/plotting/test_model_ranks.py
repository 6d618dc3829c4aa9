"""The picture of models with intervals and letters, and the terminal's tables."""

import io

import numpy as np
import pandas as pd
from rich.console import Console

from nfas_lightning.plotting.model_ranks import plot_ranking, ranking_tables
from nfas_lightning.results import compare_models
from tests.helpers.results import make_draws

RANKING = compare_models(make_draws({"low": 0.2, "best": 0.5, "next": 0.48}))


def test_dots_intervals_and_letters_are_those_of_the_table():
    figure = plot_ranking(RANKING, simulated=False)
    (ax,) = figure.axes
    lines = [part for part in ax.collections if part.get_gid() == "interval"]
    drawn = [part.get_segments()[0] for part in lines]
    expected = RANKING.means[::-1]
    np.testing.assert_allclose([line[:, 0] for line in drawn], expected[["low", "high"]].to_numpy(float))
    dots = [part.get_offsets()[0, 0] for part in ax.collections if part.get_gid() != "interval"]
    np.testing.assert_allclose(dots, expected["mean"].to_numpy(float))
    assert [text.get_text() for text in ax.texts] == ["b", "a", "a"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["low", "next", "best"]


def test_tables_of_the_terminal_name_every_pair_of_few_models():
    console = Console(file=io.StringIO(), width=100)
    for table in ranking_tables(RANKING):
        console.print(table)
    said = console.file.getvalue()
    row = RANKING.pairs.iloc[0]
    assert f"best - next {row['difference']:+.3f} {row['low']:+.3f} {row['high']:+.3f}" in " ".join(
        said.split()
    )
    assert "other stimuli and subjects" in " ".join(said.split())
    # of several datasets, each pair stands under its own
    both = compare_models(
        pd.concat([make_draws({"a": 0.5, "b": 0.2}), make_draws({"b": 0.5, "a": 0.2}, dataset="tale")])
    )
    pairs = ranking_tables(both)[1]
    assert list(pairs.columns[0].cells) == [
        "[italic]film[/italic]", "a - b", "[italic]tale[/italic]", "b - a"
    ]  # fmt: skip
    many = compare_models(make_draws({f"m{i}": i / 20 for i in range(9)}))
    assert len(ranking_tables(many)) == 2  # without the 36 pairs
