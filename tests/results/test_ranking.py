"""Which model is better: intervals of paired differences, letters, and what is not compared."""

import time
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfas_lightning.functional import BootstrapDraws, fdr, interval
from nfas_lightning.results import OPTIONAL, compare_models
from nfas_lightning.results.ranking import letters_of
from tests.helpers.results import make_draws


@given(st.sets(st.sampled_from(list(combinations("uvwxyz", 2)))))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_names_share_a_letter_where_they_are_not_told_apart(apart):
    letters = dict(zip("uvwxyz", letters_of("uvwxyz", sorted(apart)), strict=True))
    for pair in combinations("uvwxyz", 2):
        assert bool(set(letters[pair[0]]) & set(letters[pair[1]])) == (pair not in apart)
    groups = [{n for n in "uvwxyz" if letter in letters[n]} for letter in set("".join(letters.values()))]
    assert not any(a < b for a in groups for b in groups)


def test_pairs_are_intervals_of_differences_of_the_same_draws():
    draws = make_draws({"a": 0.5, "b": 0.45, "c": 0.2})
    ranking = compare_models(draws)
    assert ranking.means["model"].tolist() == ["a", "b", "c"]
    wide = draws.query("feature == 'stable_mode' and value == 'r'").set_index(["model", "resampled"])["draws"]
    gaps = [
        torch.from_numpy(wide["a", part] - wide["b", part]).double()
        for part in ("stimuli", "subjects", "both")
    ]
    expected = interval(torch.tensor(0.05).double(), BootstrapDraws(*gaps, 40, 6, 5, 5))
    first = ranking.pairs.iloc[0]
    assert first[["first", "second"]].tolist() == ["a", "b"]
    assert first[["difference", "low", "high", "p_value"]].tolist() == pytest.approx(
        [0.05, float(expected.low), float(expected.high), float(expected.p_value)]
    )
    q = fdr(torch.tensor(ranking.pairs["p_value"].tolist())).tolist()
    assert ranking.pairs["q_value"].tolist() == pytest.approx(q)
    # the noise that draws share is not in the difference
    alone = ranking.means.iloc[0]
    assert first["high"] - first["low"] < 0.5 * (alone["high"] - alone["low"])
    assert ranking.means["letters"].tolist() == ["a", "a", "b"]
    baseline = ranking.features.query("model == 'a'").iloc[0]
    assert baseline["baseline"] == "last_block"
    assert baseline["low"] < baseline["difference"] < baseline["high"]
    narrow = compare_models(draws, over="stimuli")
    assert "same subjects" in narrow.scope
    assert "and subjects" in ranking.scope
    assert (narrow.pairs["low"] >= ranking.pairs["low"]).all()
    assert compare_models(draws, value="r2").means["mean"].tolist() == pytest.approx([0.25, 0.2025, 0.04])


def test_what_is_not_paired_is_not_compared_and_the_reason_is_said():
    first, second = make_draws({"a": 0.5, "b": 0.3}), make_draws({"c": 0.4, "d": 0.1}, dataset="story")
    joined = compare_models(pd.concat([first, second], ignore_index=True))
    assert joined.pairs[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["c", "d"]]
    assert joined.notes == (
        "Models of different datasets (film, story) are not compared: their scores differ by responses too.",
    )
    other = make_draws({"c": 0.4}).assign(paired="otherwise")
    apart = compare_models(pd.concat([first, other], ignore_index=True))
    assert len(apart.pairs) == 1
    assert "Models on film were scored in 2 ways" in apart.notes[0]
    twice = compare_models(pd.concat([first, make_draws({"b": 0.2})], ignore_index=True))
    assert twice.means["mean"].tolist() == [0.5, 0.2]
    assert "the last result is taken: b" in twice.notes[0]
    many = [first.assign(subject=name) for name in ("s0", "s1")]
    single = compare_models(pd.concat(many, ignore_index=True))
    assert single.means.empty
    assert "not compared: a, b. Name one subject" in single.notes[0]
    assert len(compare_models(pd.concat(many, ignore_index=True), subject="s1").pairs) == 1
    nothing = compare_models(pd.DataFrame(columns=list(OPTIONAL["draws"])))
    assert nothing.means.empty
    assert nothing.features.empty
    with pytest.raises(ValueError, match=r"subject must be one of the draws' \['group'\], got 's7'"):
        compare_models(first, subject="s7")
    with pytest.raises(ValueError, match=r"feature must be one of .*'stable_mode'.* got 'mode'"):
        compare_models(first, feature="mode")


def test_few_models_that_do_not_differ_are_told_apart():
    p = []
    for seed in range(3):
        shift = np.random.default_rng(seed).normal(0, 0.03, 20)
        draws = make_draws({f"m{i:02d}": 0.3 for i in range(20)}, seed=seed, shift=shift)
        draws["n_folds"] = 1  # of 200 draws, a spread that is known; folds would add to it
        p += compare_models(draws, over="stimuli").pairs["p_value"].tolist()
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.12


def test_letters_of_many_models_take_no_time():
    names = [f"m{i:02d}" for i in range(45)]
    rng = np.random.default_rng(0)  # told apart by pairs, in no order: all largest groups would be thousands
    apart = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if rng.random() < 0.3]
    start = time.process_time()
    letters = [set(text.split(",")) for text in letters_of(names, apart)]
    assert time.process_time() - start < 2
    shared = {(a, b): bool(letters[i] & letters[j]) for i, a in enumerate(names) for j, b in enumerate(names)}
    assert all(shared[pair] == (pair not in apart) for pair in combinations(names, 2))


def test_options_are_checked_and_a_missing_interval_is_said():
    draws = make_draws({"a": 0.5, "b": 0.2})
    for option in ({"value": "q"}, {"over": "subjects"}, {"alpha": 5}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must "):
            compare_models(draws, **option)
    few = compare_models(draws.assign(n_stimuli=5))  # no more than there are folds
    assert few.means["low"].isna().all()
    assert "No interval, and told apart from none: a, b." in few.notes[0]
    assert not compare_models(draws).notes
