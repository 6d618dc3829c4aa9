"""Noise ceilings and scores as shares of them."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from nfas_lightning.functional import (
    noise_ceiling,
    normalize,
    pearson,
)
from nfas_lightning.functional.missing import align_subjects

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def subjects(S=10, T=4000, signal=(1.0, 0.5, 0.0), seed=0):
    common = normal(1, T, len(signal), seed=seed)
    return torch.tensor(signal) * common + normal(S, T, len(signal), seed=seed + 1)


def test_loo_subject_matches_a_plain_loop():
    Y = subjects(S=5, T=60)
    Y[1, 4:9, 0] = nan
    Y[3, :, 2] = nan  # a subject without this ROI
    ceiling = noise_ceiling(Y)
    Y = align_subjects(Y)
    for k in range(3):
        rs = []
        for s in range(5):
            others = np.nanmean(Y[[i for i in range(5) if i != s], :, k].numpy(), 0)
            seen = ~np.isnan(Y[s, :, k].numpy())
            if seen.any():
                rs.append(pearsonr(Y[s, seen, k], others[seen])[0])
        assert ceiling[k].item() == pytest.approx(np.mean(rs))


def test_ceilings_recover_the_planted_reliability():
    # variance of the group's signal 1 or 1/4, of a subject's noise 1, of the mean's noise 1/10
    split = noise_ceiling(subjects(), method="split_half")
    expected = torch.tensor([(1 / 1.1) ** 0.5, (0.25 / 0.35) ** 0.5])
    torch.testing.assert_close(split[:2].float(), expected, atol=0.02, rtol=0)
    assert split[2] < 0.25
    loo = noise_ceiling(subjects())
    expected = torch.tensor([1 / (2 * (1 + 1 / 9)) ** 0.5, 0.25 / (1.25 * (0.25 + 1 / 9)) ** 0.5, 0])
    torch.testing.assert_close(loo.float(), expected, atol=0.02, rtol=0)


def test_an_ideal_model_of_the_group_mean_meets_the_split_half_ceiling():
    Y, truth = subjects(seed=3), normal(1, 4000, 3, seed=3)[0]
    reached = pearson(truth, Y.mean(0))
    torch.testing.assert_close(reached[:2], noise_ceiling(Y, method="split_half")[:2], atol=0.02, rtol=0)


def test_ceiling_by_fold_ignores_differences_between_folds():
    Y = subjects(S=4, T=100, signal=(0.0, 0.0))
    fold = torch.arange(100) // 25
    Y = Y + 50 * fold[:, None]
    assert (noise_ceiling(Y) > 0.9).all()
    assert (noise_ceiling(Y, fold=fold).abs() < 0.3).all()
    trimmed = fold.clone()
    trimmed[:25] = -1
    torch.testing.assert_close(noise_ceiling(Y, fold=trimmed), noise_ceiling(Y[:, 25:], fold=fold[25:]))


@pytest.mark.parametrize("method", ["loo_subject", "split_half"])
def test_ceiling_of_a_subject_without_a_fold_is_that_of_the_others(method):
    Y, fold = subjects(S=3, T=90), torch.arange(90) // 30
    Y[0, :30] = nan
    ceiling = noise_ceiling(Y, method=method, fold=fold, n_splits=40)
    assert not ceiling.isnan().any()
    absent = Y.clone()
    absent[0, :, 1] = nan  # halves that hold this subject alone say nothing
    assert not noise_ceiling(absent, method=method, fold=fold, n_splits=40).isnan().any()
    if method == "loo_subject":
        for k in range(3):
            rs = []
            for s in range(3):
                others = np.nanmean(Y[[i for i in range(3) if i != s], :, k].numpy(), 0)
                parts = [range(30 * f, 30 * f + 30) for f in range(3) if f or s]
                rs.append(np.mean([pearsonr(Y[s, rows, k], others[rows])[0] for rows in parts]))
            assert ceiling[k].item() == pytest.approx(np.mean(rs))


def test_ceiling_is_seeded_and_degenerate_input_is_nan():
    Y = subjects(S=6, T=40)
    a, b, c = (noise_ceiling(Y, method="split_half", n_splits=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    Y[:, :, 1] = 4.0
    for method in ("loo_subject", "split_half"):
        with pytest.warns(UserWarning, match="1 of 3 ROIs have no noise ceiling"):
            assert noise_ceiling(Y, method=method).isnan().tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"at least two subjects \(or repeats\), got 1"):
        noise_ceiling(Y[:1])


def test_an_odd_number_of_subjects_is_stepped_up_from_equal_halves():
    # r_1 = .3 between two subjects, so the mean of three has reliability .9 / 1.6
    Y = (0.3**0.5) * torch.randn(1, 20000, 4, generator=torch.Generator().manual_seed(0))
    Y = Y + (0.7**0.5) * torch.randn(3, 20000, 4, generator=torch.Generator().manual_seed(1))
    ceiling = noise_ceiling(Y, method="split_half")
    torch.testing.assert_close(ceiling, torch.full((4,), (0.9 / 1.6) ** 0.5), atol=0.01, rtol=0)


def test_a_fold_of_two_observed_rows_does_not_count():
    Y = subjects(T=100)
    fold = torch.arange(100) // 20
    few, none = Y.clone(), Y.clone()
    few[:, 20:38], none[:, 20:40] = float("nan"), float("nan")
    for method in ("loo_subject", "split_half"):
        expected = noise_ceiling(none, fold=fold, method=method)
        torch.testing.assert_close(noise_ceiling(few, fold=fold, method=method), expected)


@pytest.mark.parametrize("method", ["loo_subject", "split_half"])
def test_offsets_of_subjects_do_not_matter_where_values_are_missing(method):
    Y = subjects(T=120)
    Y[torch.rand(Y.shape, generator=torch.Generator().manual_seed(3)) < 0.1] = float("nan")
    moved = Y + 50 * torch.arange(len(Y), dtype=Y.dtype)[:, None, None]
    torch.testing.assert_close(noise_ceiling(moved, method=method), noise_ceiling(Y, method=method))


def test_normalize_masks_and_counts():
    r = torch.tensor([0.3, 0.3, 0.3])
    with pytest.warns(UserWarning, match=r"2 of 3 ROIs have a noise ceiling below 0\.2"):
        value = normalize(r, torch.tensor([0.6, 0.1, nan]), threshold=0.2)
    torch.testing.assert_close(value, torch.tensor([0.5, nan, nan]), equal_nan=True)
    torch.testing.assert_close(normalize(r, torch.full((3,), 0.5), threshold=0.5), r / 0.5)  # not below
    with pytest.raises(ValueError, match="threshold must be positive"):
        normalize(r, r, threshold=0)
