import matplotlib as mpl
import pytest

from nfas_lightning.plotting.pictures import check_formats, save_figure
from nfas_lightning.plotting.style import (
    finish,
    new_figure,
)


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
