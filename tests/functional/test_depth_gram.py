"""One pass over a trajectory: Gram, sums, centering."""

import sys

import numpy as np
import torch

from nfas_lightning.functional.depth_gram import (
    center_gram,
    depth_gram,
    depth_statistics,
    sum_over_stimuli,
    unit_moments,
)
from nfas_lightning.functional.dmd import dmd
from nfas_lightning.functional.gram_spectrum import decompose_gram
from tests.helpers.dynamics import random_walk


def test_streamed_statistics_add_up():
    H = random_walk(n=11)
    parts = [depth_statistics(part) for part in H.split(4)]
    gram, sums = (sum(values) for values in zip(*parts, strict=True))
    for centering in ("none", "center", "scale"):
        centered, *moments = center_gram(gram, sums, 11, centering)
        whole = dmd(H, centering=centering)
        streamed = decompose_gram(centered[None], 11 * 5, 2, True)
        np.testing.assert_allclose(streamed.mode_coefficients[0], whole.mode_coefficients, atol=1e-9)
        for got, wanted in zip(moments, (whole.mean, whole.scale), strict=True):
            assert (got is None) == (wanted is None)
            if got is not None:
                np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_zscore_streams_in_two_passes():
    H = random_walk(n=11)
    mean, scale = unit_moments(H)
    np.testing.assert_allclose(scale, H.std(dim=0, correction=0), atol=1e-12)
    gram = sum(depth_gram(part, mean, scale) for part in H.split(3))
    streamed = decompose_gram(gram[None], 11 * 5, 2, True)
    wanted = dmd(H, centering="zscore").mode_coefficients
    np.testing.assert_allclose(streamed.mode_coefficients[0], wanted, atol=1e-9)


def test_sums_of_many_stimuli_lose_no_digit():
    H = torch.randint(2**19, 2**20, (5000, 3, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(sum_over_stimuli(H.float()), H.sum(dim=0).double())  # whole numbers: exact


def test_gram_is_the_sum_of_inner_products(monkeypatch):
    H = random_walk(n=6, dtype=torch.float32)
    whole = depth_gram(H)
    np.testing.assert_allclose(whole, np.einsum("nld,nmd->lm", H.double(), H.double()), rtol=1e-12)
    # one stimulus at a time
    monkeypatch.setattr(sys.modules["nfas_lightning.functional.depth_gram"], "_CHUNK_CPU", 40)
    np.testing.assert_allclose(depth_gram(H), whole, rtol=1e-12)
    np.testing.assert_allclose(depth_statistics(H)[1], H.double().sum(dim=0), rtol=1e-12)
