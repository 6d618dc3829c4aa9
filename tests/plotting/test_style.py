import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from nfas_lightning.plotting.legends import group_handles, place_labels, set_head
from nfas_lightning.plotting.pictures import check_formats, save_figure
from nfas_lightning.plotting.style import (
    SIMULATED,
    finish,
    group_styles,
    is_simulated,
    new_axes,
    new_figure,
    short_names,
    styled,
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


def test_long_names_lose_their_middle_unless_they_would_be_the_same():
    ends = [f"{'a' * 30}_{i}_{'b' * 30}" for i in range(2)]
    assert short_names(["vit", *ends]) == ["vit", *ends]
    (cut,) = short_names(ends[:1])
    assert len(cut) == 34
    assert short_names([ends[0], ends[0]]) == [cut, cut]  # one model in two benchmarks is one name


def test_a_point_without_a_place_gets_no_label():
    figure = new_figure(4, 4)
    ax = figure.add_subplot()
    place_labels(ax, np.array([[0.5, 0.5], [np.nan, 1.0]]), ["here", "nowhere"], ["k", "k"])
    assert [text.get_text() for text in ax.texts] == ["here"]


def test_known_modalities_keep_their_look_and_all_differ():
    alone, together = (
        group_styles(["language"]),
        group_styles(["language", "audio", "vision", "touch", "video"]),
    )
    assert alone["language"] == together["language"]
    assert len({style.color for style in together.values()}) == 5
    assert len({style.marker for style in together.values()}) == 5


def test_the_mark_stands_only_on_simulated_figures():
    marked, plain = finish(new_figure(4, 3), "t", simulated=True), finish(new_figure(4, 3), "t")
    assert marked.get_supxlabel() == SIMULATED
    assert plain.get_supxlabel() == ""
    assert is_simulated(make_results(n_models=1, n_rois=3).scores)
    assert not is_simulated(make_results(n_models=1, n_rois=3, simulated=False).scores)


def test_colors_of_ones_own_are_of_groups_that_there_are():
    usual = group_styles(["audio", "vision"])
    styles = group_styles(["audio", "vision"], {"audio": "k", "language": "tab:red"})
    assert styles == usual | {"audio": usual["audio"]._replace(color="#000000")}
    with pytest.raises(
        ValueError, match=r"\['audio', 'vision'\], got one for 'visoin'. Did you mean 'vision'"
    ):
        group_styles(["audio", "vision"], {"visoin": "k"})
    with pytest.raises(ValueError, match=r"colors of matplotlib.*got 'blak' for 'audio'"):
        group_styles(["audio"], {"audio": "blak"})
    # one mapping for several figures, each of some of its groups
    assert list(group_styles(["bert"], {"bert": "r", "vit": "k"})) == ["bert"]
    assert list(group_styles(["bert"], {"vit": "k"}, among=["bert", "vit"])) == ["bert"]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_inside_keeps_its_room_and_stays_in_the_axes(layout):
    figure = plt.Figure(figsize=(5, 4), layout=layout)
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1])
    handles = group_handles(group_styles([f"a_group_of_some_length_{i}" for i in range(4)]))
    note = "a note that is far longer than the axes are wide and would be cut off "
    set_head(ax, "", handles, inside=True, title=None, simulated=True, columns=9, note=note)
    figure.draw_without_rendering()
    frame, legend = ax.get_window_extent(), ax.get_legend().get_window_extent()
    (mark,) = (text.get_window_extent() for text in ax.texts if text.get_text() == SIMULATED)
    for box in (legend, mark):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1 + 1
        assert box.y1 <= frame.y1 + 1
    assert not legend.overlaps(mark)
    assert legend.y0 > ax.transData.transform((1, 1))[1]  # no data behind it


def test_drawing_leaves_settings_and_pyplot_alone():
    before, size = plt.get_fignums(), mpl.rcParams["font.size"]

    @styled
    def draw():
        assert mpl.rcParams["text.parse_math"] is False
        return new_axes(None, 3, 3)[0]

    draw()
    assert mpl.rcParams["font.size"] == size
    assert plt.get_fignums() == before


def test_the_callers_axes_are_used():
    figure = new_figure(3, 3)
    ax = figure.add_subplot()
    assert new_axes(ax, 9, 9) == (figure, ax)


def test_vector_figures_keep_their_text_and_repeat_byte_by_byte(tmp_path):
    before = {name: mpl.rcParams[name] for name in ("pdf.fonttype", "svg.fonttype", "svg.hashsalt")}
    written = []
    for folder in ("first", "second"):
        figure = finish(new_figure(3, 3), "A model called a$b")
        figure.add_subplot().plot([0, 1], [0, 1], clip_on=True)
        path = save_figure(figure, tmp_path / folder / "chart.png", formats=["pdf", "png", "svg"])
        assert path == tmp_path / folder / "chart.png"
        written.append({file.suffix: file.read_bytes() for file in path.parent.iterdir()})
    assert set(written[0]) == {".png", ".pdf", ".svg"}
    assert written[0] == written[1]
    assert b"A model called a$b" in written[0][".svg"]
    assert b"<text" in written[0][".svg"]
    assert b"/Subtype /Type3" not in written[0][".pdf"]
    assert b"/FontFile2" in written[0][".pdf"]  # an embedded TrueType font
    assert {name: mpl.rcParams[name] for name in before} == before


def test_an_unknown_format_is_named():
    assert check_formats("pdf") == ("pdf",)
    with pytest.raises(ValueError, match="formats must be among 'png', 'pdf', 'svg', got 'tiff', 'jpg'"):
        check_formats(["pdf", "tiff", "jpg"])
