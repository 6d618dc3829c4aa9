"""Relabeling of groups: ties, seeds and labels."""

import itertools
import math

import numpy as np
import pytest
import torch

from nfas_lightning.functional import relabeling
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.relabeling import (
    distinct_partitions,
    encode_labels,
    group_sizes,
    relabeling_p,
    shuffled_membership,
)
from nfas_lightning.functional.silhouette import silhouette
from nfas_lightning.functional.snci import snci_bootstrap, snci_permutation


@pytest.mark.parametrize("observed", [2.0, -2.0, 1e-200, 0.0])
def test_permuted_statistics_equal_up_to_rounding_are_ties(observed):
    observed = torch.tensor(observed, dtype=torch.float64)
    step = 1e-13 * observed.abs()
    null = torch.stack([observed - step, observed, observed + step, observed - 1, observed + 1])
    # the observed one, three ties and one that is larger, of six
    assert float(relabeling_p(observed, [null[:2], null[2:]], 5)) == pytest.approx(5 / 6)
    assert relabeling_p(torch.tensor(float("nan")), [null], 5).isnan()


@pytest.mark.parametrize(
    "test",
    [
        lambda V, labels, seed: silhouette(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: permanova(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: permdisp(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: snci_permutation(V, labels, n_permutations=49, seed=seed)[0, 0],
        lambda V, labels, seed: snci_bootstrap(V, labels, n_bootstrap=49, seed=seed).low[0, 0],
    ],
    ids=["silhouette", "permanova", "permdisp", "snci_permutation", "snci_bootstrap"],
)
def test_a_seed_decides_the_draws_and_the_global_generator_does_not(test):
    V = torch.randn(12, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    drawn = {float(test(V, list("aaaabbbbcccc"), seed)) for seed in range(8)}
    assert len(drawn) > 1
    state = torch.get_rng_state()
    assert test(V, list("aaaabbbbcccc"), 3) == test(V, list("aaaabbbbcccc"), 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_become_codes_in_sorted_order():
    for given in (["b", "a", "b"], np.array([7, 3, 7]), torch.tensor([7, 3, 7])):
        codes, names = encode_labels(given, 3)
        assert codes.tolist() == [1, 0, 1]
        assert names == tuple(sorted(set(given if isinstance(given, list) else given.tolist())))


def test_labels_that_name_no_groups_are_refused():
    with pytest.raises(ValueError, match="for each of the 4 rows, got 3 labels"):
        encode_labels(["a", "b", "a"], 4)
    for missing in (None, math.nan):
        with pytest.raises(ValueError, match="a missing label at row 1"):
            encode_labels(["a", missing, "b"], 3)
    with pytest.raises(TypeError, match="all be strings or all be integers, got int, str"):
        encode_labels(["a", 1, "b"], 3)
    with pytest.raises(ValueError, match="at least two groups to compare, got 1"):
        group_sizes(torch.tensor([0, 0]), 1)
    with pytest.raises(ValueError, match="got 3 groups of one"):
        group_sizes(torch.arange(3), 3)


def test_blocks_of_relabelings_hold_every_member_once(monkeypatch):
    codes = torch.tensor([0, 0, 1, 2, 2])
    whole = torch.cat(list(shuffled_membership(codes, 3, 40, 0, torch.device("cpu"))), dim=1)
    assert whole.shape == (5, 40, 3)
    assert bool((whole.sum(2) == 1).all())
    assert whole.sum(0).unique(dim=0).tolist() == [[2, 1, 2]]
    monkeypatch.setattr(relabeling, "BLOCK", 5 * 3 * 7)  # elements of seven relabelings
    blocks = list(shuffled_membership(codes, 3, 40, 0, torch.device("cpu")))
    assert [block.shape[1] for block in blocks] == [7] * 5 + [5]
    assert torch.equal(torch.cat(blocks, dim=1), whole)


def test_partitions_are_counted():
    for sizes in ((2, 2), (2, 3), (1, 1, 2)):
        codes = [code for code, size in enumerate(sizes) for _ in range(size)]
        seen = {
            frozenset(frozenset(i for i, code in enumerate(order) if code == group) for group in set(order))
            for order in itertools.permutations(codes)
        }
        assert distinct_partitions(torch.tensor(sizes)) == len(seen)
