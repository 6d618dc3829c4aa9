import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from nfas_lightning.plotting import (
    plot_sizes,
    plot_space,
)
from nfas_lightning.plotting.style import SIMULATED
from tests.helpers.figures import dots, label_boxes, texts


def test_space_draws_every_model_where_it_lies(results, statistics):
    figure = plot_space(statistics, simulated=True)
    for group, part in statistics.coordinates.groupby("group"):
        np.testing.assert_allclose(dots(figure, f"points-{group}"), part[["PC1", "PC2"]])
    words = texts(figure)
    assert all(name in words for name in statistics.coordinates["model"])
    assert "PERMANOVA pseudo-F = 14.20, p = .001" in words
    assert "silhouette 0.52, p = .001" in words
    assert f"({statistics.explained[0]:.0%} of variance)" in words
    assert figure.get_supxlabel() == SIMULATED
    assert len(figure.axes[0].patches) == 3


@pytest.mark.parametrize("projection", ["PC", "MDS"])
def test_forty_five_labels_cover_neither_each_other_nor_a_point(zoo_statistics, projection):
    table = zoo_statistics.coordinates
    ax = plot_space(zoo_statistics, projection=projection).axes[0]
    boxes = label_boxes(ax, set(table["model"]))
    assert len(boxes) == 45
    names = list(boxes)
    overlaps = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if boxes[a].overlaps(boxes[b])]
    assert overlaps == []
    points = ax.transData.transform(table[[f"{projection}1", f"{projection}2"]].to_numpy())
    covered = [name for name, box in boxes.items() if any(box.contains(*point) for point in points)]
    assert covered == []
    frame = ax.get_window_extent()
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes.values())


def test_an_unknown_projection_is_named(statistics):
    with pytest.raises(ValueError, match="projection must be 'PC', or 'MDS'"):
        plot_space(statistics, projection="UMAP")


def test_sizes_are_parameters_against_mean_scores(zoo):
    figure = plot_sizes(zoo.scores, zoo.models)
    stable = zoo.scores.query("feature == 'stable_mode' and modality == 'audio'")
    expected = stable.groupby("model")["r2"].mean()
    count = zoo.models.set_index("model")["parameters"][expected.index]
    drawn = pd.DataFrame(dots(figure, "sizes-audio"), columns=["x", "y"]).sort_values(["x", "y"])
    wanted = pd.DataFrame({"x": count.astype(float), "y": expected}).sort_values(["x", "y"])
    np.testing.assert_allclose(drawn, wanted)
    assert f"audio {spearmanr(count, expected).statistic:+.2f}" in texts(figure)
    assert "100 M" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert len(label_boxes(figure.axes[0], set(zoo.models["model"]))) == 45


def test_sizes_write_a_tiny_p_as_one_does(zoo):
    rank = zoo.models.groupby("modality")["parameters"].rank(method="first")
    order = dict(zip(zoo.models["model"], rank, strict=True))
    scores = zoo.scores.assign(r2=zoo.scores["model"].map(order) / 100)
    words = texts(plot_sizes(scores, zoo.models, labels=False))
    assert "p < .001" in words
    assert "p = 0.00" not in words
