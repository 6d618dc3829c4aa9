import numpy as np
import pytest
from scipy import stats

from nfas_lightning.plotting import (
    plot_baselines,
    plot_rois,
    plot_truth,
)
from nfas_lightning.plotting.score_tables import baseline_table
from nfas_lightning.plotting.style import SIMULATED
from tests.helpers.figures import dots
from tests.helpers.results import make_results


def test_baselines_show_gains_and_their_interval_over_models(results):
    figure = plot_baselines(results.scores)
    table = baseline_table(results.scores)
    gain = table["stable_mode"] - table["last_block"]
    np.testing.assert_allclose(np.sort(dots(figure, "gain-last_block")[:, 0]), np.sort(gain))
    assert len(dots(figure, "mean")) == table.shape[1] - 1
    assert np.isclose(dots(figure, "mean")[:, 0], gain.mean()).any()
    expected = stats.t.interval(0.95, len(gain) - 1, gain.mean(), stats.sem(gain))
    lines = [c.get_segments()[0][:, 0] for c in figure.axes[0].collections if c.get_gid() == "interval"]
    assert any(np.allclose(line, expected) for line in lines)
    alone = results.scores[results.scores["feature"] == "stable_mode"]
    with pytest.raises(ValueError, match=r"stable mode and a baseline, got the features \['stable_mode'\]"):
        plot_baselines(alone)


def test_rois_mark_ceiling_and_rejected_nulls():
    results = make_results(("language",), n_models=2, n_rois=6, simulated=False)
    figure = plot_rois(results.scores)
    assert figure.get_supxlabel() == ""
    assert len(dots(figure, "stable_mode")) == 12
    faces = np.concatenate(
        [c.get_facecolors() for ax in figure.axes for c in ax.collections if c.get_gid() == "stable_mode"]
    )
    rejected = results.scores.query("feature == 'stable_mode'")["q"] < 0.05
    assert (faces[:, :3].min(1) < 1).sum() == rejected.sum()
    lines = [c for ax in figure.axes for c in ax.collections if c.get_gid() == "ceiling"]
    assert sum(len(line.get_segments()) for line in lines) == 12


def test_truth_groups_rois_by_what_was_planted(results, statistics):
    figure = plot_truth(results.scores, results.rois, statistics)
    assert len(dots(figure, "truth")) == 3 * len(results.rois) + len(statistics.convergence)
    planted = int((results.rois["driven_by"] == "vision").sum())
    assert f"vision\nplanted\n({planted})" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert figure.get_supxlabel() == SIMULATED


def test_truth_of_a_null_run_has_nothing_planted(results):
    rois = results.rois.assign(driven_by="vision", planted=False)
    labels = [tick.get_text() for tick in plot_truth(results.scores, rois).axes[0].get_xticklabels()]
    assert labels == [f"nothing\nplanted\n({len(rois)})"]
