import numpy as np
import pytest

from nfas_lightning.plotting import (
    plot_depth,
    plot_families,
    plot_spectra,
)
from nfas_lightning.plotting.dynamics import _spread
from tests.helpers.figures import dots, texts


def _marked_once(spectra):
    """As a run writes them: of a complex pair, one of the two is marked as stable."""
    return spectra.assign(stable=spectra["stable"] & (spectra["imag"] >= 0))


@pytest.mark.parametrize("table", [_marked_once, lambda spectra: spectra])
def test_spectra_fill_the_stable_mode_and_pale_its_conjugate(results, table):
    spectra = table(results.spectra)
    figure = plot_spectra(spectra, simulated=True)
    stable, twins, others = (dots(figure, name) for name in ("stable", "conjugates", "others"))
    assert len(stable) == len(twins) == len(results.models)
    np.testing.assert_allclose(sorted(stable[:, 0]), sorted(twins[:, 0]))
    np.testing.assert_allclose(sorted(stable[:, 1]), sorted(-twins[:, 1]))
    assert len(others) == len(spectra) - 2 * len(stable)
    assert "its complex conjugate: the same mode" in texts(figure)


def test_spectra_of_real_modes_speak_of_no_conjugate(results):
    spectra = results.spectra.query("mode == 2").assign(stable=True)
    figure = plot_spectra(spectra, simulated=True)
    assert len(dots(figure, "stable")) == len(spectra)
    assert "conjugate" not in texts(figure)


def test_a_mode_that_turns_the_other_way_is_named_too(results):
    lower = results.spectra.assign(stable=results.spectra["imag"] < 0)
    assert set(results.models["model"]) <= set(texts(plot_spectra(lower, simulated=True)).split())
    figure = plot_families(lower, results.models, simulated=True)
    assert sum(len(dots(figure, f"families-angle-{m}")) for m in ("vision", "audio", "language")) == 15
    assert min(dots(figure, "families-angle-audio")[:, 0]) > 0


def test_spectra_bring_wild_values_to_the_rim(results):
    wild = results.spectra.copy()
    wild.loc[0, ["real", "imag"]] = [30.0, 40.0]
    figure = plot_spectra(wild, simulated=True)
    assert np.hypot(*dots(figure, "stable").T).max() == pytest.approx(1.6)
    assert "1 beyond modulus 1.6" in texts(figure)


def test_where_stable_values_crowd_they_are_shown_once_more(results):
    close = results.spectra.query("modality == 'audio'").copy()
    value = 0.95 * np.exp(1j * np.linspace(0.02, 0.2, len(close)))
    close[["real", "imag"]] = np.c_[value.real, value.imag]
    figure = plot_spectra(close.assign(stable=True), simulated=True)
    inset = figure.axes[0].child_axes[0]
    assert len(dots_of(inset, "enlarged")) == len(close)
    (left, right), (low, high) = inset.get_xlim(), inset.get_ylim()
    assert ((value.real > left) & (value.real < right) & (value.imag > low) & (value.imag < high)).all()
    apart = close.assign(stable=True, real=np.linspace(-1, 1, len(close)))
    assert not [
        c for c in plot_spectra(apart, simulated=True).axes[0].child_axes if dots_of(c, "enlarged").size
    ]


def dots_of(ax, name):
    parts = [c.get_offsets() for c in ax.collections if c.get_gid() == name]
    return np.concatenate(parts) if parts else np.empty((0, 2))


def test_spread_keeps_order_gap_and_bounds():
    heights = _spread(np.array([-0.9, 0.0, 0.01, 0.02, 0.95]), 0.2, -1.0, 1.0)
    assert (np.diff(heights) >= 0.2 - 1e-9).all()
    assert heights[0] >= -1.0
    assert heights[-1] <= 1.0 + 1e-9


def test_families_have_one_row_each_and_one_mark_per_model(zoo):
    figure = plot_families(zoo.spectra, zoo.models, simulated=True)
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(rows) == len(zoo.models.drop_duplicates(["family", "modality"]))
    assert "whisper (3)" in rows
    marks = sum(len(dots(figure, f"families-modulus-{m}")) for m in ("vision", "audio", "language"))
    assert marks == 45
    upper = zoo.spectra.query("stable and imag >= 0 and model == 'gpt2'").iloc[0]
    gpt2 = dots(figure, "families-angle-language")[:, 0]
    assert np.isclose(gpt2, np.degrees(np.arctan2(upper["imag"], upper["real"]))).any()


def test_depth_has_one_row_per_model_and_says_when_scores_are_missing(results):
    depth = results.depth.copy()
    depth.loc[depth["model"] == "silero_vad", "r"] = np.nan
    figure = plot_depth(depth, simulated=True)
    assert len(figure.axes[0].get_yticklabels()) == 15
    assert texts(figure).count("not computed") == 1


def test_depth_of_a_single_block_is_drawn(results):
    plot_depth(results.depth.groupby("model", sort=False).head(1), simulated=True).draw_without_rendering()
