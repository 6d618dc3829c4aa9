"""Words of a story with their times: tables, Gentle alignments and TextGrids."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.tables import first_row, parse_csv
from nfas_lightning.errors import InputError

# neighbors may be timed a little out of order; more than this is another order
_OVERLAP_SECONDS = 0.1
_GENTLE_COLUMNS = ("word", "aligned word", "onset", "offset")
# numbers and quoted strings, in which "" stands for a quotation mark
_TEXTGRID_TOKEN = re.compile(r'"(?:[^"]|"")*"|<[a-z]+>|(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])')


@dataclass(frozen=True, eq=False)
class Words:
    """The words of one story in the order they were heard.

    Attributes:
        words: N words; an empty one has no text of its own (its sound belongs to the word before).
        onset: (N,) seconds on the clock of the sound file, NaN where unknown.
        offset: (N,) the same, of the words' ends.
        interpolated: (N,) the times were placed between neighbors, not aligned.
    """

    words: tuple[str, ...]
    onset: NDArray[np.float64]
    offset: NDArray[np.float64]
    interpolated: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        if not len(self.interpolated):
            object.__setattr__(self, "interpolated", np.zeros(len(self.words), dtype=bool))

    def __len__(self) -> int:
        return len(self.words)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """(N,) whether a word's time is known."""
        return np.isfinite(self.onset)

    def forget_before(self, start: float) -> Words:
        """Return the words without the times before `start`: words that were aligned to the intro."""
        onset, offset = (np.where(self.onset < start, np.nan, times) for times in (self.onset, self.offset))
        return replace(self, onset=onset, offset=offset)

    def fill(self, max_gap: float = 10.0) -> Words:
        """Place words of unknown time evenly between neighbors that are at most `max_gap` seconds apart.

        Example:
            >>> nan = float("nan")
            >>> words = Words(("a", "b", "c", "d"), np.array([1, nan, nan, 3]), np.array([2, nan, nan, 4]))
            >>> words.fill().onset.tolist(), words.fill().interpolated.tolist()
            ([1.0, 2.0, 2.5, 3.0], [False, True, True, False])
        """
        onset, offset, placed = self.onset.copy(), self.offset.copy(), self.interpolated.copy()
        for before, after in pairwise(np.flatnonzero(self.timed)):
            start, stop = self.offset[before], self.onset[after]
            if after - before == 1 or stop - start > max_gap:
                continue
            # an aligned word may end a little after the next one begins
            edges = np.linspace(min(start, stop), stop, after - before)
            between = slice(before + 1, after)
            onset[between], offset[between], placed[between] = edges[:-1], edges[1:], True
        return replace(self, onset=onset, offset=offset, interpolated=placed)


def words_of_table(name: str, table: pd.DataFrame) -> Words:
    """Take words and times out of a table with the columns word, onset and offset, in seconds or blank."""
    words = tuple(str(word).strip() for word in table["word"])
    onset, offset = (_times(name, column, table[column]) for column in ("onset", "offset"))
    known = np.flatnonzero(np.isfinite(onset))
    for what, rows in (
        ("have both times or neither", np.flatnonzero(np.isnan(onset) != np.isnan(offset))),
        ("end after it begins", np.flatnonzero(offset < onset)),
        ("not begin before the word before it: is the table sorted, and of one story?",
         known[1:][np.diff(onset[known]) < -_OVERLAP_SECONDS]),
    ):  # fmt: skip
        for i in rows:
            raise InputError(
                f"{name}: each word must {what}; word {i} ({words[i]!r}) is at {onset[i]} to {offset[i]} s."
            )
    if not len(known) or not words[0]:
        raise InputError(
            f"{name} must hold words with times, got {len(words)} rows, {len(known)} of them timed."
        )
    return Words(words, onset, offset)


def _times(name: str, column: str, values: pd.Series) -> NDArray[np.float64]:
    text = values.astype(str).str.strip()
    times = pd.to_numeric(text.where(text != ""), errors="coerce").to_numpy(dtype=np.float64)
    for row in np.flatnonzero((np.isnan(times) & (text != "").to_numpy()) | np.isinf(times) | (times < 0)):
        raise InputError(
            f"{name}: {column} must be seconds from 0, or blank where unknown, got {text.iloc[row]!r} in row "
            f"{row}."
        )
    return times


def read_gentle(path: Path) -> Words:
    """Read Gentle's align.csv: word, aligned word, onset, offset, without a header; times may be blank."""
    name, n_columns = f"{path.parent.name}/{path.name}", len(first_row(require_file(path), ","))
    if n_columns != len(_GENTLE_COLUMNS):
        raise InputError(
            f"{name} must have the {len(_GENTLE_COLUMNS)} columns {', '.join(_GENTLE_COLUMNS)} and no "
            f"header, got {n_columns} columns."
        )
    table = parse_csv(path, sep=",", keep_default_na=False, names=_GENTLE_COLUMNS, text=_GENTLE_COLUMNS)
    return words_of_table(name, table)


def read_textgrid(path: Path, silence: Collection[str] = ("#", "sil")) -> Words:
    """Read the one interval tier of a Praat TextGrid, UTF-8 or UTF-16; `silence` labels hold no word."""
    raw = require_file(path).read_bytes()
    utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    # indices such as intervals [3] are no values
    with reading(path.name, "text in UTF-8 or UTF-16", UnicodeDecodeError):
        text = re.sub(r"\[\d*\]", "", raw.decode("utf-16" if utf16 else "utf-8-sig"))
    tokens = _TEXTGRID_TOKEN.findall(text)
    n_tiers = tokens.count('"IntervalTier"')
    if tokens[:2] != ['"ooTextFile"', '"TextGrid"'] or n_tiers != 1:
        raise InputError(
            f"{path.name} must be a TextGrid with one interval tier, got {tokens[:2]} and {n_tiers} interval "
            "tiers."
        )
    # tier: class, name, begin, end, number of intervals, then begin, end and label of each
    tier = tokens[tokens.index('"IntervalTier"') + 2 :]
    n = int(tier[2]) if len(tier) > 2 and tier[2].isdigit() else -1
    body = tier[3 : 3 + 3 * n]
    if n < 1 or len(body) != 3 * n or any(not label.startswith('"') for label in body[2::3]):
        raise InputError(f"{path.name} must hold {n} intervals (begin, end, label), got {len(body) / 3:g}.")
    labels = [label[1:-1].replace('""', '"').strip() for label in body[2::3]]
    table = pd.DataFrame({"word": labels, "onset": body[::3], "offset": body[1::3]})
    return words_of_table(path.name, table[~table["word"].isin(["", *silence])].reset_index(drop=True))
