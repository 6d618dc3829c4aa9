"""Words of a story as running text, in three languages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nfas_lightning.data.stimuli.transcript import join_words
from nfas_lightning.functional.checks import check_option

__all__ = ["join_story"]

# tables of lower-case words write "don't" as don, t; apart from these clitics no such word exists
_BARE_CLITICS = frozenset({"s", "t", "m", "d", "ve", "re", "ll"})
_ELISION = re.compile(r".+['\u2019]$")


def join_story(
    words: Sequence[str], language: str, text: str | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """Write a word list as running text: no spaces in Chinese, none after a French elision.

    English clitics that lost their apostrophe get it back. A word without text of its own (the ``not`` of a
    contraction, a row of its own in some tables) shares the characters of the word before it.

    Args:
        words: the words in the order they were heard.
        language: ``"EN"``, ``"CN"`` or ``"FR"``.
        text: the printed text, see `nfas_lightning.data.stimuli.transcript.join_words`.

    Returns:
        The text and the characters [start, stop) of each word.

    Example:
        >>> join_story(["he", "hasnt", "", "slept", "it", "s"], "EN")
        ("he hasnt slept it's", [(0, 2), (3, 8), (3, 8), (9, 14), (15, 17), (18, 19)])
        >>> join_story(["j'", "avais"], "FR")[0], join_story(["\u6211", "\u516d\u5c81"], "CN")[0]
        ("j'avais", '\u6211\u516d\u5c81')
    """
    check_option("language", language, ("EN", "CN", "FR"))
    if text is not None and all(words):
        return join_words(words, text)
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for i, word in enumerate(words):
        if not word:
            spans.append(spans[-1])
            continue
        glue = "" if not i or language == "CN" or (language == "FR" and _ELISION.match(words[i - 1])) else " "
        if i and language == "EN":
            glue = "'" if word in _BARE_CLITICS else "" if word == "nt" or word.startswith("'") else glue
        # spreadsheets turn these two words into truth values
        surface = word.lower() if word in ("TRUE", "FALSE") else word
        pieces += [glue, surface]
        spans.append((length + len(glue), length + len(glue) + len(surface)))
        length = spans[-1][1]
    return "".join(pieces), spans
