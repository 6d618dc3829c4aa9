from dataclasses import replace

import numpy as np

from nfas_lightning.functional.snci import snci_noise
from nfas_lightning.plotting import (
    plot_convergence,
    plot_snci,
    plot_space,
    plot_stability,
)
from nfas_lightning.space import NFAS
from tests.helpers.figures import dots, texts


def test_snci_shows_the_median_over_the_networks_rois(statistics):
    figure = plot_snci(statistics)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    expected = statistics.snci.query("group == 'audio'").groupby("network")["bounded"].median().reindex(rows)
    np.testing.assert_allclose(dots(figure, "snci-bounded-audio")[:, 0], expected)
    noise = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_gid() == "noise"]
    assert noise == [snci_noise(5)] * 3
    assert "95 % of pure noise lies below" in texts(figure)


def test_snci_of_identical_models_is_infinite_and_still_drawn(statistics):
    table = statistics.snci.assign(ratio=np.inf)
    figure = plot_snci(replace(statistics, snci=table))
    figure.draw_without_rendering()
    assert len(dots(figure, "snci-bounded-audio"))


def test_snci_of_rois_without_networks_carries_its_interval(zoo_statistics):
    table = zoo_statistics.snci.assign(network="")
    figure = plot_snci(replace(zoo_statistics, snci=table), max_rows=5)
    assert "95 % interval over models" in texts(figure)
    lines = [c for c in figure.axes[0].collections if hasattr(c, "get_segments") and len(c.get_segments())]
    ends = np.sort([seg[:, 0] for line in lines for seg in line.get_segments() if len(seg) == 2], axis=1)
    limits = table[["bounded_low", "bounded_high"]].to_numpy()
    assert all(np.isclose(limits, end).all(axis=1).any() for end in ends)


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


def test_convergence_has_one_dot_per_roi(statistics):
    known = statistics.convergence["convergence"].notna()
    assert len(dots(plot_convergence(statistics), "convergence")) == known.sum()


def test_stability_shows_the_models_of_most_effect(zoo_statistics):
    figure = plot_stability(zoo_statistics, max_rows=10)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    whole = zoo_statistics.permanova["statistic"]
    change = (zoo_statistics.stability.set_index("model")["permanova"] - whole).abs()
    assert rows[::-1] == change.sort_values(ascending=False).index[:10].tolist()
    assert len(dots(figure, "stability-convergence")) == 10


def test_stability_tells_modalities_apart_by_shape(zoo_statistics):
    figure = plot_stability(zoo_statistics)
    shapes = {len(c.get_paths()[0].vertices) for c in figure.axes[0].collections if len(c.get_offsets())}
    modalities = {text.get_text() for text in figure.legends[0].get_texts()}
    assert len(shapes) == len(modalities) > 1
