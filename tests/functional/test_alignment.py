"""Correlation, noise ceiling, nulls and false discovery rate."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, pearsonr

from nfas_lightning.functional import (
    block_permutation_null,
    circular_shift_null,
    fdr,
    noise_ceiling,
    normalize,
    pearson,
    permutation_p,
    ridge_null,
    squared_correlation,
)
from nfas_lightning.functional.confounds import regress_out_ar1
from nfas_lightning.functional.encoding import ridge_cv
from nfas_lightning.functional.missing import align_subjects
from nfas_lightning.functional.moves import block_moves, phase_moves, shift_moves, turn_phases

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


# --- pearson


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_pearson_matches_scipy_in_any_units(scale, offset):
    x, y = normal(50, 4), normal(50, 4, seed=1) + 0.5 * normal(50, 4)
    expected = [pearsonr(x[:, k], y[:, k])[0] for k in range(4)]
    np.testing.assert_allclose(pearson(scale * (x + offset), scale * (y + offset)), expected, atol=1e-12)


def test_pearson_of_tiny_float32_values():
    x = normal(50, 3).float()
    torch.testing.assert_close(pearson(1e-30 * x, -1e-30 * x), -torch.ones(3))
    torch.testing.assert_close(pearson(x.half(), x.half()), torch.ones(3))


def test_pearson_leaves_out_missing_pairs():
    x, y = normal(30, 2), normal(30, 2, seed=1)
    x[3, 0], y[7, 0] = nan, nan
    kept = [t for t in range(30) if t not in (3, 7)]
    assert pearson(x, y)[0].item() == pytest.approx(pearsonr(x[kept, 0], y[kept, 0])[0])
    assert pearson(x, y)[1].item() == pytest.approx(pearsonr(x[:, 1], y[:, 1])[0])


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pearson_of_a_constant_is_nan_with_a_warning(constant, dtype):
    x = normal(20, 3).to(dtype)
    flat = x.clone()
    flat[:, 1] = constant
    for pair in ((x, flat), (flat, x)):
        with pytest.warns(UserWarning, match="1 of 3 ROIs have a constant"):
            assert pearson(*pair).isnan().tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="fewer than two"):
        assert pearson(x.fill_(nan), flat).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pearson_of_rounding_is_nan(dtype):
    x = normal(20, 1).to(dtype)
    last_place = torch.full_like(x, 0.1) * (1 + (x > 0).to(dtype) * torch.finfo(dtype).eps)
    assert last_place.unique().numel() == 2
    with pytest.warns(UserWarning, match="1 of 1 ROIs have a constant"):
        assert pearson(x, last_place).isnan().all()


def test_squared_correlation():
    r = torch.tensor([0.5, -0.5, nan])
    torch.testing.assert_close(squared_correlation(r), torch.tensor([0.25, 0, nan]), equal_nan=True)
    torch.testing.assert_close(
        squared_correlation(r, "square"), torch.tensor([0.25, 0.25, nan]), equal_nan=True
    )
    with pytest.raises(ValueError, match="negative must be one of"):
        squared_correlation(r, "abs")


# --- noise ceiling


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


def test_aligned_subjects_average_to_the_least_squares_fit():
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((3, 12, 2)) + np.array([0.0, 4.0, -9.0])[:, None, None]
    Y[rng.random(Y.shape) < 0.2] = np.nan
    Y[1, 6:] = np.nan
    runs = torch.arange(12) // 6  # the second subject has no second run
    mean = align_subjects(torch.from_numpy(Y), runs).nanmean(0).numpy()
    for rows in (slice(0, 6), slice(6, 12)):
        for column in range(2):
            subject, time = np.nonzero(~np.isnan(Y[:, rows, column]))
            design = np.column_stack([time[:, None] == np.arange(6), subject[:, None] == np.arange(3)])
            beta = np.linalg.lstsq(design.astype(float), Y[:, rows, column][subject, time], rcond=None)[0]
            difference = mean[rows, column] - beta[:6]
            observed = np.unique(time)
            np.testing.assert_allclose(difference[observed] - difference[observed].mean(), 0, atol=1e-6)


def test_complete_responses_stay_as_they_are():
    Y = subjects()
    Y[:, :, 1] = float("nan")
    assert align_subjects(Y) is Y
    Y[0, 0, 0] = float("nan")
    torch.testing.assert_close(align_subjects(Y)[:, :, 2:], Y[:, :, 2:], rtol=0, atol=0)


def test_normalize_masks_and_counts():
    r = torch.tensor([0.3, 0.3, 0.3])
    with pytest.warns(UserWarning, match=r"2 of 3 ROIs have a noise ceiling below 0\.2"):
        value = normalize(r, torch.tensor([0.6, 0.1, nan]), threshold=0.2)
    torch.testing.assert_close(value, torch.tensor([0.5, nan, nan]), equal_nan=True)
    torch.testing.assert_close(normalize(r, torch.full((3,), 0.5), threshold=0.5), r / 0.5)  # not below
    with pytest.raises(ValueError, match="threshold must be positive"):
        normalize(r, r, threshold=0)


# --- moves and nulls


def shifts_of(moves, rows):
    shift = (rows - moves[:, rows]) % len(rows)
    assert torch.equal(shift, shift[:, :1].expand_as(shift))  # one rotation, and inside the run
    return shift[:, 0].tolist()


def test_shift_moves_rotate_every_run_by_a_lawful_shift():
    groups = torch.tensor([1] * 10 + [0] * 7)
    moves = shift_moves(17, groups=groups, n_moves=8, min_shift=3)
    pairs = list(zip(shifts_of(moves, torch.arange(10)), shifts_of(moves, torch.arange(10, 17)), strict=True))
    assert len(set(pairs)) == 8
    everything = shift_moves(17, groups=groups, n_moves=11, min_shift=3)
    assert sorted(shifts_of(everything, torch.arange(10))) == sorted([3, 4, 5, 6, 7] * 2)
    assert sorted(shifts_of(everything, torch.arange(10, 17))) == [3] * 5 + [4] * 5
    with pytest.raises(ValueError, match="at least 8 rows, got one of 7"):
        shift_moves(17, groups=groups, min_shift=4)
    assert shift_moves(6, min_shift=3).tolist() == [[3, 4, 5, 0, 1, 2]]  # the one that is left
    with pytest.raises(ValueError, match="0 or more rows, got -1"):
        shift_moves(17, min_shift=-1)
    with pytest.raises(ValueError, match="one row can't rotate"):
        shift_moves(3, groups=torch.arange(3))


def test_shift_moves_are_all_rotations_but_the_one_that_moves_nothing():
    assert sorted(shifts_of(shift_moves(30), torch.arange(30))) == list(range(1, 30))
    fewer = shifts_of(shift_moves(300, n_moves=200), torch.arange(300))
    assert len(set(fewer)) == 200
    assert 0 not in fewer
    runs = torch.arange(12) // 6
    moves = shift_moves(12, groups=runs)
    assert len({tuple(move) for move in moves.tolist()}) == len(moves) == 35
    assert tuple(range(12)) not in {tuple(move) for move in moves.tolist()}


def test_shift_moves_of_many_runs_draw_every_rotation_alike():
    groups = torch.arange(80) // 10  # 10^8 rotations, too many to number
    moves = shift_moves(80, groups=groups, n_moves=2000)
    for rows in torch.arange(80).split(10):
        counts = torch.tensor(shifts_of(moves, rows)).bincount(minlength=10)
        assert len(counts) == 10
        assert ((counts - 200).abs() < 67).all()  # five standard errors


def test_shift_moves_are_drawn_from_all_rotations():
    drawn = shifts_of(shift_moves(1000, n_moves=100), torch.arange(1000))
    assert len(set(drawn)) == 100
    assert sum(shift > 500 for shift in drawn) == pytest.approx(50, abs=20)
    # runs of one length rotate each for itself
    runs = torch.arange(1200) // 300
    moves = shift_moves(1200, groups=runs, n_moves=200, seed=3)
    first, second = (shifts_of(moves, (runs == run).nonzero()[:, 0]) for run in (0, 1))
    assert np.mean(np.array(first) == np.array(second)) < 0.1


@pytest.mark.parametrize("lengths", [(20,), (21,), (20, 15)])
def test_turned_phases_keep_spectra_and_correlations_between_rois(lengths):
    groups = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    Y = 3 + normal(len(groups), 2)
    surrogates = turn_phases(Y, phase_moves(len(Y), groups=groups, n_moves=400), groups)
    for label in range(len(lengths)):
        rows = groups == label
        spectrum, turned = (torch.fft.fft(series, dim=-2) for series in (Y[rows], surrogates[:, rows]))
        torch.testing.assert_close(turned.abs(), spectrum.abs().expand_as(turned))
        cross = spectrum[:, 0] * spectrum[:, 1].conj()
        torch.testing.assert_close(turned[..., 0] * turned[..., 1].conj(), cross.expand(400, -1))
        # phases are uniform and those of a mirrored frequency opposite
        assert turned[:, 1, 0].angle().cos().mean().abs() < 0.18  # five standard errors
        torch.testing.assert_close(turned[:, 1], turned[:, -1].conj())
    assert not torch.allclose(surrogates[0], surrogates[1])
    Y[3, 0] = nan
    with pytest.raises(ValueError, match="Y"):
        turn_phases(Y, phase_moves(len(Y), n_moves=1))


@pytest.mark.parametrize("n", [20, 21])
def test_phases_are_drawn_for_every_frequency_but_the_mean(n):
    angles = phase_moves(2 * n, groups=torch.arange(2 * n) // n, n_moves=300)
    for run in angles.split(n, dim=1):
        inside = run[:, 1 : (n + 1) // 2]
        assert inside.cos().mean(0).abs().max() < 5 / (2 * 300) ** 0.5
        assert inside.sin().mean(0).abs().max() < 5 / (2 * 300) ** 0.5
        assert not run[:, 0].any()
        assert not run[:, n // 2 + 1 :].any()
        if n % 2 == 0:  # the fastest is real: as it was, or upside down
            assert sorted(set(run[:, n // 2].tolist())) == pytest.approx([0, np.pi])
    assert not torch.equal(angles[:, :n], angles[:, n:])


def test_blocks_of_every_run_change_places_for_themselves():
    moves = block_moves(24, groups=torch.arange(24) // 12, n_moves=200, block_length=3)
    first, second = moves.split(12, dim=1)
    assert (first == second - 12).all(1).double().mean() < 0.2  # 1 in 24 by chance


def test_block_moves_permute_whole_blocks():
    moves = block_moves(10, n_moves=500, block_length=4)
    orders = {tuple(move) for move in moves.tolist()}
    first, second, last = (0, 1, 2, 3), (4, 5, 6, 7), (8, 9)
    assert orders == {
        a + b + c
        for a in (first, second, last)
        for b in (first, second, last)
        for c in (first, second, last)
        if len({a, b, c}) == 3
    }
    singles = block_moves(6, groups=torch.tensor([0, 1, 0, 1, 0, 1]), n_moves=50)
    assert (singles % 2 == torch.tensor([0, 1, 0, 1, 0, 1])).all()
    with pytest.raises(ValueError, match="at least two blocks"):
        block_moves(10, block_length=10)
    with pytest.raises(ValueError, match="a run of one row has none to change with: give longer runs"):
        block_moves(4, groups=torch.tensor([0, 0, 0, 1]))


@pytest.mark.parametrize("missing", [False, True])
def test_fixed_nulls_match_plain_loops(missing):
    preds, Y = normal(43, 3), normal(43, 3, seed=1)
    fold = torch.tensor([-1] * 3 + [0] * 18 + [1] * 22)
    if missing:
        Y[10:14, 1] = nan
    nulls = {
        "shift": circular_shift_null(preds, Y, fold, n_permutations=20, min_shift=4, seed=5),
        "block": block_permutation_null(preds, Y, fold, n_permutations=20, block_length=4, seed=5),
    }
    moves = {
        "shift": shift_moves(40, groups=fold[3:], n_moves=20, min_shift=4, seed=5) + 3,
        "block": block_moves(40, groups=fold[3:], n_moves=20, block_length=4, seed=5) + 3,
    }
    for name, null in nulls.items():
        for m, move in enumerate(moves[name]):
            for k in range(3):
                rs = []
                for label in (0, 1):
                    rows = (fold == label).nonzero()[:, 0]
                    moved = Y[move[rows - 3], k]
                    seen = ~moved.isnan()
                    rs.append(pearsonr(preds[rows, k][seen], moved[seen])[0])
                assert null[m, k].item() == pytest.approx(np.mean(rs))


def test_nulls_average_over_the_folds_that_observed_an_roi():
    X, Y = normal(40, 3), normal(40, 2, seed=1)
    runs = torch.arange(40) // 20
    Y[:20, 1] = nan  # rotates within its run, and stays there
    null = circular_shift_null(X[:, :2], Y, runs, n_permutations=30)
    alone = circular_shift_null(X[:, :2], Y, torch.where(runs == 0, -1, runs), n_permutations=400)
    assert not null.isnan().any()
    # what is left is a rotation of the other run, each of which is known
    distance = (null[:, 1:] - torch.cat([alone[:, 1], pearson(X[20:, 1:2], Y[20:, 1:])])).abs().amin(1)
    assert distance.max() < 1e-12
    Y = torch.cat([Y, normal(20, 2, seed=2)])
    X, runs = normal(60, 3), torch.arange(60) // 20
    result = ridge_cv(X, Y, groups=runs)
    assert result.fold_r[:, 1].isnan().tolist() == [True, False, False]
    folds, mean = (
        ridge_null(X, Y, result, groups=runs, n_permutations=5, per_fold=kept) for kept in (True, False)
    )
    assert folds[:, 0, 1].isnan().all()
    torch.testing.assert_close(mean[:, 1], folds[:, 1:, 1].mean(1))
    torch.testing.assert_close(mean[:, 0], folds[:, :, 0].mean(1))


def test_fixed_null_rotates_whole_runs_where_folds_are_parts_of_one():
    preds, Y, fold = normal(43, 2), normal(43, 2, seed=1), torch.tensor([-1] * 3 + [0] * 18 + [1] * 22)
    null = circular_shift_null(preds, Y, fold, groups=torch.zeros(43))
    assert len(null) == 39
    for m, shift in enumerate(range(1, 40)):
        moved = np.roll(Y[3:].numpy(), shift, axis=0)
        rs = [pearsonr(preds[3:][rows, 0], moved[rows, 0])[0] for rows in (slice(18), slice(18, None))]
        assert null[m, 0].item() == pytest.approx(np.mean(rs))


def test_fixed_null_of_a_constant_is_nan():
    preds, Y, fold = normal(40, 2), normal(40, 2, seed=1), torch.arange(40) // 20
    preds[:20, 0] = 1.5
    null = circular_shift_null(preds, Y, fold, n_permutations=9, min_shift=2)
    assert null[:, 0].isnan().all()
    assert permutation_p(torch.tensor([nan, 0.3]).double(), null).isnan().tolist() == [True, False]


@pytest.mark.parametrize("case", ["plain", "nuisances", "missing", "groups"])
@pytest.mark.parametrize("moves", ["shift", "blocks", "phase"])
@pytest.mark.parametrize("n_features", [4, 60])  # through coordinates, and through one matrix a penalty
def test_ridge_null_is_ridge_cv_on_moved_responses(case, moves, n_features):
    X, Y = normal(80, n_features), normal(80, 3, seed=1)
    options = {"gap": 2}
    if case == "nuisances":
        options["nuisances"] = normal(80, 2, seed=2)
    if case == "missing" and moves == "phase":
        pytest.skip("a series with missing rows has no spectrum")
    if case == "missing":
        Y[5:9, 1] = nan
    if case == "groups":
        options = {"groups": torch.arange(80) // 20}
    penalty = torch.tensor([3.0]).double()
    result = ridge_cv(X, Y, alphas=penalty, **options)
    settings = {"n_permutations": 6, "seed": 4}
    null = ridge_null(X, Y, result, moves=moves, min_shift=5, block_length=5, **settings, **options)
    groups = options.get("groups")
    if moves == "shift":
        rows = shift_moves(80, groups=groups, n_moves=6, min_shift=5, seed=4)
    elif moves == "blocks":
        rows = block_moves(80, groups=groups, n_moves=6, block_length=5, seed=4)
    if case == "nuisances":  # Freedman and Lane: what moves is free of them
        if moves == "blocks":
            design = np.column_stack([np.ones(80), options["nuisances"]])
            Y = Y - torch.from_numpy(design @ np.linalg.lstsq(design, Y.numpy(), rcond=None)[0])
        else:
            Y = regress_out_ar1(Y, options["nuisances"])
    if moves == "phase":
        moved = turn_phases(Y, phase_moves(80, groups=groups, n_moves=6, seed=4), groups)
    else:
        moved = Y[rows]
    for m in range(6):
        expected = ridge_cv(X, moved[m], alphas=penalty, **options)
        torch.testing.assert_close(null[m], expected.r)
    folds = ridge_null(
        X, Y, result, moves=moves, min_shift=5, block_length=5, per_fold=True, **settings, **options
    )
    assert folds.shape == (6, len(result.fold_r), 3)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_features", [4, 60])
def test_the_null_of_a_joint_score_is_the_joint_score_of_moved_responses(missing, n_features):
    X, Y, N = normal(80, n_features), normal(80, 3, seed=1), normal(80, 2, seed=2)
    Y = Y + N[:, :1]
    if missing:
        Y[5:9, 1] = nan
    options = {"gap": 2, "nuisances": N}
    result = ridge_cv(X, Y, alphas=torch.tensor([3.0]), **options)
    null = ridge_null(X, Y, result, joint=True, n_permutations=6, seed=4, **options)
    rows = shift_moves(80, n_moves=6, min_shift=0, seed=4, groups=None)
    for m in range(6):
        expected = ridge_cv(X, Y[rows[m]], alphas=torch.tensor([3.0]), **options)
        torch.testing.assert_close(null[m], expected.r_joint)


def test_ridge_null_finds_a_planted_effect_and_keeps_each_rois_penalty():
    X = normal(120, 3)
    Y = X[:, :2] + normal(120, 2, seed=1)
    result = ridge_cv(X, Y)
    null = ridge_null(X, Y, result)
    assert permutation_p(result.r, null).tolist() == [1 / 120, 1 / 120]  # of 120 rotations
    turned = ridge_null(X, Y, result, moves="phase")
    assert permutation_p(result.r, turned).tolist() == [1 / 1001, 1 / 1001]
    alone = ridge_cv(X, Y[:, 1:])
    torch.testing.assert_close(ridge_null(X, Y[:, 1:], alone), null[:, 1:])
    torch.testing.assert_close(ridge_null(X, Y[:, 1:], alone, moves="phase"), turned[:, 1:])
    half = ridge_null(X.float(), Y.float(), ridge_cv(X.float(), Y.float()))
    torch.testing.assert_close(half.double(), null, atol=1e-4, rtol=0)


def test_ridge_null_keeps_each_rois_penalty_where_responses_are_missing():
    X, Y = normal(60, 4), normal(60, 2, seed=1)
    Y[:, 0] += 3 * X[:, 0]
    Y[5:8] = nan
    result = ridge_cv(X, Y)
    assert (result.alphas[:, 0] < result.alphas[:, 1]).all()
    null = ridge_null(X, Y, result, n_permutations=6)
    for k in (0, 1):
        alone = ridge_null(X, Y[:, k : k + 1], ridge_cv(X, Y[:, k : k + 1]), n_permutations=6)
        torch.testing.assert_close(null[:, k], alone[:, 0])


def test_moves_of_ridge_null_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch):
    X, Y = normal(60, 3), normal(60, 2, seed=1)
    result = ridge_cv(X, Y)
    settings = {"n_permutations": 20, "seed": 2, "block_length": 4}
    whole = [ridge_null(X, Y, result, moves=moves, **settings) for moves in ("shift", "phase", "blocks")]
    monkeypatch.setitem(ridge_null.__globals__, "table_size", lambda device: 360)
    cut = [ridge_null(X, Y, result, moves=moves, **settings) for moves in ("shift", "phase", "blocks")]
    torch.testing.assert_close(cut, whole)


@pytest.mark.parametrize("n_features", [3, 40])
def test_ridge_null_is_nan_where_a_copy_does_not_vary_in_training_or_test(n_features):
    X, Y = normal(60, n_features), torch.zeros(60, 2).double()
    Y[:, 0] = normal(60, 1)[:, 0]
    Y[20:22, 1] = torch.tensor([1.0, 3.0]).double()  # all that ROI 1 ever does
    groups = torch.arange(60) // 30
    result = replace(ridge_cv(X, Y[:, [0, 0]], groups=groups), alphas=torch.ones(2, 2).double())
    null = ridge_null(X, Y, result, groups=groups, n_permutations=50, per_fold=True)
    assert not null[:, :, 0].isnan().any()
    assert null[:, :, 1].isnan().all()


def test_ridge_null_of_a_constant_roi_is_nan_and_wrong_folds_are_refused():
    X, Y = normal(60, 3), normal(60, 2, seed=1)
    Y[:, 0] = 3.0
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        result = ridge_cv(X, Y)
    null = ridge_null(X, Y, result, n_permutations=5)
    assert null.isnan().all(0).tolist() == [True, False]
    Y[:20, 0], Y[20:, 0] = normal(20, 1)[:, 0], 3.0  # what trains the first of three folds does not vary
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        result = ridge_cv(X, Y, n_folds=3)
    null = ridge_null(X, Y, result, n_permutations=5, per_fold=True)
    assert null[:, 0].isnan().all(0).tolist() == [True, False]
    with pytest.raises(ValueError, match="result has other folds"):
        ridge_null(X, Y, result, groups=torch.arange(60) // 29)


def test_ridge_null_warns_of_too_few_rotations():
    X, Y = normal(12, 2), normal(12, 2, seed=1)
    result = ridge_cv(X, Y, n_folds=2)
    with pytest.warns(UserWarning, match="have 11 rotations, too few"):
        ridge_null(X, Y, result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge_null(X, Y, result, n_permutations=10)  # no more were wanted
        X, Y = normal(20, 2), normal(20, 2, seed=1)
        ridge_null(X, Y, ridge_cv(X, Y, n_folds=2))  # 19 rotations allow .05


# --- p and q


def test_permutation_p_counts():
    null = torch.tensor([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5]])
    torch.testing.assert_close(permutation_p(torch.tensor([0.2, 0.6]), null), torch.tensor([0.75, 0.25]))
    null[1, 0] = nan  # a copy that could not be scored is no copy that scored less
    assert permutation_p(torch.tensor([0.2, 0.6]), null).isnan().tolist() == [True, False]
    assert permutation_p(torch.tensor([0.2, nan]), null).isnan().all()
    with pytest.raises(ValueError, match="at least one permutation"):
        permutation_p(torch.zeros(2), torch.zeros(0, 2))


def test_fdr_matches_scipy_around_nan():
    p = torch.rand(50, generator=torch.Generator().manual_seed(0)).double() ** 3
    p[7], p[8] = p[9], nan
    tested = ~p.isnan()
    q = fdr(p)
    np.testing.assert_allclose(q[tested], false_discovery_control(p[tested].numpy()), atol=1e-12)
    assert q[8].isnan()
    assert fdr(torch.full((3,), nan)).isnan().all()
    with pytest.raises(ValueError, match="p must lie in"):
        fdr(torch.tensor([0.5, 1.2]))
