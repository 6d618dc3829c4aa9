"""The documentation site: `make docs` builds it into build/docs and fails on a warning."""

from __future__ import annotations

import io
import os
import tomllib
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "nfas-lightning"
author = "The nfas-lightning developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # the notebooks are stored with their outputs, and the tests run them
exclude_patterns = ["examples", "scripts"]
html_theme = "furo"
html_title = "nfas-lightning"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["equations.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # single backticks in docstrings are code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def _mathml(node: nodes.Element, display: str) -> str:
    # the converter has no operator of this name
    return convert(node.astext().replace(r"\arg\min", r"\text{arg min}"), display=display)


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f"<div>{_mathml(node, 'block')}</div>")
    raise nodes.SkipNode


def _skip(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """Leave out Lightning's hooks and everything else that a class has only inherited its docstring for."""
    return True if name.startswith(("on_", "setup", "teardown")) else None


def _command_page() -> str:
    """Return the page of the command line: what each command's own --help prints."""
    from nfas_lightning.cli.main import COMMANDS, main

    os.environ["COLUMNS"] = "100"

    def told(*args: str) -> str:
        out = io.StringIO()
        with redirect_stdout(out), suppress(SystemExit):  # which is how help ends
            main(args)
        return f"```text\n{out.getvalue().rstrip()}\n```\n"

    names = [*COMMANDS, "fit", "validate", "test", "predict"]
    parts = [f"## nfas {name}\n\n{told(*name.split(), '--help')}" for name in names]
    return "\n".join(
        [
            "# The command line\n",
            "What `nfas --help` and each command's `--help` print.\n",
            told("--help"),
            *parts,
        ]
    )


def link_to_colab(repository: str, page: str, context: dict[str, Any]) -> None:
    """Put a link to Colab above a notebook, where the address of the repository is known."""
    place = repository.removeprefix("https://github.com/")
    if place != repository and page.startswith("notebooks/"):
        address = f"https://colab.research.google.com/github/{place}/blob/main/docs/{page}.ipynb"
        context["body"] = f'<p><a href="{address}">Open in Colab</a></p>{context["body"]}'


def _finish_page(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    about = tomllib.loads(Path(app.srcdir).with_name("pyproject.toml").read_text(encoding="utf-8"))
    link_to_colab(about["project"]["urls"].get("Repository", ""), page, context)


def _write_pages(app: Sphinx) -> None:
    page = Path(app.srcdir, "commands.md")  # ignored by git
    text = _command_page()
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Draw equations as MathML, which browsers show without a script: the site is read offline too."""
    app.connect("builder-inited", _write_pages)
    app.connect("html-page-context", _finish_page)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-skip-member", _skip)
