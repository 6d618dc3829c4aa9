from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.data.stimuli.texts import context_windows
from nfas_lightning.data.stimuli.word_times import Words, read_gentle, read_textgrid, words_of_table

NAN = float("nan")


def words(onsets, seconds=0.5):
    onset = np.array(onsets, dtype=float)
    return Words(tuple("abcdefgh"[: len(onset)]), onset, onset + seconds)


def test_unknown_times_are_placed_evenly_between_neighbors():
    filled = words([1.0, NAN, NAN, NAN, 4.5]).fill()
    np.testing.assert_allclose(filled.onset, [1.0, 1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(filled.offset, [1.5, 2.5, 3.5, 4.5, 5.0])
    assert filled.interpolated.tolist() == [False, True, True, True, False]


def test_ends_and_wide_gaps_stay_unknown():
    filled = words([NAN, 1.0, NAN, 20.0, NAN]).fill(max_gap=10)
    assert filled.timed.tolist() == [False, True, False, True, False]
    assert words([NAN, 1.0, NAN, 20.0, NAN]).fill(max_gap=30).timed.tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_gap_of_just_the_limit_is_filled_and_no_wider_one():
    timed = words([5.0, NAN, 15.5]).fill(max_gap=10).timed  # from 5.5 to 15.5 s
    assert timed.all()
    assert words([5.0, NAN, 15.6]).fill(max_gap=10).timed.tolist() == [True, False, True]


def test_between_words_that_overlap_there_is_the_moment_the_next_begins():
    filled = words([1.0, NAN, NAN, 3.0], seconds=3.0).fill()
    np.testing.assert_allclose(filled.onset, [1.0, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(filled.offset[:3], [4.0, 3.0, 3.0])


def test_words_in_the_intro_lose_their_times():
    assert words([0.3, 21.0, 22.0]).forget_before(19.0).timed.tolist() == [False, True, True]
    kept = words([18.8, 19.0, 22.0]).forget_before(19.0)
    assert kept.timed.tolist() == [False, True, True]  # one that is cut by the edge, one that begins at it
    assert np.isnan(kept.offset).tolist() == [True, False, False]
    assert not kept.interpolated.any()


def test_times_at_the_edge_of_what_makes_sense():
    rows = [("a", "0", "0"), ("b", "1.00", "1.5"), ("c", "0.95", "2")]  # aligners overlap neighbors a little
    read = words_of_table("table.csv", pd.DataFrame(rows, columns=["word", "onset", "offset"]))
    np.testing.assert_array_equal(read.onset, [0.0, 1.0, 0.95])
    rows[2] = ("c", "0.8", "2")
    with pytest.raises(ValueError, match="not begin before the word before it"):
        words_of_table("table.csv", pd.DataFrame(rows, columns=["word", "onset", "offset"]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "1", "2"), ("b", "3", "")], r"both times or neither; word 1 \('b'\)"),
        ([("a", "2", "1")], "end after it begins"),
        ([("a", "3", "4"), ("b", "1", "2")], "not begin before the word before it"),
        ([("a", "-1", "2")], "onset must be seconds from 0.*got '-1' in row 0"),
        ([("a", "1", "later")], "offset must be seconds.*got 'later'"),
        ([("a", "", "")], "must hold words with times, got 1 rows, 0 of them"),
        ([("", "1", "2")], "must hold words with times"),
    ],
)
def test_tables_that_make_no_sense(rows, message):
    with pytest.raises(ValueError, match=message):
        words_of_table("table.csv", pd.DataFrame(rows, columns=["word", "onset", "offset"]))


def test_gentle_with_blanks_crlf_and_a_mark(tmp_path):
    path = tmp_path / "align.csv"
    path.write_bytes('\ufeffSo,so,1.5,1.75\r\nnull,<unk>,,\r\n"him,",him,2.5,2.75\r\n'.encode())
    read = read_gentle(path)
    assert read.words == ("So", "null", "him,")
    np.testing.assert_array_equal(read.onset, [1.5, NAN, 2.5])


def test_gentle_refuses_other_tables(tmp_path):
    path = tmp_path / "align.csv"
    path.write_text(",,,,,,\nIndex,Sentence,a,b,c,d,e\n")
    with pytest.raises(ValueError, match=r"align\.csv must have the 4 columns word, aligned word.*got 7"):
        read_gentle(path)
    with pytest.raises(FileNotFoundError):
        read_gentle(tmp_path / "none.csv")


LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3.5
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "word 2"
        xmin = 0
        xmax = 3.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "#"
        intervals [2]:
            xmin = 0.5
            xmax = 1
            text = "l'""ami"""
        intervals [3]:
            xmin = 1
            xmax = 2
            text = ""
        intervals [4]:
            xmin = 2
            xmax = 3.5
            text = "612"
'''
SHORT = """File type = "ooTextFile"
"TextGrid"
0
3.5
<exists>
1
"IntervalTier"
"words"
0
3.5
2
0
0.5
"#"
0.5
3.5
"ami"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_textgrid_skips_silence_and_keeps_numbers_that_are_words(tmp_path, encoding):
    path = tmp_path / "section1.TextGrid"
    path.write_text(LONG, encoding=encoding)
    read = read_textgrid(path)
    assert read.words == ('l\'"ami"', "612")
    np.testing.assert_array_equal(read.onset, [0.5, 2.0])
    np.testing.assert_array_equal(read.offset, [1.0, 3.5])


def test_short_textgrid_and_broken_ones(tmp_path):
    path = tmp_path / "section1.TextGrid"
    path.write_text(SHORT)
    assert read_textgrid(path).words == ("ami",)
    path.write_text(SHORT.replace("\n2\n", "\n5\n"))
    with pytest.raises(ValueError, match="must hold 5 intervals"):
        read_textgrid(path)
    path.write_text("word,onset\n")
    with pytest.raises(ValueError, match="must be a TextGrid with one interval tier"):
        read_textgrid(path)
    path.write_text(SHORT.replace("ami", "\u00e9t\u00e9"), encoding="latin-1")
    with pytest.raises(ValueError, match="UTF-8 or UTF-16"):
        read_textgrid(path)


def test_windows_end_with_their_word():
    spans = [(0, 2), (3, 6), (3, 6), (7, 10)]
    stimuli = context_windows("so she ran", spans, 2)
    assert [s.text for s in stimuli] == ["so", "so she", "so she", "she ran"]
    assert [s.text[slice(*s.span)] for s in stimuli] == ["so", "she", "she", "ran"]
    with pytest.raises(ValueError, match="zero or more words"):
        context_windows("so", [(0, 2)], -1)
