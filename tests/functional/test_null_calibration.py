"""Whether p values mean what they say: slow noise against slow features that have nothing to do with it."""

import functools

import pytest
import torch

from nfas_lightning.functional import circular_shift_null, permutation_p, ridge_null
from nfas_lightning.functional.encoding import ridge_cv

N_SETS, N_ROIS, N_VOLUMES, MIN_SHIFT, AUTOCORRELATION = 12, 25, 300, 6, 0.8


def ar1(n_columns, generator):
    noise = torch.randn(N_VOLUMES + 50, n_columns, generator=generator).double()
    rows = [noise[0]]
    for innovation in noise[1:]:
        rows.append(AUTOCORRELATION * rows[-1] + (1 - AUTOCORRELATION**2) ** 0.5 * innovation)
    return torch.stack(rows[50:])


@functools.cache
def p_values():
    generator = torch.Generator().manual_seed(0)
    refitted, fixed = [], []
    for seed in range(N_SETS):
        X, Y = ar1(3, generator), ar1(N_ROIS, generator)
        result = ridge_cv(X, Y, n_folds=4, gap=MIN_SHIFT)
        shared = {"n_permutations": 199, "min_shift": MIN_SHIFT, "seed": seed}
        refitted.append(permutation_p(result.r, ridge_null(X, Y, result, gap=MIN_SHIFT, **shared)))
        null = circular_shift_null(result.preds, result.target, result.fold, **shared)
        fixed.append(permutation_p(result.r, null))
    return torch.cat(refitted), torch.cat(fixed)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
def test_ridge_null_rejects_as_often_as_it_says(level):
    p, _ = p_values()
    bound = 3.3 * (level * (1 - level) / len(p)) ** 0.5  # one in a thousand, if data sets were binomial draws
    assert abs((p <= level).double().mean() - level) < bound


def test_moving_the_test_responses_alone_rejects_too_often():
    # why cross-validated scores get a null that fits again: see docs/method/encoding.md
    _, p = p_values()
    assert (p <= 0.05).double().mean() > 0.1
