"""Responses: what their hash depends on, and what it costs."""

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nfas_lightning.data.events import volume_design
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


# --- events


def story(onsets, *, temporal="hrf", volumes=40, **fields):
    """Responses to events at these seconds; a volume per second."""
    times = torch.arange(volumes).double()
    design = volume_design(torch.tensor(onsets).double(), times, tr=1.0, temporal=temporal, delays=(1, 2))
    given = {"values": torch.zeros(1, volumes, 1), "rois": pd.DataFrame({"roi": ["a"]}), "subjects": ("s",)}
    n = len(onsets)
    return responses(**{
        **given, "design": design, "tr": 1.0, "stimulus_ids": tuple(map(str, range(n))),
        "runs": torch.zeros(volumes, dtype=torch.long), **fields,
    })  # fmt: skip


def test_the_event_rate_is_what_a_constant_becomes():
    brain = story([2.0, 5.0, 6.0, 20.0])
    torch.testing.assert_close(brain.event_rate()[:, 0], brain.design[0].to_dense().sum(1), check_dtype=False)
    named = brain.with_event_rate()
    assert named.nuisance_names == ("event_rate",)
    torch.testing.assert_close(named.nuisances, brain.event_rate())
    assert named.with_event_rate() is named  # it is there
    assert brain.to_volumes(torch.full((4, 3), 7.0)).abs().max() == 0


def test_the_event_rate_of_several_delays_leaves_constant_columns_out():
    steady = story(np.arange(-2, 40) + 0.5, temporal="fir")  # an event in every repetition time
    assert steady.event_rate().shape == (40, 0)
    assert steady.with_event_rate() is steady
    paused = story([2.5, 3.5, 20.5], temporal="fir").with_event_rate()
    assert paused.nuisance_names == ("event_rate_1", "event_rate_2")
    images = responses(design=(), tr=None, values=torch.zeros(3, 6, 2), runs=torch.zeros(6, dtype=torch.long))
    assert images.event_rate().shape == (6, 0)
    assert images.with_event_rate() is images  # no events


def test_a_nuisance_that_is_the_event_rate_is_not_there_twice():
    runs = (torch.arange(40) >= 20).long()
    brain = story([2.0, 5.0, 6.0, 22.0, 31.0], runs=runs)
    rate = brain.event_rate()
    # each run z-scored by itself, as the nuisances of stories are
    scaled = torch.cat([3 * rate[:20] - 1, 0.2 * rate[20:] + 4])
    known = replace(brain, nuisances=scaled, nuisance_names=("word_rate",))
    assert known.with_event_rate().nuisance_names == ("word_rate",)
    other = replace(brain, nuisances=torch.randn(40, 1), nuisance_names=("power",))
    assert other.with_event_rate().nuisance_names == ("power", "event_rate")
    delayed = replace(brain, design=tuple(brain.design[0].to_dense().roll(delay, 0) for delay in range(3)))
    one = replace(delayed, nuisances=delayed.event_rate()[:, :1] * 3, nuisance_names=("words",))
    assert one.with_event_rate().nuisance_names == ("words", "event_rate_2", "event_rate_3")
    taken = replace(brain, nuisances=torch.randn(40, 1), nuisance_names=("event_rate",))
    with pytest.raises(ValueError, match=r"event_rate.*rename that column, or give event_rate=False"):
        taken.with_event_rate()


def test_the_mean_that_is_taken_off_is_that_of_what_the_volumes_hold():
    brain = story([2.0, 5.0, 37.5, 60.0])  # the third hardly begins, the last comes after the end
    assert brain.presented.tolist() == [True, True, True, False]
    features = torch.tensor([[1.0], [3.0], [10.0], [1e6]])
    weights = brain.design[0].to_dense().abs().sum(0).to(features)
    centered = features - (weights @ features) / weights.sum()
    torch.testing.assert_close(brain.to_volumes(features), brain.carry(centered))
    torch.testing.assert_close(brain.to_volumes(features[:3]), brain.to_volumes(features))
