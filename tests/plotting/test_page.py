import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nfas_lightning.plotting import (
    write_report,
)
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results, make_statistics

_SECTIONS = ["space", "agreement", "maps", "truth", "dynamics", "baselines", "models", "run", "limits"]


class _Page(HTMLParser):
    """Collects tags, and fails on one that is never closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def find(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def results():
    return make_results(n_rois=40)


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    path = write_report(
        tmp_path_factory.mktemp("run"), results, make_statistics(results), title="A <demo> & more"
    )
    return path, _Page(path.read_text())


def test_every_section_is_there_and_linked(written):
    _, page = written
    assert [attrs["id"] for attrs in page.find("section")] == _SECTIONS
    assert [attrs["href"] for attrs in page.find("a")] == [f"#{name}" for name in _SECTIONS]


def test_nothing_is_loaded_from_elsewhere(written):
    path, page = written
    for tag in ("script", "link", "iframe", "object"):
        assert not page.find(tag)
    assert all(re.match("data:image/(webp|png);base64,", attrs["src"]) for attrs in page.find("img"))
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|url\(|@import", path.read_text())


def test_every_picture_is_also_a_file_and_says_what_it_is(written):
    path, page = written
    files = sorted((path.parent / "figures").glob("*.png"))
    assert len(files) == len(page.find("img")) >= 12
    assert all(attrs["alt"] for attrs in page.find("img"))
    assert files[0].read_bytes()[:4] == b"\x89PNG"


def test_simulated_stands_on_every_section_and_picture(written):
    path, page = written
    assert path.read_text().count('class="simulated"') == len(_SECTIONS) + 1
    assert all("simulated" in attrs["alt"] for attrs in page.find("img"))


def test_numbers_of_the_page_are_those_of_the_tables(written, results):
    _, page = written
    assert "15 models of 3 modalities, 40 ROIs" in page.text
    assert "PERMANOVA pseudo-F = 14.20, p = .001; mean silhouette 0.52, p = .001" in page.text
    part = results.scores.query("model == 'hed_vgg16' and feature == 'all_blocks'")
    assert f"{part['r'].mean():.3f}" in page.text
    assert "int8 weights, dequantized" in page.text
    assert "ab" * 32 in page.text


def test_each_point_of_the_space_names_its_model(written, results):
    _, page = written
    assert len(page.find("circle")) == 2 * len(results.models)  # the space, and scores against sizes
    assert all(f"{name} · " in page.text for name in results.models["model"])


def test_strings_are_escaped(tmp_path):
    evil = "<script>alert('x')</script>"
    results = make_results(("audio", "vision"), n_models=2, n_rois=6)
    for table in (results.scores, results.spectra, results.depth, results.models):
        table["model"] = table["model"].replace({"silero_vad": evil, "whisper_base": evil})
    results.models["source"] = results.models["license"] = results.models["note"] = evil
    results = replace(results, meta={evil: evil}, rois=results.rois.drop(columns=["x", "y", "z"]))
    text = write_report(tmp_path, results, make_statistics(results), title=evil, dpi=30).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 8


def test_real_results_carry_no_mark(tmp_path):
    results = make_results(("language",), n_models=3, n_rois=6, simulated=False)
    path = write_report(tmp_path / "own.html", results, make_statistics(results), dpi=30)
    assert path == tmp_path / "own.html"
    page = _Page(path.read_text())
    assert "simulated" not in page.text.lower().replace("simulated false", "")
    assert "PERMANOVA needs two modalities" in page.text
    assert {"figure-rois", "figure-map_r2"} <= {attrs.get("id") for attrs in page.find("figure")}
    assert "figure-convergence" not in {attrs.get("id") for attrs in page.find("figure")}


def test_one_model_without_coordinates_or_networks(tmp_path):
    results = make_results(("audio",), n_models=1, n_rois=5, simulated=False, features=("stable_mode",))
    results = replace(
        results, rois=results.rois[["roi"]], scores=results.scores.assign(network=None, q=np.nan)
    )
    page = _Page(write_report(tmp_path, results, make_statistics(results), dpi=30).read_text())
    assert "1 model of 1 modality, 5 ROIs" in page.text
    assert page.find("section")[0]["id"] == "baselines"
    assert page.text.count("A space needs three models or more") == 1
    assert "SNCI" not in page.text
    assert "figure-space" not in {attrs.get("id") for attrs in page.find("figure")}


@pytest.mark.parametrize("n_rois", [6, 40])
def test_a_pair_of_models_leads_with_its_scores_and_has_no_space(tmp_path, n_rois):
    results = make_results(("vision",), n_models=2, n_rois=n_rois)
    page = _Page(write_report(tmp_path, results, make_statistics(results), dpi=30).read_text())
    assert [attrs["id"] for attrs in page.find("section")] == [
        "baselines",
        "maps",
        "truth",
        "dynamics",
        "models",
        "run",
        "limits",
    ]
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert not drawn & {"space", "mds", "snci", "convergence", "map_snci", "sizes", "stability"}
    assert ("20 of 40 ROIs with the highest r" in page.text) == (n_rois == 40)
    assert "noise ceiling" in page.text


def test_missing_numbers_are_dashes(tmp_path):
    results = make_results(("audio", "vision"), n_models=2, n_rois=6)
    results.scores.loc[results.scores["model"] == "silero_vad", ["r", "r2", "p", "q"]] = np.nan
    results.scores.loc[results.scores["model"] == "whisper_base", ["r", "r2", "p", "q"]] = np.nan
    results.models.loc[0, ["parameters", "stable_real", "seconds_capture", "license"]] = [
        np.nan,
        np.nan,
        np.nan,
        None,
    ]
    statistics = make_statistics(make_results(("audio", "vision"), n_models=2, n_rois=6))
    results = replace(results, rois=results.rois[["roi", "network"]])
    page = _Page(write_report(tmp_path, results, statistics, dpi=30).read_text())
    assert "nan" not in page.text.lower().split()
    assert "–" in page.text


def test_statistics_alone_make_a_page(tmp_path, results):
    page = _Page(write_report(tmp_path, None, make_statistics(results), simulated=True, dpi=30).read_text())
    assert [attrs["id"] for attrs in page.find("section")] == ["space", "agreement", "limits"]
    assert "SIMULATED" in page.text


def test_figures_come_in_the_formats_that_are_asked_for(tmp_path, results):
    statistics = make_statistics(results)
    with pytest.raises(ValueError, match="formats must be among 'png', 'pdf', 'svg', got 'eps'"):
        write_report(tmp_path / "no", None, statistics, formats=["pdf", "eps"])
    assert not (tmp_path / "no").exists()
    page = _Page(write_report(tmp_path, None, statistics, dpi=30, formats=["pdf", "svg"]).read_text())
    files = sorted((tmp_path / "figures").iterdir())
    drawn = {file.stem for file in files}
    assert len(drawn) == len(page.find("img"))
    assert {file.name for file in files} == {f"{n}.{kind}" for n in drawn for kind in ("png", "pdf", "svg")}
    assert all(re.match("data:image/(webp|png);base64,", attrs["src"]) for attrs in page.find("img"))


def test_statistics_of_a_simulated_brain_mark_their_page_without_being_told(tmp_path):
    space = NFAS.from_scores(make_results(("audio", "vision"), n_models=3, n_rois=6))
    page = _Page(write_report(tmp_path, None, space.statistics(n_permutations=9), dpi=30).read_text())
    assert "SIMULATED" in page.text
    assert all("simulated" in attrs["alt"] for attrs in page.find("img"))
