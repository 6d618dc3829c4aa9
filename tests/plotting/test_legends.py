import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from nfas_lightning.plotting import (
    plot_depth,
    plot_rois,
    plot_spectra,
)
from nfas_lightning.plotting.legends import group_handles, place_labels, set_head
from nfas_lightning.plotting.style import (
    SIMULATED,
    group_styles,
    new_figure,
)
from tests.helpers.results import make_results


def _boxes(figure, ax):
    figure.draw_without_rendering()
    # the box of the words alone: an annotation counts its leader line too
    return [Text.get_window_extent(text) for text in ax.texts]


@pytest.mark.parametrize("n", [1, 15, 45])
def test_labels_cover_neither_each_other_nor_points_nor_leave_the_axes(n):
    rng = np.random.default_rng(n)
    centers = np.array([[0, 0], [4, 0], [2, 3]])
    points = centers[np.arange(n) % 3] + rng.normal(0, 0.25, (n, 2))
    figure = new_figure(12.5, 10)
    ax = figure.add_subplot()
    ax.scatter(*points.T)
    ax.margins(0.14)
    place_labels(ax, points, [f"some_model_{i:02d}" for i in range(n)], ["k"] * n, fontsize=9.5)
    boxes = _boxes(figure, ax)
    assert len(boxes) == n
    assert not [(i, j) for i in range(n) for j in range(i) if boxes[i].overlaps(boxes[j])]
    pixels = ax.transData.transform(points)
    assert not any(box.contains(*pixel) for box in boxes for pixel in pixels)
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_a_point_without_a_place_gets_no_label():
    figure = new_figure(4, 4)
    ax = figure.add_subplot()
    place_labels(ax, np.array([[0.5, 0.5], [np.nan, 1.0]]), ["here", "nowhere"], ["k", "k"])
    assert [text.get_text() for text in ax.texts] == ["here"]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_inside_keeps_its_room_and_stays_in_the_axes(layout):
    figure = plt.Figure(figsize=(5, 4), layout=layout)
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1])
    handles = group_handles(group_styles([f"a_group_of_some_length_{i}" for i in range(4)]))
    note = "a note that is far longer than the axes are wide and would be cut off "
    set_head(ax, "", handles, {}, inside=True, simulated=True, columns=9, note=note)
    figure.draw_without_rendering()
    frame, legend = ax.get_window_extent(), ax.get_legend().get_window_extent()
    (mark,) = (text.get_window_extent() for text in ax.texts if text.get_text() == SIMULATED)
    for box in (legend, mark):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1 + 1
        assert box.y1 <= frame.y1 + 1
    assert not legend.overlaps(mark)
    assert legend.y0 > ax.transData.transform((1, 1))[1]  # no data behind it


@pytest.mark.parametrize("draw", ["spectra", "rois", "depth"])
@pytest.mark.parametrize("n_models", [1, 2])
def test_a_legend_at_the_foot_leaves_the_mark_its_room(draw, n_models):
    few = make_results(("language",), n_models=n_models, n_rois=2)
    if draw == "depth":  # a legend of modalities: two of them
        few = make_results(("language", "vision"), n_models=n_models, n_rois=2)
    figure = {
        "spectra": lambda: plot_spectra(few.spectra, simulated=True),
        "rois": lambda: plot_rois(few.scores),
        "depth": lambda: plot_depth(few.depth, simulated=True),
    }[draw]()
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (mark,) = (text for text in figure.findobj(Text) if text.get_text() == SIMULATED)
    assert not legend.get_window_extent().overlaps(mark.get_window_extent())
    for box in (legend.get_window_extent(), mark.get_window_extent()):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
