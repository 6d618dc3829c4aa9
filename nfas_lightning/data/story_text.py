"""Words of a story as running text, and the windows of context that end with each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nfas_lightning.data.stimuli import TextStimulus
from nfas_lightning.data.transcript import join_words
from nfas_lightning.functional.checks import check_option

__all__ = ["context_windows", "join_story"]

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
        text: the printed text, see `nfas_lightning.data.transcript.join_words`.

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


def context_windows(text: str, spans: Sequence[tuple[int, int]], window: int) -> list[TextStimulus]:
    """Make every word a stimulus that ends with it and starts up to `window` words before.

    Args:
        text: the running text.
        spans: characters [start, stop) of each word; two words may share them.
        window: words of context before the word; 0 gives the word alone.

    Raises:
        ValueError: `window` is negative.

    Example:
        >>> [s.text for s in context_windows("so she ran", [(0, 2), (3, 6), (7, 10)], 1)]
        ['so', 'so she', 'she ran']
    """
    if window < 0:
        raise ValueError(f"window must be zero or more words of context, got {window}.")
    stimuli = []
    for i, (start, stop) in enumerate(spans):
        first = spans[max(0, i - window)][0]
        stimuli.append(TextStimulus(text[first:stop], (start - first, stop - first)))
    return stimuli
