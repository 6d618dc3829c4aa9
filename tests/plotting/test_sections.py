import json
from dataclasses import replace

import numpy as np
import pytest

from nfas_lightning.functional.snci import snci_noise
from nfas_lightning.plotting import sections
from nfas_lightning.plotting.score_tables import baseline_table
from nfas_lightning.plotting.sections import Section, report_sections
from tests.helpers.results import make_results, make_statistics


@pytest.fixture(scope="module")
def made(results, statistics):
    return {section.id: section for section in report_sections(results, statistics)}


def _trace(chart, name):
    return next(trace for trace in chart.data if trace.get("name") == name)


def test_gains_are_differences_to_each_baseline(made, results):
    table = baseline_table(results.scores)
    chart = made["baselines"].charts[0]
    means = _trace(chart, "mean, 95 % interval")
    expected = (table["stable_mode"] - table["last_block"]).mean()
    row = chart.layout["yaxis"]["ticktext"].index("last block")
    assert means["x"][row] == pytest.approx(expected, abs=1e-5)
    dots = [trace for trace in chart.data if "customdata" in trace]
    assert sorted({name for trace in dots for name in trace["customdata"]}) == sorted(results.models["model"])
    assert all(half > 0 for half in means["error_x"]["array"])


def test_snci_below_noise_is_hollow(made, statistics):
    chart = made["agreement"].charts[0]
    noise = snci_noise(5)
    assert {shape["x0"] for shape in chart.layout["shapes"]} == {noise}
    vision = _trace(chart, "vision")
    hollow = ["open" in symbol for symbol in vision["marker"]["symbol"]]
    assert hollow == [x is None or x <= noise for x in vision["x"]]
    assert {True, False} == set(hollow)


def test_planted_and_recovered_have_one_dot_per_region(made, results):
    chart = made["truth"].charts[0]
    dots = [trace for trace in chart.data if trace["marker"]["symbol"] != "line-ns-open"]
    assert sum(len(trace["x"]) for trace in dots) == 3 * len(results.rois)
    assert any(name.startswith("vision models: vision planted") for name in chart.layout["yaxis"]["ticktext"])


def test_what_is_not_there_has_no_section(results):
    pair = make_results(("vision",), n_models=2, n_rois=4, simulated=False)
    ids = [section.id for section in report_sections(pair, make_statistics(pair))]
    assert ids == ["baselines", "tests"]
    unknown = make_statistics(results)
    unknown = replace(unknown, snci=unknown.snci.assign(bounded=np.nan, ratio=np.nan))
    agreement = next(s for s in report_sections(results, unknown) if s.id == "agreement")
    assert not agreement.charts
    assert "Not computed: no modality has two models or more." in agreement.text


def test_a_section_of_ones_own_takes_its_place(results, statistics, monkeypatch):
    own = Section("own", "My own", ["A sentence."])
    monkeypatch.setattr(sections, "SECTIONS", (*sections.SECTIONS, lambda results, statistics: own))
    assert report_sections(results, statistics)[-1] is own


def test_charts_are_plain_json(made):
    for section in made.values():
        for chart in section.charts:
            json.dumps(chart._asdict(), allow_nan=False)
