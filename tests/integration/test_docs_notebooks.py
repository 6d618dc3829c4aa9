"""The notebooks of docs/notebooks show what they showed when they were written."""

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+\.\d+")  # counts and steps are exact


def printed(cell):
    return "".join(out.text for out in cell.outputs if out.get("name") == "stdout")


def shown(cell):
    return [out.data for out in cell.outputs if out.output_type == "execute_result"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each notebook as stored and as it ran; one kernel, emptied between, since imports take long."""
    stored = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    whole = nbformat.v4.new_notebook()
    for notebook in stored:
        whole.cells += [nbformat.v4.new_code_cell("%reset -f"), *nbformat.from_dict(notebook).cells]
    NotebookClient(whole, timeout=250).execute(cwd=tmp_path_factory.mktemp("notebooks"))
    ran = iter([cell for cell in whole.cells if cell.source != "%reset -f"])
    return [
        (path.stem, notebook.cells, [next(ran) for _ in notebook.cells])
        for path, notebook in zip(NOTEBOOKS, stored, strict=True)
    ]


@pytest.mark.weights
@pytest.mark.slow
def test_they_print_and_show_the_same(runs):
    assert {name for name, *_ in runs} == {"first_score", "monitor_training", "own_data"}
    for name, before, after in runs:
        assert [cell.source for cell in before] == [cell.source for cell in after]
        code = [pair for pair in zip(before, after, strict=True) if pair[0].cell_type == "code"]
        for old, new in code:
            assert NUMBER.sub("#", printed(old)) == NUMBER.sub("#", printed(new)), name
            numbers = [[float(n) for n in NUMBER.findall(printed(cell))] for cell in (old, new)]
            assert numbers[1] == pytest.approx(numbers[0], abs=0.02), (name, old.source)
            assert [set(data) for data in shown(old)] == [set(data) for data in shown(new)]
        data = [data for _, cell in code for data in shown(cell)]
        assert any("image/png" in d for d in data), f"{name} shows no figure"
        cards = [d["text/html"] for d in data if "text/html" in d]
        assert name == "monitor_training" or any(c.startswith("<div><b>RunResults: 1 model<") for c in cards)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_small_and_name_no_path_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    places = "site-packages", str(Path.home()), tempfile.gettempdir(), "Traceback"
    assert [place for place in places if place in text] == []
    cells = nbformat.reads(text, as_version=4).cells
    assert all(
        cell.outputs or "import" in cell.source or "class" in cell.source
        for cell in cells
        if cell.cell_type == "code"
    )
