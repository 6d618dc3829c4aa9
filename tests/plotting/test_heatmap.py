import pytest
from matplotlib.text import Text

from nfas_lightning.plotting import (
    plot_networks,
)
from nfas_lightning.plotting.style import SIMULATED
from tests.helpers.results import make_results


def test_networks_average_their_rois(results):
    figure = plot_networks(results.scores)
    image = figure.axes[0].images[0].get_array()
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    columns = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    stable = results.scores.query("feature == 'stable_mode' and model == 'hed_vgg16' and network == 'Visual'")
    cell = image[rows.index("hed_vgg16"), columns.index("Visual")]
    assert cell == pytest.approx(stable["r2"].mean())
    assert figure.get_supxlabel() == SIMULATED


def test_rois_without_networks_are_called_rois():
    scores = make_results(("vision", "audio"), n_models=2, n_rois=4).scores
    named = plot_networks(scores.assign(network=["a", "a", "b", "b"] * (len(scores) // 4)))
    single = plot_networks(scores.assign(network=""))
    titles = [[text.get_text() for text in figure.findobj(Text)] for figure in (named, single)]
    assert "Models by networks" in titles[0]
    assert "Models by ROIs" in titles[1]
    assert not any("network" in title for title in titles[1])
