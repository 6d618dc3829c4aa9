"""Figures of responses in time: what is drawn where, and what is refused."""

import mne
import numpy as np
import pandas as pd
import pytest

from nfas_lightning.plotting import draw_figures, plot_lags, plot_topographies
from nfas_lightning.plotting.lag_maps import has_places
from nfas_lightning.plotting.sections import report_sections
from nfas_lightning.results import RunResults
from tests.helpers.figures import texts

TIMES = np.round(np.arange(-0.1, 0.41, 0.05), 3)
MODELS = ("net_a", "net_b")


@pytest.fixture(scope="module")
def run(results):
    """Two models of three blocks that peak 100, 200 and 300 ms after onset, at 16 electrodes."""
    montage = mne.channels.make_standard_montage("biosemi16")
    places = montage.get_positions()["ch_pos"]
    rows = [
        {
            "roi": f"{name}@{1000 * t:g}ms", "channel": name, "lag": t, "kind": "eeg",
            "head_x": x, "head_y": y, "head_z": z,
        }
        for name, (x, y, z) in places.items()
        for t in TIMES
    ]  # fmt: skip
    rois = pd.DataFrame(rows)
    scores = pd.concat(
        [
            rois[["roi", "channel", "lag"]].assign(model=model, r=rois["head_y"] * (rois["lag"] > 0))
            for model in MODELS
        ]
    ).assign(feature="stable_mode", subject="group", simulated=True, modality="vision", dataset="toy")
    lags, depth = [], []
    for model in MODELS:
        for feature, place, peak in (
            ("stable_mode", np.nan, 0.2),
            *(("block", b, 0.1 * b + 0.1) for b in range(3)),
        ):
            r = 0.3 * np.exp(-(((TIMES - peak) / 0.06) ** 2))
            lags.append(
                pd.DataFrame({"lag": TIMES, "r": r, "low": r - 0.05, "high": r + 0.05}).assign(
                    model=model, feature=feature, depth=place, layer=f"block.{place}",
                    p_cluster=np.where(r > 0.1, 0.01, 1.0), modality="vision", dataset="toy",
                )
            )  # fmt: skip
            if feature == "block":
                bounds = {"peak_lag": peak, "peak_low": peak - 0.02, "peak_high": peak + 0.03}
                depth.append({"model": model, "depth": place, **bounds})
    return scores, rois, pd.concat(lags, ignore_index=True), pd.DataFrame(depth)


def test_blocks_by_lag_and_the_peaks_of_each(run):
    _, _, lags, depth = run
    figure = plot_lags(lags, depth, simulated=True)
    assert all(word in texts(figure) for word in ("net_a", "net_b", "SIMULATED responses"))
    above, below = figure.axes[0], figure.axes[2]
    marked = above.lines[2].get_xdata()[np.isfinite(above.lines[2].get_ydata())]
    assert list(marked) == [150.0, 200.0, 250.0]
    values = below.collections[0].get_array().reshape(3, len(TIMES))
    assert [1000 * TIMES[row.argmax()] for row in values] == pytest.approx([100, 200, 300])
    assert list(below.lines[0].get_xdata()) == pytest.approx([100, 200, 300])
    assert list(below.lines[0].get_ydata()) == [0, 1, 2]


def test_a_run_without_baselines_has_no_blocks(run):
    _, _, lags, depth = run
    alone = lags[lags["feature"] == "stable_mode"]
    assert "no blocks scored" in texts(plot_lags(alone, depth[["model", "depth"]], simulated=False))
    with pytest.raises(ValueError, match="needs responses in time, got an empty table"):
        plot_lags(lags.iloc[:0], depth, simulated=True)


def test_sensors_are_drawn_at_the_nearest_lags(run):
    scores, rois, _, _ = run
    figure = plot_topographies(scores, rois, lags=[0.11, 0.29])
    assert [ax.get_title() for ax in figure.axes[:2]] == ["100 ms", "300 ms"]
    image = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    top, foot = (np.nanmean(half) for half in np.split(image[: len(image) // 2 * 2], 2))
    assert foot > 0 > top or top > 0 > foot  # r follows the place from back to front
    assert figure.axes[0].images[0].get_clim()[1] == pytest.approx(scores["r"].abs().max())
    assert not has_places(rois.drop(columns="head_x"))
    with pytest.raises(ValueError, match="places of channels"):
        plot_topographies(scores, rois.drop(columns="head_x"))


def test_a_run_in_time_has_both_figures_in_its_report(run, results, statistics):
    _, rois, lags, _ = run
    part = results.scores.assign(channel="Cz", lag=0.1)
    timed = RunResults(part, results.spectra, results.depth, results.models, rois, results.meta, lags=lags)
    names = [name for name, _, _ in draw_figures(timed, statistics)]
    assert names.index("depth") < names.index("lags") < names.index("topographies")
    assert "lags" not in [name for name, _, _ in draw_figures(results, statistics)]
    cards = pd.DataFrame({"model": MODELS, "lag_slope": 0.2, "lag_slope_low": 0.1, "lag_slope_high": 0.3})
    timed = RunResults(part, timed.spectra, timed.depth, cards.assign(lag_slope_p=0.01), rois, lags=lags)
    (section,) = [found for found in report_sections(timed, statistics) if found.id == "time"]
    assert section.text[1] == (
        "net_b: the last block predicts best +200 ms after the first (+100 to +300), p = .010."
    )
    heat = section.charts[0].data[0]
    assert heat["x"][int(np.argmax(heat["z"][2]))] == 300
