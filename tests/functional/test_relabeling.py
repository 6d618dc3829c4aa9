"""Relabeling of groups: ties, seeds and labels."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import silhouette_score

from nfas_lightning.functional import relabeling
from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.relabeling import (
    Relabeling,
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
    with pytest.raises(ValueError, match="for each of the 4 rows, got 3"):
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
    labels = Relabeling.read([0, 0, 1, 2, 2], 5)
    whole = torch.cat(list(shuffled_membership(labels, 40, 0, torch.device("cpu"))), dim=1)
    assert whole.shape == (5, 40, 3)
    assert bool((whole.sum(2) == 1).all())
    assert whole.sum(0).unique(dim=0).tolist() == [[2, 1, 2]]
    monkeypatch.setattr(relabeling, "BLOCK", 5 * 3 * 7)  # elements of seven relabelings
    blocks = list(shuffled_membership(labels, 40, 0, torch.device("cpu")))
    assert [block.shape[1] for block in blocks] == [7] * 5 + [5]
    assert torch.equal(torch.cat(blocks, dim=1), whole)


@pytest.mark.parametrize(
    ("groups", "strata", "units"),
    [
        ("aabb", None, None),
        ("aabbb", None, None),
        ("abcc", None, None),
        ("abbabb", "xxxyyy", None),
        ("abcabc", "xxxyyy", None),
        ("aaabbb", "xxyxyy", None),
        ("aabbbcc", None, "1123344"),
        ("aabbab", "xxxxyy", "112256"),
    ],
)
def test_relabelings_are_those_that_strata_and_units_allow(groups, strata, units):
    labels = Relabeling.read(list(groups), len(groups), strata and list(strata), units and list(units))
    drawn = labels.draw(4000, 0)
    rows = ["".join(labels.names[code] for code in row) for row in drawn.tolist()]
    allowed = set()
    for order in itertools.permutations(range(len(groups))):
        moved = "".join(groups[i] for i in order)
        kept = strata is None or all(strata[i] == strata[j] for i, j in enumerate(order))
        whole = units is None or all(
            (units[i] == units[k]) == (units[order[i]] == units[order[k]])
            for i, k in itertools.combinations(range(len(groups)), 2)
        )
        if kept and whole:
            allowed.add(moved)
    if units is None:
        assert set(rows) == allowed
        counts = np.unique(rows, return_counts=True)[1]
        assert scipy.stats.chisquare(counts).pvalue > 1e-4
    partitions = {
        frozenset(frozenset(i for i, name in enumerate(row) if name == group) for group in row)
        for row in rows
    }
    assert labels.distinct == len(partitions)


def test_units_exchange_their_labels_whole_whatever_their_size():
    labels = Relabeling.read(list("aaaabbcc"), 8, units=list("11112345"))
    drawn = labels.draw(2000, 0)
    assert bool((drawn[:, :4] == drawn[:, :1]).all())
    # five units with labels a b b c c: the large one is of group a in a fifth of the draws
    assert float((drawn[:, 0] == 0).double().mean()) == pytest.approx(0.2, abs=0.04)


def test_restrictions_that_allow_nothing_are_refused():
    with pytest.raises(ValueError, match="each of the 4 rows, got 3"):
        Relabeling.read(list("aabb"), 4, strata=list("xxy"))
    with pytest.raises(ValueError, match=r"the 2 strata holds one group.*confounded"):
        Relabeling.read(list("aabb"), 4, strata=list("xxyy"))
    with pytest.raises(ValueError, match="exchanged whole: expected one group in each"):
        Relabeling.read(list("aabb"), 4, units=list("1221"))
    with pytest.raises(ValueError, match="exchanged whole: expected one stratum in each"):
        Relabeling.read(list("aabb"), 4, strata=list("xyxy"), units=list("1122"))


RESTRICTED = {
    "permanova": lambda V, **by: permanova(torch.cdist(V, V), **by).p_value,
    "silhouette": lambda V, **by: silhouette(torch.cdist(V, V), **by).p_value,
    "anova": lambda V, **by: anova(V[:, :1], **by).p_value[0],
}


def _statistic(name, V, codes):
    """Plain loops: larger is further apart."""
    groups = sorted(set(codes))
    if name == "silhouette":
        return silhouette_score(V.numpy(), codes)
    values = V[:, :1].numpy() if name == "anova" else V.numpy()
    return -sum(
        ((values[rows] - values[rows].mean(0)) ** 2).sum()
        for rows in ([i for i, code in enumerate(codes) if code == group] for group in groups)
    )


@pytest.mark.parametrize("name", sorted(RESTRICTED))
@pytest.mark.parametrize("by", ["strata", "units"])
def test_restricted_p_is_that_of_every_relabeling_allowed(name, by):
    V = torch.randn(8, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    groups = [0, 0, 1, 1, 0, 1, 1, 1] if by == "strata" else [0, 0, 1, 1, 2, 2, 0, 1]
    restriction = list("xxxxyyyy") if by == "strata" else [0, 0, 1, 1, 2, 2, 3, 4]
    V += 0.8 * torch.tensor(groups)[:, None]
    if by == "strata":
        orders = [
            [*(groups[i] for i in first), *(groups[4 + i] for i in second)]
            for first in itertools.permutations(range(4))
            for second in itertools.permutations(range(4))
        ]
    else:
        of_unit = [0, 1, 2, 0, 1]
        orders = [
            [of_unit[order[unit]] for unit in restriction] for order in itertools.permutations(range(5))
        ]
    null = np.array([_statistic(name, V, order) for order in orders])
    exact = np.mean(null >= _statistic(name, V, groups) - 1e-9)
    p = RESTRICTED[name](V, groups=groups, n_permutations=20000, **{by: restriction})
    assert float(p) == pytest.approx(exact, abs=0.012)
    free = RESTRICTED[name](V, groups=groups, n_permutations=20000)
    assert abs(float(free) - exact) > 0.02 or name == "anova"


def test_what_strata_explain_is_no_effect_of_groups():
    # groups differ because strata do: without strata tests reject often, inside them as often as they should
    strata = ["x"] * 8 + ["y"] * 8
    groups = list("aaaaaabb") + list("abbbbbbb")
    rejected = {name: [0, 0] for name in [*RESTRICTED, "permdisp"]}
    tests = RESTRICTED | {"permdisp": lambda V, **given: permdisp(torch.cdist(V, V), **given).p_value}
    for seed in range(200):
        V = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        V[8:] = 3 * V[8:] + 3
        for name, test in tests.items():
            for place, inside in enumerate((None, strata)):
                p = test(V, groups=groups, strata=inside, n_permutations=39, seed=seed)
                rejected[name][place] += bool(p <= 0.05)
    for name, (free, inside) in rejected.items():
        assert free > 30, name
        assert inside <= 20, name  # 5 % of 200, three standard errors above


def test_tests_in_strata_equal_those_of_vegan():
    # the nested design of vegan's adonis2 page, with numbers drawn for it: two treatments in three fields;
    # F and p as vegan 2.6-4 prints them, p over all relabelings inside fields (benchmarks/vegan.py)
    first = [3.69, 4.09, 4.58, 5.80, 5.16, 4.59, 6.24, 6.37, 6.29, 5.85, 7.76, 7.19]
    second = [1.69, 0.89, 1.56, 0.98, 2.99, 3.47, 2.41, 2.30, 4.46, 4.39, 3.04, 2.01]
    V = torch.tensor([first, second], dtype=torch.float64).T
    groups, fields = list("aabb") * 3, list("xxxxyyyyzzzz")
    D = torch.cdist(V, V)
    where = permanova(D, groups, strata=fields, n_permutations=9999)
    assert float(where.statistic) == pytest.approx(3.42361, abs=1e-5)
    assert float(where.p_value) == pytest.approx(4 / 216, abs=0.005)
    one = anova(V[:, :1], groups, strata=fields, n_permutations=9999)
    assert float(one.statistic) == pytest.approx(5.06899, abs=1e-5)
    assert float(one.p_value) == pytest.approx(2 / 216, abs=0.004)
    assert float(permdisp(D, groups, n_permutations=9).statistic) == pytest.approx(0.80002, abs=1e-5)
