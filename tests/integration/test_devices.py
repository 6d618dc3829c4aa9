"""Every function on an accelerator that these machines do not have: nothing stays behind on the CPU."""

import dataclasses
import warnings

import pytest
import torch

import nfas_lightning.functional as F
from tests.helpers.pretended_device import DEVICE, PretendedDevice, pretend, reveal

_generator = torch.Generator().manual_seed(0)
H = torch.randn(120, 5, 6, generator=_generator)  # enough for a batch on the device
X = torch.randn(80, 7, generator=_generator)
Y = X[:, :3] + torch.randn(80, 3, generator=_generator)
MISSING = Y.clone()
MISSING[3, 1] = float("nan")
RUNS = torch.arange(80) // 20
NUISANCES = torch.randn(80, 2, generator=_generator)
SCORES = torch.rand(8, 4, generator=_generator)
DISTANCES = torch.cdist(X[:20], X[:20])
LABELS = ["a"] * 10 + ["b"] * 10
MODALITIES = ["a"] * 4 + ["b"] * 4
SUBJECTS = torch.stack([Y, Y + NUISANCES[:, :1], Y * 2 - NUISANCES[:, 1:]])


def dmd(operator, centering):
    def run(to):
        result = F.dmd(to(H), operator=operator, centering=centering)
        return result.eigenvalues, F.combine_depths(to(H), result)

    return run


def null(responses=Y, moves="shift", **given):
    def run(to):
        moved = {name: to(value) for name, value in given.items()}
        result = F.ridge_cv(to(X), to(responses), **moved)
        return result, F.ridge_null(to(X), to(responses), result, moves=moves, n_permutations=12, **moved)

    return run


CASES = {
    **{
        f"dmd {operator} {centering}": dmd(operator, centering)
        for operator in ("joint", "per_stimulus", "pooled")
        for centering in ("none", "center", "scale", "zscore")
    },
    "procrustes": lambda to: F.StateSpace().fit_transform([to(H[:, 0]), to(H[:, 1, :4])]),
    "procrustes, narrow between wide": lambda to: F.StateSpace().fit_transform(
        [to(H[:, 0, :5]), to(H[:, 1, :2]), to(H[:, 2])]
    ),
    "bootstrap of scores": lambda to: F.bootstrap_scores(
        to(H[:, :, :2].movedim(1, 0)), to(H[:, :, 2:4].movedim(1, 0)), to(torch.arange(len(H)) % 2), n_draws=5
    )[:3],
    "ridge": lambda to: F.ridge_cv(to(X), to(Y)),
    "ridge, wide": lambda to: F.ridge_cv(to(X.T.contiguous()), to(X.T[:, :2].contiguous()), n_folds=2),
    "ridge, leave one out": lambda to: F.ridge_cv(to(X), to(Y), selection="loo"),
    "ridge, gap": lambda to: F.ridge_cv(
        to(X), to(Y), gap=2, nuisances=to(NUISANCES), alphas=to(torch.logspace(0, 3, 4))
    ),
    "ridge, runs": lambda to: F.ridge_cv(to(X), to(MISSING), groups=to(RUNS)),
    "ridge, small things on the CPU": lambda to: F.ridge_cv(
        to(X), to(Y), groups=RUNS, nuisances=NUISANCES, alphas=torch.tensor([1.0, 10.0])
    ),
    "null, one run": null(),
    "null, runs": null(groups=RUNS, nuisances=NUISANCES),
    "null, phases": null(moves="phase", groups=RUNS),
    "null, blocks": null(moves="blocks"),
    "null, missing": null(MISSING, groups=RUNS),
    "circular": lambda to: F.circular_shift_null(to(X[:, :3]), to(Y), to(RUNS), n_permutations=5),
    "blocks": lambda to: F.block_permutation_null(
        to(X[:, :3]), to(Y), to(RUNS), block_length=5, n_permutations=5
    ),
    "ceiling": lambda to: F.noise_ceiling(to(SUBJECTS)),
    "ceiling, halves": lambda to: F.noise_ceiling(to(SUBJECTS), method="split_half", n_splits=3),
    "pearson": lambda to: F.pearson(to(X[:, :3]), to(Y)),
    "regress out": lambda to: F.regress_out(to(Y), to(NUISANCES), to(RUNS)),
    "permanova": lambda to: F.permanova(to(DISTANCES), LABELS, n_permutations=50),
    "permdisp": lambda to: F.permdisp(to(DISTANCES), LABELS, n_permutations=50),
    "pairwise": lambda to: F.permanova_pairwise(to(DISTANCES), LABELS, n_permutations=50),
    "silhouette": lambda to: F.silhouette(to(DISTANCES), LABELS, n_permutations=50),
    "anova": lambda to: F.anova(to(X[:20]), LABELS),
    "pca": lambda to: F.pca(to(X[:20])),
    "mds": lambda to: F.mds(to(DISTANCES)),
    "distances": lambda to: F.distances(to(X[:20]), "correlation"),
    "snci": lambda to: F.snci(to(SCORES), MODALITIES),
    "snci, interval": lambda to: F.snci_bootstrap(to(SCORES), MODALITIES, n_bootstrap=50),
    "snci, permutations": lambda to: F.snci_permutation(to(SCORES), MODALITIES, n_permutations=50),
    "convergence": lambda to: F.convergence(to(SCORES), MODALITIES),
    "fdr": lambda to: F.fdr(to(SCORES[0])),
}


def tensors(result):
    """All tensors in a result, in the order of its fields."""
    if isinstance(result, torch.Tensor):
        return [result]
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, dict):
        result = list(result.values())
    return [tensor for part in result for tensor in tensors(part)] if isinstance(result, list | tuple) else []


@pytest.mark.parametrize("name", CASES)
def test_an_accelerator_gives_what_the_cpu_gives(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = tensors(CASES[name](lambda value: value))
        with PretendedDevice():
            found = [reveal(tensor) for tensor in tensors(CASES[name](pretend))]
    assert expected
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # an accelerator takes more stimuli at a time, and sums round differently
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_cuda_gives_what_the_cpu_gives(name, dtype):
    def to(device):
        return lambda value: value.to(device, dtype if value.is_floating_point() else None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = tensors(CASES[name](to("cpu")))
        found = tensors(CASES[name](to("cuda")))
    assert expected
    assert len(found) == len(expected)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-9}
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one.cpu(), other, equal_nan=True, **tolerance)


def test_scores_stay_on_the_device():
    with PretendedDevice():
        result = F.ridge_cv(pretend(X), pretend(Y), groups=RUNS)
        feature = F.stable_mode(pretend(H))
        assert {result.r.device, result.preds.device, result.fold.device, feature.device} == {DEVICE}


def test_responses_on_another_device_are_named():
    with PretendedDevice(), pytest.raises(ValueError, match=r"Y must be on the device of X, meta, got cpu"):
        F.ridge_cv(pretend(X), Y)


def test_the_pretended_device_refuses_what_an_accelerator_refuses():
    with PretendedDevice():
        with pytest.raises(RuntimeError, match="one device"):
            pretend(X) + X
        with pytest.raises(RuntimeError, match="indices"):
            X[pretend(RUNS)]
        assert torch.equal(reveal(pretend(X)[RUNS]), X[RUNS])  # the other way round is allowed, as on CUDA
        assert reveal(pretend(X) + torch.tensor(1.0)).shape == X.shape
