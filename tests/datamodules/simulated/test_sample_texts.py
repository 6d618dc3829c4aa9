"""Sentences of installed packages' documentation."""

from __future__ import annotations

import pytest

from nfas_lightning.datamodules.simulated.sample_texts import corpus, sample_sentences, sentences


def test_sentences_leave_markup_lists_and_code_behind():
    text = (
        "A title\n=======\n\nNot long enough.\n\n* a list of things that goes on for some words.\n\n"
        "The :func:`fetch <x.y>` reads *every* file of the ``folder`` in which it stands. It then "
        "closes them all and counts how many there were.\n\n"
        "    code = that(is, indented, and, should, not, be, here)\n"
    )
    assert sentences(text) == [
        "The fetch reads every file of the folder in which it stands.",
        "It then closes them all and counts how many there were.",
    ]


def test_corpus_is_plain_english_from_several_sources():
    found = corpus()
    assert {"python", "brain", "datasets"} <= set(found)
    everything = [sentence for source in found.values() for sentence in source]
    assert len(everything) == len(set(everything)) > 300
    assert not any(
        mark in sentence for sentence in everything for mark in ("`", "*", "::", "http", "\n", "=")
    )


def test_more_sentences_than_there_are():
    with pytest.raises(ValueError, match="at most the"):
        sample_sentences(10**6)
