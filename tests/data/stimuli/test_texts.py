from __future__ import annotations

import pytest

from nfas_lightning.data.stimuli.texts import join_words, word_stimuli

WORDS = ["Alice", "was", "n't", "tired ", "of", "daisy", "chain", "so", "very", "good"]
TEXT = "Alice wasn't tired of\nthe daisy-chain. So VERY good!"


def test_punctuation_and_capitals_come_from_the_text():
    running, spans = join_words(WORDS, TEXT)
    # "the" was not said; "VERY" is a stress, not a word of capitals
    assert running == "Alice wasn't tired of daisy-chain. So very good"
    assert [running[a:b] for a, b in spans] == [
        "Alice", "was", "n't", "tired", "of", "daisy", "chain", "So", "very", "good",
    ]  # fmt: skip


def test_without_a_text():
    assert join_words(WORDS)[0] == "Alice wasn't tired of daisy chain so very good"


def test_a_text_about_something_else_changes_nothing():
    assert join_words(WORDS, "Completely different.")[0] == join_words(WORDS)[0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["in", "the", "21st", "century"], "In the 21st century."),
        (["he", "was", "b2", "at", "7pm,", "ok"], "He was B2 at 7pm, ok."),
        (["did", "n't", "own", "4x4s", "in", "1984", "or", "mp3s"], "Didn't own 4x4s, in 1984, or mp3s."),
        (["over", "50%", "of", "$5m", "or", "€5"], "Over 50% of $5m, or €5."),
        (["the", "21", "st"], "The 21st"),
    ],
)
def test_digits_are_part_of_their_word(words, text):
    running, spans = join_words(words, text)
    assert [running[a:b].lower() for a, b in spans] == [word.rstrip(",") for word in words]


@pytest.mark.parametrize("window", [0, 1, 3, 100])
def test_every_word_ends_its_own_stimulus(window):
    stimuli = word_stimuli(WORDS, window=window, text=TEXT)
    assert len(stimuli) == len(WORDS)
    for i, stimulus in enumerate(stimuli):
        start, stop = stimulus.span
        assert stop == len(stimulus.text)  # nothing that comes later can be read
        assert stimulus.text[start:stop].lower() == WORDS[i].strip().lower()
    _, spans = join_words(WORDS, TEXT)
    first = max(0, len(WORDS) - 1 - window)
    assert len(stimuli[-1].text) == spans[-1][1] - spans[first][0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (float("nan"), r"must be text, got nan at 2 .*keep_default_na=False"),
        (None, "must be text, got None at 2"),
        ("", r"must not be empty, got '' at 2 "),
        (" ", "must not be empty"),
    ],
)
def test_a_word_that_is_none(word, message):
    with pytest.raises(ValueError, match=message):
        word_stimuli(["so", "she", word, "ran"], window=2)


def test_negative_window():
    with pytest.raises(ValueError, match="zero or more"):
        word_stimuli(WORDS, window=-1)
