"""Curves of a training: which lines are drawn, and from which rows."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from nfas_lightning.plotting.training import ALL_ROIS, plot_training


def curves(networks=("Visual", "Auditory"), steps=(20, 0, 10)):
    rows = [
        {"step": step, "feature": feature, "network": network, "r": (step + i) / 100, "r2": step / 1000}
        for step in steps
        for feature in ("stable_mode", "last_block")
        for i, network in enumerate((*networks, ALL_ROIS))
    ]
    return pd.DataFrame(rows)


def test_lines_are_the_networks_the_mean_and_the_baselines_in_the_order_of_steps():
    figure = plot_training(curves(), value="r", simulated=False)
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == {"Visual", "Auditory", ALL_ROIS, f"last block, {ALL_ROIS}"}
    assert lines["Auditory"].get_xdata().tolist() == [0, 10, 20]
    assert lines["Auditory"].get_ydata().tolist() == pytest.approx([0.01, 0.11, 0.21])
    assert ax.get_ylabel() == "mean r"


def test_of_many_networks_the_highest_are_drawn():
    names = [f"net{i:02d}" for i in range(20)]
    figure = plot_training(curves(names), value="r", simulated=False)
    shown = {line.get_label() for line in figure.axes[0].get_lines()} & set(names)
    assert 3 < len(shown) < 20
    assert shown == set(names[-len(shown) :])


def test_axes_may_be_given_and_planted_responses_must_be_said():
    _, ax = plt.subplots()
    assert plot_training(curves(), simulated=True, ax=ax) is ax.figure
    assert len(ax.get_lines()) == 4
    with pytest.raises(ValueError, match="simulated"):
        plot_training(curves())
