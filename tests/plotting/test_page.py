import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nfas_lightning.plotting import page as pages
from nfas_lightning.plotting import write_report
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results, make_statistics

_SECTIONS = ["models", "model", "regions", "baselines", "tests", "agreement", "truth", "limits", "run"]


class _Page(HTMLParser):
    """Collects tags, and fails on one that is never closed."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.tags, self.open, self.words = [], [], []
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def find(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    @property
    def data(self):
        packed = re.search('<script type="text/plain" id="data">([^<]*)</script>', self.source)
        return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def _page(folder, results, statistics=None, **options):
    statistics = statistics or make_statistics(results)
    return _Page(write_report(folder, results, statistics, **{"formats": ()} | options))


@pytest.fixture(scope="module")
def results():
    return make_results(n_rois=24)


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    return _page(tmp_path_factory.mktemp("run"), results, title="A <demo> & more")


def test_the_leaderboard_comes_first_and_what_was_run_is_folded(page):
    assert [attrs["id"] for attrs in page.find("section")] == _SECTIONS
    linked = {attrs["href"].removeprefix("#") for attrs in page.find("a")}
    assert linked == set(_SECTIONS)
    assert "<h1>A &lt;demo&gt; &amp; more</h1>" in page.source
    provenance = page.source[page.source.index("<summary>Settings") :]
    assert "ab" * 32 in provenance
    assert "ab" * 32 not in page.source.replace(provenance, "")


def test_the_name_of_the_experiment_is_the_title(tmp_path, results):
    named = replace(results, meta={**results.meta, "name": "my experiment"})
    assert "<h1>my experiment</h1>" in _page(tmp_path, named).source
    assert "<h1>demo</h1>" in _page(tmp_path, results).source


def test_nothing_is_loaded_from_elsewhere(page):
    for tag in ("iframe", "object", "img"):
        assert not page.find(tag)
    assert all("src" not in attrs for attrs in page.find("script"))
    assert [attrs["href"] for attrs in page.find("link")] == ["data:,"]
    policy = page.find("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_one_banner_holds_all_warnings(page, results, tmp_path):
    assert [attrs["class"] for attrs in page.find("aside")] == ["alarm"]
    assert page.text.count("SIMULATED") == 1
    real = make_results(("language",), n_models=3, n_rois=6, simulated=False)
    quiet = _page(tmp_path / "real", real)
    assert "simulated" not in quiet.text.lower().replace("simulated false", "")
    confounded = replace(make_statistics(results), design="confounded", design_note="One benchmark each.")
    few = replace(results, models=results.models.assign(n_stimuli=29))
    warned = _page(tmp_path / "design", few, confounded)
    banner = warned.source[warned.source.index("<aside") : warned.source.index("</aside>")]
    assert "One benchmark each." in banner
    assert "SIMULATED" in banner
    assert "Caution: 29 stimuli of simulated-vision are few." in banner
    assert "are few" not in page.text


def test_numbers_of_the_page_are_those_of_the_tables(page, results):
    assert "15 models of 3 modalities, 24 ROIs" in page.text
    assert "PERMANOVA pseudo-F = 14.20, p = .001; mean silhouette 0.52, p = .001" in page.text
    part = results.scores.query("model == 'hed_vgg16' and feature == 'all_blocks'")
    assert f"{part['r'].mean():.3f}" in page.text
    assert "int8 weights, dequantized" in page.text
    assert len(page.data["models"]) == 15


def test_strings_are_escaped(tmp_path):
    evil = "</script><script>alert('x')</script>"
    results = make_results(("audio", "vision"), n_models=2, n_rois=6)
    for table in (results.scores, results.spectra, results.depth, results.models):
        table["model"] = table["model"].replace({"silero_vad": evil, "whisper_base": evil})
    results.models["source"] = results.models["license"] = results.models["note"] = evil
    results = replace(results, meta={evil: evil}, rois=results.rois.drop(columns=["x", "y", "z"]))
    page = _page(tmp_path, results, title=evil)
    assert len(page.find("script")) == 3
    assert page.source.count("&lt;script&gt;") > 8
    assert evil in {model["model"] for model in page.data["models"]}


@pytest.mark.parametrize("n_rois", [6, 40])
def test_fewer_than_three_models_of_a_group_have_no_space(tmp_path, n_rois):
    page = _page(tmp_path / "pair", make_results(("vision",), n_models=2, n_rois=n_rois))
    assert page.data["spaces"] == {}
    assert page.text.count("A space needs three models or more") == 1
    assert "SNCI" not in page.text
    one = make_results(("audio",), n_models=1, n_rois=5, simulated=False, features=("stable_mode",))
    one = replace(one, rois=one.rois[["roi"]], scores=one.scores.assign(network=None, q=np.nan))
    page = _page(tmp_path / "one", one)
    assert "1 model of 1 modality, 5 ROIs" in page.text
    assert page.data["surface"] is None


def test_missing_numbers_are_dashes(tmp_path):
    results = make_results(("audio", "vision"), n_models=2, n_rois=6)
    statistics = make_statistics(results)
    without = results.scores["model"].isin(["silero_vad", "whisper_base"])
    results.scores.loc[without, ["r", "r2", "p", "q"]] = np.nan
    unknown = ["parameters", "stable_real", "seconds_capture", "license"]
    results.models.loc[0, unknown] = [np.nan, np.nan, np.nan, None]
    page = _page(tmp_path, replace(results, rois=results.rois[["roi", "network"]]), statistics)
    assert "nan" not in page.text.lower().split()
    assert "–" in page.text


def test_statistics_alone_make_a_page(tmp_path, results):
    page = _page(tmp_path, None, make_statistics(results), simulated=True)
    ids = [attrs["id"] for attrs in page.find("section")]
    assert ids == ["models", "model", "regions", "tests", "agreement", "limits", "run"]
    assert "SIMULATED" in page.text
    assert len(page.data["models"]) == 15
    space = NFAS.from_scores(make_results(("audio", "vision"), n_models=3, n_rois=6))
    page = _page(tmp_path, None, space.statistics(n_permutations=9))
    assert "SIMULATED" in page.text  # of a simulated brain, without being told


def test_figures_come_in_the_formats_that_are_asked_for(tmp_path, results, monkeypatch):
    statistics = make_statistics(results)
    some = [figure for figure in pages.draw_figures(None, statistics) if figure[0] in ("space", "snci")]
    monkeypatch.setattr(pages, "draw_figures", lambda *_, **__: some)
    with pytest.raises(ValueError, match="formats must be among 'png', 'pdf', 'svg', got 'eps'"):
        write_report(tmp_path / "no", None, statistics, formats=["pdf", "eps"])
    assert not (tmp_path / "no").exists()
    path = write_report(tmp_path / "own.html", None, statistics, dpi=30, formats=["pdf", "svg"])
    assert path == tmp_path / "own.html"
    files = sorted((tmp_path / "figures").iterdir())
    kinds = ("png", "pdf", "svg")
    assert {file.name for file in files} == {f"{n}.{kind}" for n in ("space", "snci") for kind in kinds}
    assert (tmp_path / "figures" / "space.png").read_bytes()[:4] == b"\x89PNG"
