"""Targets in batches: no score depends on their size, and workspace stays within what was planned."""

import os
from itertools import accumulate

import pytest
import torch

import nfas_lightning.functional as F
from nfas_lightning.functional import batches
from nfas_lightning.functional.batches import batch_size, free_memory, split_targets
from nfas_lightning.functional.ridge import bytes_per_target
from tests.helpers.pretended_device import DEVICE

R = 12
_generator = torch.Generator().manual_seed(0)
X = torch.randn(80, 7, generator=_generator)
Y = X[:, :1] + X[:, 1:2] * torch.linspace(-1, 1, R) + torch.randn(80, R, generator=_generator)
NUISANCES = torch.randn(80, 2, generator=_generator)
MISSING = Y.clone()
MISSING[3, 1] = MISSING[70:, 4] = MISSING[:, 7] = float("nan")
Y[:, 5] = 3.0
FOLD = torch.arange(80) // 16


def ridge(**choices):
    def run(size):
        result = F.ridge_cv(
            X,
            choices.get("Y", Y),
            keep_model=True,
            warn=False,
            target_batch=size,
            **{name: value for name, value in choices.items() if name != "Y"},
        )
        tensors = [value for value in vars(result).values() if isinstance(value, torch.Tensor)]
        return [*tensors, *result.predictions, result.model.weights, result.model.intercept]

    return run


def null(responses=Y, **choices):
    result = F.ridge_cv(X, responses, nuisances=choices.get("nuisances"), warn=False)
    return lambda size: [F.ridge_null(X, responses, result, n_permutations=9, target_batch=size, **choices)]


CASES = {
    "folds": ridge(),
    "loo": ridge(selection="loo"),
    "wide": lambda size: [F.ridge_cv(X.T, Y[:7], n_folds=2, warn=False, target_batch=size).r],
    "nuisances, gap": ridge(nuisances=NUISANCES, gap=2),
    "missing": ridge(Y=MISSING, nuisances=NUISANCES),
    "null": null(nuisances=NUISANCES),
    "null, missing": null(MISSING),
    "null, phases": null(moves="phase"),
    "ceiling": lambda size: [F.noise_ceiling(torch.stack([MISSING, Y, Y + X[:, :1]]), target_batch=size)],
    "halves": lambda size: [
        F.noise_ceiling(
            torch.stack([Y, MISSING, Y + X[:, :1]]), method="split_half", n_splits=5, target_batch=size
        )
    ],
    "bootstrap": lambda size: F.bootstrap_scores(
        Y[None], torch.stack([MISSING, Y + X[:, :1]]), FOLD, n_draws=5, target_batch=size
    )[:3],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_no_result_depends_on_the_batch_size(name):
    whole = CASES[name](R)
    for size in (1, 5, None):
        for one, other in zip(CASES[name](size), whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_327000_targets_fit_into_24_gb_of_an_accelerator():
    rows, features, targets, free = 3000, 1000, 327_000, 24e9
    inputs = 4 * rows * (features + targets)
    scores = targets * (6 * 5 * 4 + 5 * 9 + 8 * 4)  # tables of five folds, and what is averaged over them
    left = free - inputs - scores
    per_target = bytes_per_target(rows, features, 19, 5)
    size = batch_size(per_target, DEVICE, free=int(left))
    assert size > 10_000  # a few dozen batches, each of them large products
    assert inputs + scores + size * per_target < 0.5 * free  # predictions would fit too


def test_slices_cover_every_target_once_and_are_about_equal():
    slices = split_targets(1000, 2**20, torch.device("cpu"))
    assert torch.cat([torch.arange(1000)[part] for part in slices]).tolist() == list(range(1000))
    assert {part.stop - part.start for part in slices} == {250}
    assert split_targets(0, 10, torch.device("cpu")) == []
    assert split_targets(2, 2**40, torch.device("cpu")) == [slice(0, 1), slice(1, 2)]
    with pytest.raises(ValueError, match="target_batch must be at least 1, got 0"):
        split_targets(5, 10, torch.device("cpu"), 0)


def test_free_memory_is_less_than_there_is():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory(torch.device("cpu")) < total
    assert free_memory(DEVICE) > 0


def test_workspace_is_what_was_planned(monkeypatch):
    """Bytes that torch holds at once, scores and shared decompositions included."""
    X, Y = torch.randn(300, 20), torch.randn(300, 3000)
    monkeypatch.setattr(batches, "_WORKSPACE_CPU", 2**24)
    per_target = bytes_per_target(300, 20, 19, 5)
    assert 3_000 * per_target > 3 * 2**24  # batches are needed
    with torch.profiler.profile(profile_memory=True) as profile:
        F.ridge_cv(X, Y, keep_preds=False, warn=False)
    changes = [
        event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    assert 0.2 * 2**24 < max(accumulate(changes)) < 1.2 * 2**24 + 3_000 * 800
