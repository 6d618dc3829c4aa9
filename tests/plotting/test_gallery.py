"""What holds of every figure, and which of them there are."""

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from nfas_lightning.plotting import (
    plot_baselines,
    plot_convergence,
    plot_depth,
    plot_families,
    plot_networks,
    plot_rois,
    plot_sizes,
    plot_snci,
    plot_space,
    plot_spectra,
    plot_stability,
    plot_surface,
    plot_truth,
)
from nfas_lightning.plotting.gallery import draw_figures
from nfas_lightning.plotting.score_tables import mean_r2
from nfas_lightning.plotting.style import (
    SIMULATED,
)
from nfas_lightning.space import NFAS
from tests.helpers.figures import dots
from tests.helpers.results import make_results, make_statistics


def _on_axes(results, statistics):
    x, y = statistics.coordinates["PC1"], statistics.coordinates["PC2"]
    statistics = replace(
        statistics, coordinates=statistics.coordinates.assign(simulated=True, MDS1=y, MDS2=x)
    )
    return {
        "The space: one point per model": lambda **own: plot_space(statistics, **own),
        "The space: one point per model, by correlation distance": lambda **own: plot_space(
            statistics, projection="MDS", **own
        ),
        "SNCI: agreement among models of one modality": lambda **own: plot_snci(statistics, **own),
        "Convergence: agreement within every modality": lambda **own: plot_convergence(statistics, **own),
        "Models by networks": lambda **own: plot_networks(results.scores, **own),
        "Alignment against model size": lambda **own: plot_sizes(results.scores, results.models, **own),
        "The stable mode and its baselines": lambda **own: plot_baselines(results.scores, **own),
    }


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_panels_of_the_callers_figure_keep_to_themselves(results, statistics, layout):
    draws = _on_axes(results, statistics)
    own = plt.Figure(figsize=(24, 10), layout=layout)
    panels = own.subplots(2, 4).ravel()
    for ax, (title, draw) in zip(panels, draws.items(), strict=False):
        assert draw(ax=ax) is own
        assert ax.get_title().replace("\n", " ") == title
    assert own.get_suptitle() == own.get_supxlabel() == ""
    assert not own.legends
    own.draw_without_rendering()
    for ax in panels[: len(draws)]:
        frame = ax.get_window_extent()
        legend = ax.get_legend()
        marks = [text for text in ax.texts if text.get_text() == SIMULATED]
        assert len(marks) == 1
        # labels of points keep their distance to them, where panels that come later make these narrower
        inside = [*(marks if layout else ax.texts), *([legend] if legend else [])]
        for artist in inside:
            box = Text.get_window_extent(artist) if isinstance(artist, Text) else artist.get_window_extent()
            assert frame.x0 - 1 <= box.x0, artist
            assert box.x1 <= frame.x1 + 1, artist
            assert box.y1 <= frame.y1 + 1, artist
        words = ax.title.get_window_extent()
        assert frame.x0 - 10 <= words.x0 <= words.x1 <= frame.x1 + 10


def test_titles_and_colors_of_ones_own(results, statistics):
    table = statistics.coordinates[["model", "group"]].assign(
        permanova=1.0, silhouette=0.1, snci=0.9, convergence=0.8
    )
    left_out = replace(statistics, stability=table)
    for draw in _on_axes(results, statistics).values():
        assert draw(title="mine", simulated=True).get_suptitle() == "mine"
        assert draw(title="", simulated=True).get_suptitle() == ""
    others = [
        lambda **own: plot_spectra(results.spectra, simulated=True, **own),
        lambda **own: plot_depth(results.depth, simulated=True, **own),
        lambda **own: plot_families(results.spectra, results.models, simulated=True, **own),
        lambda **own: plot_stability(left_out, simulated=True, **own),
        lambda **own: plot_truth(results.scores, results.rois, **own),
        lambda **own: plot_rois(make_results(n_models=1, n_rois=3).scores, **own),
    ]
    colored = [draw for title, draw in _on_axes(results, statistics).items() if "Convergence" not in title]
    for draw in (*colored, *others):
        figure = draw(title="mine", colors={"audio": "#123456"})
        assert figure.get_suptitle() == "mine"
        colors = [to_hex(c) for part in figure.findobj(PathCollection) for c in part.get_facecolor()]
        colors += [to_hex(text.get_color()) for text in figure.findobj(Text)]
        assert "#123456" in colors
        with pytest.raises(ValueError, match=r"got one for 'odio'\. Did you mean 'audio'"):
            draw(colors={"odio": "k"})


def test_figures_that_leave_rois_out_say_how_many(results, statistics):
    scores, count = results.scores.assign(network=""), results.scores["roi"].nunique()
    alone = replace(
        statistics,
        snci=statistics.snci.assign(network=""),
        convergence=statistics.convergence.assign(network=""),
    )
    for draw in (
        lambda most: plot_snci(alone, max_rows=most),
        lambda most: plot_convergence(alone, max_rows=most),
        lambda most: plot_networks(scores, max_columns=most),
    ):
        assert f"the 7 highest of {count} ROIs" in draw(7).axes[0].get_xlabel()
        assert "highest of" not in draw(count).axes[0].get_xlabel()
    networks = results.scores["network"].nunique()
    label = plot_networks(results.scores, max_columns=3).axes[0].get_xlabel()
    assert label == f"the 3 highest of {networks} networks"


def test_missing_scores_do_not_stop_a_figure(results, statistics):
    scores = results.scores.copy()
    scores.loc[scores["model"] == "mtcnn_onet", ["r", "r2", "p", "q"]] = np.nan
    scores.loc[scores.index[::7], ["r", "r2"]] = np.nan
    coordinates = statistics.coordinates.copy()
    coordinates.loc[0, "PC1"] = np.nan
    for figure in (
        plot_baselines(scores),
        plot_networks(scores),
        plot_surface(mean_r2(scores), results.rois),
        plot_space(replace(statistics, coordinates=coordinates)),
    ):
        figure.draw_without_rendering()


def _clipped(figure):
    """Words that reach out of the picture; numbers are ticks, and axes keep some that they do not draw."""
    figure.draw_without_rendering()
    words = [text for text in figure.findobj(Text) if re.search("[A-Za-z]", text.get_text())]
    boxes = {text.get_text(): Text.get_window_extent(text) for text in words if text.get_visible()}
    whole = figure.bbox.padded(1)
    return [name for name, b in boxes.items() if not (whole.contains(*b.min) and whole.contains(*b.max))]


LONG = "an-organization-of-some-length/its_very_long_model_name_with_everything_in_it_patch16_224_"


@pytest.mark.parametrize(
    ("modalities", "n_models", "n_rois", "prefix"),
    [(("vision",), 1, 30, ""), (("vision", "audio"), 2, 1, ""), (("vision", "audio"), 3, 4, LONG)],
    ids=["one model", "one ROI", "long names"],
)
def test_no_text_is_cut_where_there_is_little_or_names_are_long(modalities, n_models, n_rois, prefix):
    few = make_results(modalities, n_models=n_models, n_rois=n_rois)
    scores, spectra, depth = (
        table.assign(model=prefix + table["model"]) for table in (few.scores, few.spectra, few.depth)
    )
    figures = {
        "baselines": plot_baselines(scores),
        "networks": plot_networks(scores),
        "depth": plot_depth(depth, simulated=True),
        "spectra": plot_spectra(spectra, simulated=True),
        "truth": plot_truth(scores, few.rois),
        "rois": plot_rois(scores),
        "snci": plot_snci(make_statistics(few), simulated=True),
    }
    assert {name: cut for name, figure in figures.items() if (cut := _clipped(figure))} == {}


@pytest.mark.parametrize("name", ["spectra", "depth", "families"])
def test_a_table_that_does_not_say_whether_it_is_simulated_draws_nothing_unless_told(results, name):
    def draw(table, **told):
        if name == "families":
            return plot_families(table, results.models, **told)
        return {"spectra": plot_spectra, "depth": plot_depth}[name](table, **told)

    table = results.depth if name == "depth" else results.spectra
    with pytest.raises(ValueError, match=r"simulated must be given.*simulated=results\.simulated"):
        draw(table)
    assert draw(table, simulated=True).get_supxlabel() == SIMULATED
    assert draw(table, simulated=False).get_supxlabel() == ""
    assert draw(table.assign(simulated=True)).get_supxlabel() == SIMULATED
    assert draw(table.assign(simulated=False)).get_supxlabel() == ""


@pytest.mark.parametrize("draw", [plot_baselines, plot_networks, plot_rois, plot_sizes])
def test_scores_that_do_not_say_whether_they_are_simulated_are_not_drawn_unless_told(draw):
    made = make_results(n_models=1, n_rois=3)
    silent, cards = made.scores.drop(columns="simulated"), (made.models,) if draw is plot_sizes else ()
    with pytest.raises(ValueError, match="simulated must be given"):
        draw(silent, *cards)
    assert draw(silent, *cards, simulated=False).get_supxlabel() == ""
    assert draw(made.scores, *cards).get_supxlabel() == SIMULATED
    assert draw(silent.assign(simulated=False), *cards).get_supxlabel() == ""


@pytest.mark.parametrize("draw", [plot_space, plot_snci, plot_convergence, plot_stability])
def test_a_space_that_does_not_say_whether_it_is_simulated_is_not_drawn_unless_told(zoo_statistics, draw):
    coordinates = zoo_statistics.coordinates
    silent = replace(zoo_statistics, coordinates=coordinates.drop(columns="simulated"))
    with pytest.raises(ValueError, match="simulated must be given"):
        draw(silent)
    few = {} if draw is plot_space else {"max_rows": 3}
    assert draw(silent, simulated=True, **few).get_supxlabel() == SIMULATED
    assert draw(replace(silent, coordinates=coordinates.assign(simulated=False)), **few).get_supxlabel() == ""


def test_there_is_a_figure_for_all_that_results_hold(zoo, zoo_statistics):
    names = [name for name, _, _ in draw_figures(zoo, zoo_statistics)]
    space = ["space", "mds", "stability", "snci", "convergence"]
    maps = ["map_r2", "map_r2_glass", "map_snci", "map_convergence", "map_anova"]
    run = ["truth", "spectra", "families", "depth", "baselines"]
    assert names == [*space, "networks", "sizes", *maps, *run]
    assert [name for name, _, _ in draw_figures(None, zoo_statistics)] == space
    few = make_results(("vision",), n_models=2, n_rois=4)
    drawn = [name for name, _, _ in draw_figures(few, make_statistics(few))]
    assert drawn == ["map_r2", "map_r2_glass", "truth", "spectra", "depth", "baselines", "rois"]


def test_rois_without_coordinates_have_no_maps(zoo, zoo_statistics):
    elsewhere = replace(zoo, rois=zoo.rois.drop(columns=["x", "y", "z"]))
    names = [name for name, _, _ in draw_figures(elsewhere, zoo_statistics)]
    assert "networks" in names
    assert not [name for name in names if name.startswith("map_")]


def test_networks_and_sizes_go_by_any_column(zoo):
    space = NFAS.from_scores(zoo, group_by="size")
    shown = {text.get_text() for text in space.plot_networks().axes[0].get_legend().get_texts()}
    assert shown == {"small", "medium", "large"}
    assert len(dots(space.plot_sizes(labels=False), "sizes-large")) == (space.models["size"] == "large").sum()
