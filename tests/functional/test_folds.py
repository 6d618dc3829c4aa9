"""Contiguous folds: whole groups, gaps."""

import pytest
import torch

from nfas_lightning.functional.folds import contiguous_folds


def test_folds_cover_every_volume_once_and_never_touch_their_training():
    for n, n_folds, gap in ((23, 5, 0), (23, 5, 2), (10, 2, 4), (7, 7, 1)):
        folds = contiguous_folds(n, n_folds=n_folds, gap=gap)
        assert torch.cat([test for _, test in folds]).tolist() == list(range(n))
        for train, test in folds:
            assert test.tolist() == list(range(int(test[0]), int(test[-1]) + 1))
            assert (train[:, None] - test).abs().min() == gap + 1


def test_whole_groups_are_held_out():
    groups = torch.tensor([3] * 4 + [1] * 2 + [7] * 5 + [3])
    folds = contiguous_folds(12, groups=groups, n_folds=5, gap=3)
    assert [groups[test].unique().tolist() for _, test in folds] == [[3], [1], [7]]  # order of appearance
    assert all(len(train) + len(test) == 12 for train, test in folds)  # no gap between runs
    many = contiguous_folds(22, groups=torch.arange(11).repeat_interleave(2), n_folds=4)
    assert [len(test) for _, test in many] == [6, 6, 6, 4]


def test_fold_errors():
    with pytest.raises(ValueError, match="n_folds=5 contiguous folds need at least that many volumes, got 4"):
        contiguous_folds(4)
    with pytest.raises(ValueError, match="gap of 5 volumes leaves no training data"):
        contiguous_folds(10, n_folds=2, gap=5)
    with pytest.raises(ValueError, match="n_folds must be at least 2, got 1"):
        contiguous_folds(10, n_folds=1)
    with pytest.raises(ValueError, match=r"groups must have shape \(T=10,\), got \(9,\)"):
        contiguous_folds(10, groups=torch.zeros(9))
