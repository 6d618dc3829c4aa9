import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from nfas_lightning.plotting import (
    plot_networks,
)
from nfas_lightning.plotting.style import (
    SIMULATED,
    finish,
    format_p,
    group_styles,
    is_simulated,
    new_axes,
    new_figure,
    short_names,
    styled,
)
from tests.helpers.figures import texts
from tests.helpers.results import make_results


def test_long_names_lose_their_middle_unless_they_would_be_the_same():
    ends = [f"{'a' * 30}_{i}_{'b' * 30}" for i in range(2)]
    assert short_names(["vit", *ends]) == ["vit", *ends]
    (cut,) = short_names(ends[:1])
    assert len(cut) == 34
    assert short_names([ends[0], ends[0]]) == [cut, cut]  # one model in two benchmarks is one name


def test_known_modalities_keep_their_look_and_all_differ():
    alone, together = (
        group_styles(["language"]),
        group_styles(["language", "audio", "vision", "touch", "video"]),
    )
    assert alone["language"] == together["language"]
    assert len({style.color for style in together.values()}) == 5
    assert len({style.marker for style in together.values()}) == 5


def test_the_mark_stands_only_on_simulated_figures():
    marked, plain = (finish(new_figure(4, 3), "t", {}, simulated=mark) for mark in (True, False))
    assert marked.get_supxlabel() == SIMULATED
    assert plain.get_supxlabel() == ""
    assert is_simulated(make_results(n_models=1, n_rois=3).scores)
    assert not is_simulated(make_results(n_models=1, n_rois=3, simulated=False).scores)


def test_colors_of_ones_own_are_of_groups_that_there_are():
    usual = group_styles(["audio", "vision"])
    styles = group_styles(["audio", "vision"], {"colors": {"audio": "k", "language": "tab:red"}})
    assert styles == usual | {"audio": usual["audio"]._replace(color="#000000")}
    with pytest.raises(
        ValueError, match=r"\['audio', 'vision'\], got one for 'visoin'. Did you mean 'vision'"
    ):
        group_styles(["audio", "vision"], {"colors": {"visoin": "k"}})
    with pytest.raises(ValueError, match=r"colors of matplotlib.*got 'blak' for 'audio'"):
        group_styles(["audio"], {"colors": {"audio": "blak"}})
    # one mapping for several figures, each of some of its groups
    assert list(group_styles(["bert"], {"colors": {"bert": "r", "vit": "k"}})) == ["bert"]
    assert list(group_styles(["bert"], {"colors": {"vit": "k"}}, among=["bert", "vit"])) == ["bert"]


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
    assert type(figure).__module__ == "matplotlib.figure"  # else W&B would not know it as a figure
    ax = figure.add_subplot()
    assert new_axes(ax, 9, 9) == (figure, ax)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0342, "p = .034"), (0.0001, "p < .001"), (1.0, "p = 1.000"), (np.nan, "p not computed")],
)
def test_p_values_read_as_written(p, text):
    assert format_p(p) == text


def test_names_are_shown_as_they_are(results):
    scores = results.scores.replace({"model": {"hed_vgg16": "a$b$_{x}^<i>"}})
    figure = plot_networks(scores)
    figure.canvas.draw()
    assert "a$b$_{x}^<i>" in texts(figure)
