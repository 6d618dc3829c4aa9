"""Help texts out of docstrings, so that they are written once."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import getdoc
from typing import Any

__all__ = ["summary"]


def summary(function: Callable[..., Any], argument: str | None = None) -> str:
    """Return a function's first line, or what its Args section says of one argument.

    Example:
        >>> summary(summary)
        "Return a function's first line, or what its Args section says of one argument."
    """
    text = getdoc(function) or ""
    if argument is None:
        return text.split("\n")[0]
    found = re.search(rf"^    {re.escape(argument)}: (.*(?:\n {{8}}.*)*)", text, flags=re.MULTILINE)
    return re.sub(r"\s+", " ", found.group(1)) if found else ""
