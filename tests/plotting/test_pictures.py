import base64
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, features

from nfas_lightning.plotting import plot_networks, write_report
from nfas_lightning.plotting.pictures import check_formats, embed, save_figure
from nfas_lightning.plotting.style import (
    finish,
    new_figure,
)
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results, make_zoo


def _decoded(source):
    kind, data = source.removeprefix("data:image/").split(";base64,")
    picture = Image.open(BytesIO(base64.b64decode(data)))
    assert picture.format == kind.upper()
    return picture.convert("RGB")


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chart")
    return save_figure(plot_networks(make_results(n_rois=40).scores), folder / "chart.png", dpi=200)


def test_a_chart_keeps_its_pixels_and_nearly_its_colors(chart):
    source = embed(chart)
    before, after = Image.open(chart).convert("RGB"), _decoded(source)
    assert after.size == before.size
    off = np.abs(np.asarray(before, int) - np.asarray(after, int))
    assert off.max() <= 24  # of 255
    assert np.quantile(off, 0.99) <= 8
    assert len(source) < 0.7 * chart.stat().st_size


def test_a_shaded_picture_keeps_its_pixels_too(chart):
    before, after = Image.open(chart).convert("RGB"), _decoded(embed(chart, shaded=True))
    assert after.size == before.size
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).mean() < 3


def test_without_webp_it_is_a_png(chart, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    source = embed(chart)
    assert source.startswith("data:image/png;base64,")
    assert _decoded(source).size == Image.open(chart).size


def test_what_webp_can_not_hold_is_a_png(tmp_path):
    Image.new("RGB", (20_000, 8), "white").save(tmp_path / "long.png")
    assert _decoded(embed(tmp_path / "long.png")).size == (20_000, 8)


@pytest.mark.slow
def test_the_page_of_forty_five_models_is_small_and_its_files_are_whole(tmp_path):
    zoo = make_zoo()
    path = write_report(tmp_path, zoo, NFAS.from_scores(zoo).statistics(n_permutations=99))
    assert path.stat().st_size < 3e6
    with Image.open(tmp_path / "figures" / "map_r2.png") as picture:
        assert picture.width == 2300  # 11.5 inches at 200


def test_vector_figures_keep_their_text_and_repeat_byte_by_byte(tmp_path):
    before = {name: mpl.rcParams[name] for name in ("pdf.fonttype", "svg.fonttype", "svg.hashsalt")}
    written = []
    for folder in ("first", "second"):
        figure = finish(new_figure(3, 3), "A model called a$b", {}, simulated=False)
        figure.add_subplot().plot([0, 1], [0, 1], clip_on=True)
        path = save_figure(figure, tmp_path / folder / "chart.png", formats=["pdf", "png", "svg"])
        assert path == tmp_path / folder / "chart.png"
        written.append({file.suffix: file.read_bytes() for file in path.parent.iterdir()})
    assert set(written[0]) == {".png", ".pdf", ".svg"}
    assert written[0] == written[1]
    assert b"A model called a$b" in written[0][".svg"]
    assert b"<text" in written[0][".svg"]
    assert b"/Subtype /Type3" not in written[0][".pdf"]
    assert b"/FontFile2" in written[0][".pdf"]  # an embedded TrueType font
    assert {name: mpl.rcParams[name] for name in before} == before


def test_an_unknown_format_is_named():
    assert check_formats("pdf") == ("pdf",)
    with pytest.raises(ValueError, match="formats must be among 'png', 'pdf', 'svg', got 'tiff', 'jpg'"):
        check_formats(["pdf", "tiff", "jpg"])
