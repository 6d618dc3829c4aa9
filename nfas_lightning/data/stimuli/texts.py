"""Texts as stimuli: words with the words before them, and running text of a word list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


@dataclass(frozen=True)
class TextStimulus:
    """A text, and the part of it that a feature is about.

    Attributes:
        text: what the model reads: a sentence, or a word with the words before it.
        span: characters [start, stop) of the target; tokens that overlap it are pooled. None: the whole text.
    """

    text: str
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("A text stimulus must not be empty: drop it, or give the words before it.")
        if self.span is not None and not 0 <= self.span[0] < self.span[1] <= len(self.text):
            raise InputError(f"span must lie inside the {len(self.text)} characters, got {self.span}.")


def carried(texts: Sequence[str | TextStimulus], carrier: str) -> list[TextStimulus]:
    """Put single words, or other short texts, into a carrier phrase; the pooled tokens are their own alone.

    A causal language model makes an attention sink of the first token: words that scored .04 by themselves
    scored .47 in a phrase.

    Args:
        texts: N strings; a `TextStimulus` keeps its span.
        carrier: the phrase, with ``{}`` where the text goes, best not at its beginning.

    Example:
        >>> carried(["cat"], "The word is {}.")
        [TextStimulus(text='The word is cat.', span=(12, 15))]
    """
    before, _, after = carrier.partition("{}")
    if carrier.count("{}") != 1 or not (before + after).strip():
        raise InputError(
            f"carrier must be a phrase with {{}} once, such as 'The word is {{}}', got {carrier!r}."
        )
    stimuli = []
    for text in texts:
        stimulus = text if isinstance(text, TextStimulus) else TextStimulus(text)
        start, stop = stimulus.span or (0, len(stimulus.text))
        span = (len(before) + start, len(before) + stop)
        stimuli.append(TextStimulus(before + stimulus.text + after, span))
    return stimuli


# a clitic on its own, the word before "n't", or letters with the digits among them; a number alone may have
# signs that are said ("50%", "-5"), so it is left as it was heard
_TOKEN = re.compile(r"n't|'(?:s|d|m|ll|ve|re)\b|[^\W_]+?(?=n't)|[$£€]?[^\W_]*[^\W\d_][^\W_]*", re.IGNORECASE)
_CLITIC = re.compile(r"n't|'(?:s|d|m|ll|ve|re)", re.IGNORECASE)
# tables of lower-case words write "don't" as don, t; apart from these clitics no such word exists
_BARE_CLITICS = frozenset({"s", "t", "m", "d", "ve", "re", "ll"})
_ELISION = re.compile(r".+['\u2019]$")


def word_stimuli(words: Sequence[str], *, window: int, text: str | None = None) -> list[TextStimulus]:
    """Make every word the span of a stimulus that ends with it and starts up to `window` words before.

    Args:
        words: the words in the order they were heard.
        window: words of context before the word; 0 gives the word alone.
        text: the printed text, for punctuation and capitals.
    """
    for place, word in enumerate(words):
        if not isinstance(word, str) or not word.strip():
            what = "must not be empty" if isinstance(word, str) else "must be text"
            raise InputError(
                f"words {what}, got {word!r} at {place} (counted from 0): leave it out; read tables with "
                "keep_default_na=False to keep 'null' and 'NA'."
            )
    return context_windows(*join_words(words, text), window)


def context_windows(text: str, spans: Sequence[tuple[int, int]], window: int) -> list[TextStimulus]:
    """Make every word a stimulus, given the characters [start, stop) of each; see `word_stimuli`."""
    if window < 0:
        raise InputError(f"window must be zero or more words of context, got {window}.")
    stimuli = []
    for i, (start, stop) in enumerate(spans):
        first = spans[max(0, i - window)][0]
        stimuli.append(TextStimulus(text[first:stop], (start - first, stop - first)))
    return stimuli


def join_words(words: Sequence[str], text: str | None = None) -> tuple[str, list[tuple[int, int]]]:
    """Write a word list as running text, and return the characters [start, stop) of each word in it.

    Where the printed `text` has the same words in the same order, its capitals and punctuation are used;
    where the two differ, the word list is what was heard and wins. Clitics such as "n't" may be alone.

    Example:
        >>> join_words(["so", "she", "did", "n't"], "So, she didn't.")
        ("So, she didn't", [(0, 2), (4, 7), (8, 11), (11, 14)])
    """
    words = [word.strip() for word in words]
    place = _match(words, text) if text is not None else [None] * len(words)
    pieces = []
    for i, word in enumerate(words):
        here, before = place[i], place[i - 1] if i else None
        glue = "" if not i or _CLITIC.fullmatch(word) else " "
        if text is not None and here and before and here[2] == before[3]:
            glue = re.sub(r"\s+", " ", text[before[1] : here[0]].replace("`", "'"))
        # a printed word in capitals marks a stress, which tokenizers spell out letter by letter
        printed = text[here[0] : here[1]] if text is not None and here else word
        pieces.append((glue, printed if len(printed) == 1 or not printed.isupper() else word))
    return _written(pieces)


def join_story(
    words: Sequence[str], language: str, text: str | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """Write a word list as `join_words` does: no spaces in Chinese (CN), none after a French (FR) elision.

    English (EN) clitics that lost their apostrophe get it back. A word without text of its own (the ``not``
    of a contraction, a row of its own in some tables) shares the characters of the word before it.

    Example:
        >>> join_story(["he", "hasnt", "", "slept", "it", "s"], "EN")
        ("he hasnt slept it's", [(0, 2), (3, 8), (3, 8), (9, 14), (15, 17), (18, 19)])
        >>> join_story(["j'", "avais"], "FR")[0], join_story(["\u6211", "\u516d\u5c81"], "CN")[0]
        ("j'avais", '\u6211\u516d\u5c81')
    """
    check_option("language", language, ("EN", "CN", "FR"))
    if text is not None and all(words):
        return join_words(words, text)
    pieces: list[tuple[str, str] | None] = []
    for i, word in enumerate(words):
        glue = "" if not i or language == "CN" or (language == "FR" and _ELISION.match(words[i - 1])) else " "
        if i and language == "EN":
            glue = "'" if word in _BARE_CLITICS else "" if word == "nt" or word.startswith("'") else glue
        # spreadsheets turn these two words into truth values
        pieces.append((glue, word.lower() if word in ("TRUE", "FALSE") else word) if word else None)
    return _written(pieces)


def _written(pieces: Iterable[tuple[str, str] | None]) -> tuple[str, list[tuple[int, int]]]:
    """Join pieces of what is before a word and the word; None shares the characters of the word before."""
    text, spans = [], [(0, 0)]
    for piece in pieces:
        if piece is not None:
            start = spans[-1][1] + len(piece[0])
            text.append("".join(piece))
        spans.append(spans[-1] if piece is None else (start, start + len(piece[1])))
    return "".join(text), spans[1:]


def _match(words: Sequence[str], text: str) -> list[tuple[int, int, int, int] | None]:
    """Characters [start, stop) of each word in the text, and its first and one-past-last token there."""
    heard = [(token.group().lower(), i) for i, word in enumerate(words) for token in _TOKEN.finditer(word)]
    printed = [(m.group().lower(), m.start(), m.end()) for m in _TOKEN.finditer(text)]
    matcher = SequenceMatcher(None, [t for t, _ in heard], [t for t, _, _ in printed], autojunk=False)
    pair = {a + k: b + k for a, b, size in matcher.get_matching_blocks() for k in range(size)}
    tokens: list[list[int | None]] = [[] for _ in words]
    for k, (_, i) in enumerate(heard):
        tokens[i].append(pair.get(k))
    out: list[tuple[int, int, int, int] | None] = []
    for found in tokens:
        known = [t for t in found if t is not None]
        whole = known and len(known) == len(found) and known == list(range(known[0], known[0] + len(known)))
        out.append((printed[known[0]][1], printed[known[-1]][2], known[0], known[-1] + 1) if whole else None)
    return out
