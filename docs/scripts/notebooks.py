"""Run the notebooks of docs/notebooks, each in a fresh kernel, and keep what they show.

python docs/scripts/notebooks.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def main() -> None:
    """Run each, and write it where it was."""
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        with TemporaryDirectory() as folder:  # where it writes its runs
            NotebookClient(notebook, timeout=300, record_timing=False).execute(cwd=folder)
        for cell in notebook.cells:
            # what goes on while it runs: seconds, and paths of this machine
            if "outputs" in cell:
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
