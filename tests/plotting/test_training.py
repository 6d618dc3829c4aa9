import numpy as np
import pandas as pd
import pytest

from nfas_lightning.plotting.style import SIMULATED
from nfas_lightning.plotting.training import ALL_ROIS, plot_training


@pytest.fixture
def curves():
    rows = [
        {"step": step, "feature": feature, "network": network, "r": 0.1 * step, "r2": 0.01 * step + shift}
        for step in (2, 0, 1)
        for feature in ("stable_mode", "last_block")
        for network, shift in (("Visual", 0.1), ("Auditory", 0.0), (ALL_ROIS, 0.05))
    ]
    return pd.DataFrame(rows).assign(simulated=True)


def test_one_curve_per_network_best_first_and_one_for_all_rois(curves):
    figure = plot_training(curves)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == ["Visual", "Auditory", ALL_ROIS, f"last block, {ALL_ROIS}"]
    np.testing.assert_allclose(lines["Visual"].get_xydata(), [[0, 0.1], [1, 0.11], [2, 0.12]])
    assert figure.get_supxlabel() == SIMULATED
    assert figure.get_suptitle() == "Alignment over training"


def test_the_callers_axes_carry_title_and_legend(curves):
    from matplotlib.figure import Figure

    ax = Figure(figsize=(8, 5)).subplots()
    plot_training(curves, value="r", title="mine", ax=ax)
    assert ax.get_title() == "mine"
    assert ax.get_ylabel() == "mean r"
    assert len(ax.get_legend().get_texts()) == 4
