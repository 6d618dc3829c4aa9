"""Responses: what their hash depends on, and what it costs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional import high_pass_basis, noise_ceiling


def operator(entries, shape=(8, 6)):
    rows, columns, values = zip(*entries, strict=True)
    return torch.sparse_coo_tensor([rows, columns], torch.tensor(values), shape, check_invariants=True)


ENTRIES = [(0, 0, 1.0), (3, 2, 0.5), (7, 5, -1.0)]


def responses(**changes):
    generator = torch.Generator().manual_seed(0)
    fields = {
        "values": torch.randn(3, 8, 2, generator=generator),
        "rois": pd.DataFrame({"roi": ["V1", "V4"]}),
        "stimulus_ids": tuple("abcdef"),
        "dataset": "toy",
        "modality": "language",
        "subjects": ("s1", "s2", "s3"),
        "runs": torch.zeros(8, dtype=torch.int64),
        "design": (operator(ENTRIES), operator(ENTRIES[:2])),
        "tr": 2.0,
    }
    return Responses(**{**fields, **changes})


STORED = {
    "order": lambda: operator(ENTRIES[::-1]),
    "repeated entries": lambda: operator([(0, 0, 0.25), *ENTRIES[1:], (0, 0, 0.75)]),
    "dense": lambda: operator(ENTRIES).to_dense(),
    "compressed rows": lambda: operator(ENTRIES).to_sparse_csr(),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("how", STORED)
def test_the_hash_does_not_depend_on_how_an_operator_is_stored(how):
    design = (STORED[how](), operator(ENTRIES[:2]))
    assert responses(design=design).fingerprint() == responses().fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"design": (operator(ENTRIES[:2]), operator(ENTRIES))},
        {"design": (operator([*ENTRIES[:2], (7, 4, -1.0)]), operator(ENTRIES[:2]))},
        {"design": (operator([*ENTRIES[:2], (7, 5, -2.0)]), operator(ENTRIES[:2]))},
        {"design": (operator(ENTRIES),)},
        {"design": (operator(ENTRIES), operator(ENTRIES[:2]), operator([(0, 0, 0.0)]))},
        {"runs": torch.arange(8) // 4},
        {"values": torch.zeros(3, 8, 2)},
        {"values": torch.zeros(3, 8, 2, dtype=torch.bfloat16)},
        {"nuisances": torch.zeros(8, 0)},
        {"stimulus_ids": tuple("abcdeg")},
        {"tr": 1.0},
        {"gap": 1},
        {"hashes": {"words.csv": "0"}},
    ],
)
def test_the_hash_depends_on_everything_else(changes):
    assert responses(**changes).fingerprint() != responses().fingerprint()


def test_hashing_makes_no_operator_dense_and_happens_once():
    T, N = 2000, 5000  # 40 MB when dense
    rows = torch.arange(T)
    delays = tuple(
        torch.sparse_coo_tensor(
            torch.stack([rows, rows + delay]), torch.ones(T), (T, N), check_invariants=True
        )
        for delay in range(3)
    )
    story = responses(
        values=torch.zeros(1, T, 2),
        subjects=("s1",),
        stimulus_ids=tuple(map(str, range(N))),
        runs=torch.zeros(T, dtype=torch.int64),
        design=delays,
    )
    largest = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.layout == torch.strided:
                largest = max(largest, made.numel())
            return made

    with Largest():
        key = story.fingerprint()
    assert 0 < largest < T * N / 100
    largest = 0
    with Largest():
        assert story.fingerprint() == key
    assert largest == 0
    assert dataclasses.replace(story, gap=3).fingerprint() != key


def test_ceilings_are_those_of_the_functional_core_each_computed_once():
    brain = responses()
    fold = torch.arange(8) // 4
    for options in ({"seed": 0}, {"seed": 1}, {"seed": 0, "fold": fold}, {"seed": 0, "fold": 1 - fold}):
        ceiling = brain.estimate_ceiling("split_half", **options)
        torch.testing.assert_close(ceiling, noise_ceiling(brain.values, method="split_half", **options))
        assert brain.estimate_ceiling("split_half", **options) is ceiling
    torch.testing.assert_close(brain.estimate_ceiling("loo_subject"), noise_ceiling(brain.values))
    assert dataclasses.replace(brain).estimate_ceiling("loo_subject") is not brain.estimate_ceiling(
        "loo_subject"
    )


def test_features_lose_the_drifts_that_the_responses_lost_run_by_run():
    runs = torch.tensor([0] * 5 + [1] * 3)
    drifts = torch.block_diag(high_pass_basis(5, 2.0, 1 / 10), high_pass_basis(3, 2.0, 1 / 8))
    brain = responses(design=(torch.eye(8, 6).to_sparse(),), runs=runs, drifts=drifts)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    found = brain.to_volumes(features)
    centered = features - features.mean(0)  # every stimulus has the same share
    for run in (0, 1):
        rows = (runs == run).numpy()
        plain = (torch.eye(8, 6) @ centered).numpy()[rows]
        own = np.column_stack([np.ones(rows.sum()), drifts.numpy()[rows]])
        fitted = own @ np.linalg.lstsq(own, plain, rcond=None)[0]
        np.testing.assert_allclose(found.numpy()[rows], plain - fitted, atol=1e-6)
    assert brain.fingerprint() != dataclasses.replace(brain, drifts=None).fingerprint()


def test_drifts_must_cover_the_volumes():
    with pytest.raises(ValueError, match=r"drifts must have shape \(T=8, K\), got \(6, 2\)"):
        responses(drifts=torch.zeros(6, 2))
