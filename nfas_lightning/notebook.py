"""How objects show themselves in a notebook: a name, facts, and the head of a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

__all__ = ["card"]

_MOST_ROWS = 12
_MOST_LETTERS = 160  # of a fact


def card(title: str, facts: Mapping[str, Any], table: pd.DataFrame | None = None) -> str:
    """Return HTML for ``_repr_html_``; what is not known is left out, and all text is escaped.

    Args:
        title: usually what ``repr`` says.
        facts: short values by name.
        table: its first and last rows are shown, numbers in three digits.

    Example:
        >>> card("Responses", {"subjects": 3, "tr": None})
        '<div><b>Responses</b><table><tr><th>subjects</th><td>3</td></tr></table></div>'
    """
    rows = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(_text(value))}</td></tr>"
        for name, value in facts.items()
        if value is not None and value != "" and value != []
    )
    shown = ""
    if table is not None and len(table):
        shown = table.to_html(
            index=False,
            border=0,
            na_rep="–",
            float_format="{:.3f}".format,
            max_rows=_MOST_ROWS,
            justify="left",
        )
    return f"<div><b>{escape(title)}</b><table>{rows}</table>{shown}</div>"


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
