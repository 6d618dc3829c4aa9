import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy.stats import spearmanr

from nfas_lightning.plotting import (
    plot_baselines,
    plot_brain,
    plot_convergence,
    plot_depth,
    plot_families,
    plot_glass,
    plot_networks,
    plot_rois,
    plot_rows,
    plot_sizes,
    plot_snci,
    plot_space,
    plot_spectra,
    plot_stability,
    plot_surface,
    plot_truth,
)
from nfas_lightning.plotting.brain import _face_pixels, _hemisphere, _nearest_roi, _vertex_rois
from nfas_lightning.plotting.dynamics import _spread
from nfas_lightning.plotting.score_tables import baseline_table, mean_r2
from nfas_lightning.plotting.style import SIMULATED, format_p
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results, make_statistics, make_zoo


@pytest.fixture(scope="module")
def results():
    return make_results()


@pytest.fixture(scope="module")
def statistics(results):
    return make_statistics(results)


def _dots(figure, name):
    """Offsets of the scatters of this gid, over all panels."""
    parts = [c.get_offsets() for ax in figure.axes for c in ax.collections if c.get_gid() == name]
    return np.ma.filled(np.ma.concatenate(parts), np.nan) if parts else np.empty((0, 2))


def _texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_space_draws_every_model_where_it_lies(results, statistics):
    figure = plot_space(statistics, simulated=True)
    for group, part in statistics.coordinates.groupby("group"):
        np.testing.assert_allclose(_dots(figure, f"points-{group}"), part[["PC1", "PC2"]])
    texts = _texts(figure)
    assert all(name in texts for name in statistics.coordinates["model"])
    assert "PERMANOVA pseudo-F = 14.20, p = .001" in texts
    assert "silhouette 0.52, p = .001" in texts
    assert f"({statistics.explained[0]:.0%} of variance)" in texts
    assert figure.get_supxlabel() == SIMULATED
    assert len(figure.axes[0].patches) == 3


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


def test_snci_shows_the_median_over_the_networks_rois(statistics):
    figure = plot_snci(statistics)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    expected = (
        statistics.snci.query("group == 'audio'").groupby("network")["bounded"].median().reindex(rows)
    )
    np.testing.assert_allclose(_dots(figure, "snci-bounded-audio")[:, 0], expected)


def test_snci_of_identical_models_is_infinite_and_still_drawn(statistics):
    table = statistics.snci.assign(ratio=np.inf)
    figure = plot_snci(replace(statistics, snci=table))
    figure.draw_without_rendering()
    assert len(_dots(figure, "snci-bounded-audio"))


def test_convergence_has_a_dot_a_roi(statistics):
    known = statistics.convergence["convergence"].notna()
    assert len(_dots(plot_convergence(statistics), "convergence")) == known.sum()


def test_networks_average_their_rois(results):
    figure = plot_networks(results.scores)
    image = figure.axes[0].images[0].get_array()
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    columns = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    stable = results.scores.query("feature == 'stable_mode' and model == 'hed_vgg16' and network == 'Visual'")
    cell = image[rows.index("hed_vgg16"), columns.index("Visual")]
    assert cell == pytest.approx(stable["r2"].mean())
    assert figure.get_supxlabel() == SIMULATED


def _marked_once(spectra):
    """As a run writes them: of a complex pair, one of the two is marked as stable."""
    return spectra.assign(stable=spectra["stable"] & (spectra["imag"] >= 0))


@pytest.mark.parametrize("table", [_marked_once, lambda spectra: spectra])
def test_spectra_fill_the_stable_mode_and_pale_its_conjugate(results, table):
    spectra = table(results.spectra)
    figure = plot_spectra(spectra, simulated=True)
    stable, twins, others = (_dots(figure, name) for name in ("stable", "conjugates", "others"))
    assert len(stable) == len(twins) == len(results.models)
    np.testing.assert_allclose(sorted(stable[:, 0]), sorted(twins[:, 0]))
    np.testing.assert_allclose(sorted(stable[:, 1]), sorted(-twins[:, 1]))
    assert len(others) == len(spectra) - 2 * len(stable)
    assert "its complex conjugate: the same mode" in _texts(figure)


def test_spectra_of_real_modes_speak_of_no_conjugate(results):
    spectra = results.spectra.query("mode == 2").assign(stable=True)
    figure = plot_spectra(spectra, simulated=True)
    assert len(_dots(figure, "stable")) == len(spectra)
    assert "conjugate" not in _texts(figure)


def test_a_mode_that_turns_the_other_way_is_named_too(results):
    lower = results.spectra.assign(stable=results.spectra["imag"] < 0)
    assert set(results.models["model"]) <= set(_texts(plot_spectra(lower, simulated=True)).split())
    figure = plot_families(lower, results.models, simulated=True)
    assert sum(len(_dots(figure, f"families-angle-{m}")) for m in ("vision", "audio", "language")) == 15
    assert min(_dots(figure, "families-angle-audio")[:, 0]) > 0


def test_spectra_bring_wild_values_to_the_rim(results):
    wild = results.spectra.copy()
    wild.loc[0, ["real", "imag"]] = [30.0, 40.0]
    figure = plot_spectra(wild, simulated=True)
    assert np.hypot(*_dots(figure, "stable").T).max() == pytest.approx(1.6)
    assert "1 beyond modulus 1.6" in _texts(figure)


@pytest.mark.parametrize("draw", ["spectra", "rois", "depth"])
@pytest.mark.parametrize("n_models", [1, 2])
def test_a_legend_at_the_foot_leaves_the_mark_its_room(draw, n_models):
    few = make_results(("language",), n_models=n_models, n_rois=2)
    if draw == "depth":  # a legend of modalities: two of them
        few = make_results(("language", "vision"), n_models=n_models, n_rois=2)
    figure = {
        "spectra": lambda: plot_spectra(_marked_once(few.spectra), simulated=True),
        "rois": lambda: plot_rois(few.scores),
        "depth": lambda: plot_depth(few.depth, simulated=True),
    }[draw]()
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (mark,) = (text for text in figure.findobj(Text) if text.get_text() == SIMULATED)
    assert not legend.get_window_extent().overlaps(mark.get_window_extent())
    for box in (legend.get_window_extent(), mark.get_window_extent()):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1


def test_spread_keeps_order_gap_and_bounds():
    heights = _spread(np.array([-0.9, 0.0, 0.01, 0.02, 0.95]), 0.2, -1.0, 1.0)
    assert (np.diff(heights) >= 0.2 - 1e-9).all()
    assert heights[0] >= -1.0
    assert heights[-1] <= 1.0 + 1e-9


def test_depth_has_a_row_a_model_and_says_when_scores_are_missing(results):
    depth = results.depth.copy()
    depth.loc[depth["model"] == "silero_vad", "r"] = np.nan
    figure = plot_depth(depth, simulated=True)
    assert len(figure.axes[0].get_yticklabels()) == 15
    assert _texts(figure).count("not computed") == 1


def test_depth_of_a_single_block_is_drawn(results):
    plot_depth(results.depth.groupby("model", sort=False).head(1), simulated=True).draw_without_rendering()


def test_baselines_show_the_mean_over_rois(results):
    figure = plot_baselines(results.scores)
    table = baseline_table(results.scores)[::-1]
    np.testing.assert_allclose(_dots(figure, "last_block")[:, 0], table["last_block"])
    np.testing.assert_allclose(np.sort(_dots(figure, "stable_mode")[:, 0]), np.sort(table["stable_mode"]))


def test_baseline_table_is_the_plain_mean(results):
    part = results.scores.query("model == 'whisper_base' and feature == 'nuisance'")
    assert baseline_table(results.scores).loc[("audio", "whisper_base"), "nuisance"] == pytest.approx(
        part["r"].mean()
    )


def test_rois_mark_ceiling_and_rejected_nulls():
    results = make_results(("language",), n_models=2, n_rois=6, simulated=False)
    figure = plot_rois(results.scores)
    assert figure.get_supxlabel() == ""
    assert len(_dots(figure, "stable_mode")) == 12
    faces = np.concatenate(
        [c.get_facecolors() for ax in figure.axes for c in ax.collections if c.get_gid() == "stable_mode"]
    )
    rejected = results.scores.query("feature == 'stable_mode'")["q"] < 0.05
    assert (faces[:, :3].min(1) < 1).sum() == rejected.sum()
    lines = [c for ax in figure.axes for c in ax.collections if c.get_gid() == "ceiling"]
    assert sum(len(line.get_segments()) for line in lines) == 12


def test_truth_groups_rois_by_what_was_planted(results, statistics):
    figure = plot_truth(results.scores, results.rois, statistics)
    assert len(_dots(figure, "truth")) == 3 * len(results.rois) + len(statistics.convergence)
    planted = int((results.rois["driven_by"] == "vision").sum())
    assert f"vision\nplanted\n({planted})" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert figure.get_supxlabel() == SIMULATED


def test_truth_of_a_null_run_has_nothing_planted(results):
    rois = results.rois.assign(driven_by="vision", planted=False)
    labels = [tick.get_text() for tick in plot_truth(results.scores, rois).axes[0].get_xticklabels()]
    assert labels == [f"nothing\nplanted\n({len(rois)})"]


def test_surface_has_four_views_a_map(results):
    figure = plot_surface(mean_r2(results.scores), results.rois, title="r2", simulated=True)
    assert sum(bool(ax.images) for ax in figure.axes) >= 12
    assert "ROIs reach the cortical surface" in _texts(figure)
    assert figure.get_supxlabel() == SIMULATED


def test_occipital_pole_lies_behind_and_frontal_pole_in_front():
    # left hemisphere from its left: the front of the brain is on the left of the picture
    points = np.array([[-20.0, -98.0, 2.0], [-25.0, 58.0, 5.0]])
    index = _nearest_roi("left", points, 12.0)
    assert set(index) == {-1, 0, 1}
    face, _ = _face_pixels("left", "lateral")
    shown = np.where(face >= 0, index[_hemisphere("left").faces[np.clip(face, 0, None), 0]], -1)
    back, front = (np.nonzero(shown == roi)[1].mean() for roi in (0, 1))
    assert front < face.shape[1] / 2 < back
    face, _ = _face_pixels("left", "medial")
    shown = np.where(face >= 0, index[_hemisphere("left").faces[np.clip(face, 0, None), 0]], -1)
    assert np.nonzero(shown == 0)[1].mean() < face.shape[1] / 2


def test_nearest_roi_equals_the_plain_search():
    points = np.random.default_rng(0).uniform([-60, -90, -30], [0, 60, 60], (12, 3))
    pial = _hemisphere("left").pial
    distance = np.linalg.norm(pial[:, None] - points[None], axis=-1)
    expected = np.where(distance.min(1) <= 15, distance.argmin(1), -1)
    np.testing.assert_array_equal(_nearest_roi("left", points, 15.0), expected)


def test_parcels_are_drawn_as_they_are(results):
    """Every vertex of a parcel is its own, however far from its center; other vertices stay gray."""
    rois = results.rois.head(3).assign(x=[-40.0, -40.0, 40.0], y=0.0, z=20.0, hemisphere=["L", "L", "R"])
    rois = rois.assign(vertices=["0 5 10241", "7", "10242 20483"])
    found, n_discs = _vertex_rois(rois, 12.0)
    assert n_discs == 0
    wanted = np.full((2, 10242), -1)
    wanted[0, [0, 5, 10241]], wanted[0, 7], wanted[1, [0, 10241]] = 0, 1, 2
    np.testing.assert_array_equal(np.stack([found["left"], found["right"]]), wanted)
    values = pd.DataFrame({"r2": [0.1, 0.2, 0.3]}, index=rois["roi"])
    assert "3 of 3 ROIs reach the cortical surface" in _texts(plot_surface(values, rois))
    discs = _texts(plot_surface(values, rois.drop(columns="vertices")))
    assert "discs of 12 mm for 3 known by their center only" in discs


def test_glass_brain_has_a_panel_a_map(results):
    figure = plot_glass(mean_r2(results.scores), results.rois, title="r2", simulated=True)
    assert figure.get_supxlabel() == SIMULATED
    assert {"vision", "audio", "language"} <= set(_texts(figure).split())


def test_without_coordinates_rois_become_rows(results):
    values = mean_r2(results.scores).iloc[:8]
    figure = plot_brain(values, results.rois[["roi"]], label="mean r²")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == values.index[::-1].tolist()
    np.testing.assert_allclose(_dots(figure, "rows-audio")[:, 0], values["audio"][::-1])


def test_rows_show_at_most_so_many(results):
    figure = plot_rows(mean_r2(results.scores), results.rois, max_rows=10)
    assert len(figure.axes[0].get_yticklabels()) == 10


def test_figures_that_leave_rois_out_say_how_many(results, statistics):
    scores, count = results.scores.assign(network=""), results.scores["roi"].nunique()
    alone = replace(
        statistics,
        snci=statistics.snci.assign(network=""),
        convergence=statistics.convergence.assign(network=""),
    )
    for draw in (
        lambda most: plot_rows(mean_r2(scores), results.rois, label="r²", max_rows=most),
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


def test_names_are_shown_as_they_are(results):
    scores = results.scores.replace({"model": {"hed_vgg16": "a$b$_{x}^<i>"}})
    figure = plot_baselines(scores)
    figure.canvas.draw()
    assert "a$b$_{x}^<i>" in _texts(figure)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0342, "p = .034"), (0.0001, "p < .001"), (1.0, "p = 1.000"), (np.nan, "p not computed")],
)
def test_p_values_read_as_written(p, text):
    assert format_p(p) == text


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


def test_stability_tells_modalities_apart_by_shape(zoo_statistics):
    figure = plot_stability(zoo_statistics)
    shapes = {len(c.get_paths()[0].vertices) for c in figure.axes[0].collections if len(c.get_offsets())}
    modalities = {text.get_text() for text in figure.legends[0].get_texts()}
    assert len(shapes) == len(modalities) > 1


def test_sizes_write_a_tiny_p_as_one_does(zoo):
    rank = zoo.models.groupby("modality")["parameters"].rank(method="first")
    order = dict(zip(zoo.models["model"], rank, strict=True))
    scores = zoo.scores.assign(r2=zoo.scores["model"].map(order) / 100)
    texts = _texts(plot_sizes(scores, zoo.models, labels=False))
    assert "p < .001" in texts
    assert "p = 0.00" not in texts


# forty-five models


@pytest.fixture(scope="module")
def zoo():
    return make_zoo(n_rois=40)


@pytest.fixture(scope="module")
def zoo_statistics(zoo):
    return NFAS.from_scores(zoo).statistics(n_permutations=99)


def _boxes(ax, names):
    """Boxes in pixels of the labels that are these names."""
    ax.figure.draw_without_rendering()
    found = [text for text in ax.texts if text.get_text() in names]
    # the text alone: an annotation's own extent has its line in it
    return {text.get_text(): Text.get_window_extent(text) for text in found}


@pytest.mark.parametrize("projection", ["PC", "MDS"])
def test_forty_five_labels_cover_neither_each_other_nor_a_point(zoo_statistics, projection):
    table = zoo_statistics.coordinates
    ax = plot_space(zoo_statistics, projection=projection).axes[0]
    boxes = _boxes(ax, set(table["model"]))
    assert len(boxes) == 45
    names = list(boxes)
    overlaps = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if boxes[a].overlaps(boxes[b])]
    assert overlaps == []
    points = ax.transData.transform(table[[f"{projection}1", f"{projection}2"]].to_numpy())
    covered = [name for name, box in boxes.items() if any(box.contains(*point) for point in points)]
    assert covered == []
    frame = ax.get_window_extent()
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes.values())


def test_sizes_are_parameters_against_mean_scores(zoo):
    figure = plot_sizes(zoo.scores, zoo.models)
    stable = zoo.scores.query("feature == 'stable_mode' and modality == 'audio'")
    expected = stable.groupby("model")["r2"].mean()
    count = zoo.models.set_index("model")["parameters"][expected.index]
    drawn = pd.DataFrame(_dots(figure, "sizes-audio"), columns=["x", "y"]).sort_values(["x", "y"])
    wanted = pd.DataFrame({"x": count.astype(float), "y": expected}).sort_values(["x", "y"])
    np.testing.assert_allclose(drawn, wanted)
    assert f"audio {spearmanr(count, expected).statistic:+.2f}" in _texts(figure)
    assert "100 M" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert len(_boxes(figure.axes[0], set(zoo.models["model"]))) == 45


def test_families_have_a_row_each_and_a_mark_a_model(zoo):
    figure = plot_families(zoo.spectra, zoo.models, simulated=True)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(rows) == len(zoo.models.drop_duplicates(["family", "modality"]))
    assert "whisper (3)" in rows
    marks = sum(len(_dots(figure, f"families-modulus-{m}")) for m in ("vision", "audio", "language"))
    assert marks == 45
    upper = zoo.spectra.query("stable and imag >= 0 and model == 'gpt2'").iloc[0]
    gpt2 = _dots(figure, "families-angle-language")[:, 0]
    assert np.isclose(gpt2, np.degrees(np.arctan2(upper["imag"], upper["real"]))).any()


def test_stability_shows_the_models_of_most_effect(zoo_statistics):
    figure = plot_stability(zoo_statistics, max_rows=10)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    whole = zoo_statistics.permanova["statistic"]
    change = (zoo_statistics.stability.set_index("model")["permanova"] - whole).abs()
    assert rows[::-1] == change.sort_values(ascending=False).index[:10].tolist()
    assert len(_dots(figure, "stability-convergence")) == 10


def test_snci_of_rois_without_networks_carries_its_interval(zoo_statistics):
    table = zoo_statistics.snci.assign(network="")
    figure = plot_snci(replace(zoo_statistics, snci=table), max_rows=5)
    assert "95 % interval over models" in _texts(figure)
    lines = [c for c in figure.axes[0].collections if hasattr(c, "get_segments") and len(c.get_segments())]
    ends = np.sort([seg[:, 0] for line in lines for seg in line.get_segments() if len(seg) == 2], axis=1)
    limits = table[["bounded_low", "bounded_high"]].to_numpy()
    assert all(np.isclose(limits, end).all(axis=1).any() for end in ends)


def test_an_unknown_projection_is_named(statistics):
    with pytest.raises(ValueError, match="projection must be 'PC', or 'MDS'"):
        plot_space(statistics, projection="UMAP")


def test_many_groups_show_the_largest_that_have_an_snci(zoo):
    statistics = NFAS.from_scores(zoo).regroup("family").statistics(n_permutations=9)
    figure = plot_snci(statistics)
    sizes = zoo.models["family"].value_counts()
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == set(
        sizes.index[sizes > 1]
    )
    # a group of two has no row here: without one of its models it is gone
    assert set(statistics.stability["group"]) == set(sizes.index[sizes > 2])
    plot_space(statistics).draw_without_rendering()


def test_rois_without_networks_are_called_rois():
    scores = make_results(("vision", "audio"), n_models=2, n_rois=4).scores
    named = plot_networks(scores.assign(network=["a", "a", "b", "b"] * (len(scores) // 4)))
    single = plot_networks(scores.assign(network=""))
    titles = [[text.get_text() for text in figure.findobj(Text)] for figure in (named, single)]
    assert "Models by networks" in titles[0]
    assert "Models by ROIs" in titles[1]
    assert not any("network" in title for title in titles[1])


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


def test_maps_of_rois_with_a_planted_truth_are_marked(results):
    r2 = mean_r2(results.scores)
    planted = results.rois.assign(driven_by="all", integrative=True)
    measured = planted.drop(columns=["driven_by", "integrative"])
    for draw in (plot_rows, plot_glass):
        assert draw(r2, planted).get_supxlabel() == SIMULATED
        assert draw(r2, measured).get_supxlabel() == ""
