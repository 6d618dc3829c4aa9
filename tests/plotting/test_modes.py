"""The figure of depth spectra, and the shares that it shows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.plotting import draw_figures, plot_modes
from nfas_lightning.plotting.modes import mode_table
from nfas_lightning.plotting.sections import report_sections
from tests.helpers.figures import dots, texts
from tests.helpers.results import make_modes


def test_shares_of_a_network_weigh_regions_by_what_is_explained(results):
    modes = make_modes(results)
    table = mode_table(modes)
    np.testing.assert_allclose(table.groupby(["model", "network"])["share"].sum(), 1)
    keys = ["model", "network", "mode"]
    own = modes[(modes[keys] == modes.loc[0, keys]).all(axis=1)]
    got = table[(table[keys] == modes.loc[0, keys]).all(axis=1)]["share"].item()
    np.testing.assert_allclose(got, own["r2"].sum() / own["r2_whole"].sum())
    # subjects one by one count where there is no group, and not beside it
    each = pd.concat([modes, modes.assign(subject="s1", r2=0.0)])
    pd.testing.assert_frame_equal(mode_table(each), table)
    pd.testing.assert_frame_equal(mode_table(modes.assign(subject="s1")), table)


def test_a_panel_per_network_holds_every_model_and_mode(results):
    modes = make_modes(results)
    figure = plot_modes(modes, max_panels=4)
    table = mode_table(modes)
    best = table.groupby("network")["r2_whole"].mean().nlargest(4).index
    shown = table[table["network"].isin(best)]
    for kind in ("turning", "decaying"):
        expected = shown.loc[shown["kind"] == kind, ["modulus", "share"]].to_numpy()
        np.testing.assert_allclose(np.sort(dots(figure, f"modes-{kind}"), 0), np.sort(expected, 0))
    said = texts(figure)
    assert "4 of" in said
    assert all(word in said for word in ("vision", "language", "persistent", "growing", "SIMULATED"))
    assert len(dots(plot_modes(modes[modes["mode"] < 0]), "modes-turning")) == 0  # an empty table draws


def test_the_report_has_shares_of_all_regions_and_of_networks(results, statistics):
    run = replace(results, modes=make_modes(results))
    drawn = [{name for name, _, _ in draw_figures(some, statistics)} for some in (results, run)]
    assert drawn[1] - drawn[0] == {"modes"}
    made = {section.id: section for section in report_sections(run, statistics)}
    assert "modes" not in {section.id for section in report_sections(results, statistics)}
    traces = made["modes"].charts[0].data
    assert {trace["name"] for trace in traces} >= {"vision, turning", "language, decaying"}
    shares = pd.concat([pd.Series(trace["y"], trace["customdata"]) for trace in traces])
    assert set(shares.index) == set(results.models["model"])
    np.testing.assert_allclose(shares.groupby(level=0).sum(), 1, atol=1e-4)
    grid = made["modes"].tables[0]
    assert list(grid.columns) == ["network", "r² of all modes", "decaying", "turning"]
    for row in grid.rows:
        assert sum(float(cell) for cell, _ in row[2:]) == pytest.approx(1, abs=2e-3)
