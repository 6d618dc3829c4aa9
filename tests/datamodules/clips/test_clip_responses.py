"""Responses to clips: repetitions averaged, their ceiling, and the cache."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.datamodules.algonauts2021.algonauts_reader import (
    ALGONAUTS,
)
from nfas_lightning.datamodules.clips.clip_responses import read_clip_responses, repetition_ceiling
from tests.helpers.algonauts_tree import mini, read_mini, whole
from tests.helpers.python2_pickle import python2_pickle


def test_standardized_values_are_means_over_repetitions(folder):
    read = read_mini(folder)
    values, ceiling, each = read.standardized(range(20))
    mean = read.repetitions.double().mean(dim=1)
    wanted = (mean - mean.mean(1, keepdim=True)) / mean.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(values, wanted.float())
    assert (ceiling.shape, each.shape) == ((9,), (2, 9))
    # later ROIs of the tree are noisier
    assert ceiling[0] > 0.98 > ceiling[-1]
    for rows in (range(18, 20), range(7, 16)):
        part, _, _ = read.standardized(rows)
        some = values[:, list(rows)]
        wanted = (some - some.mean(1, keepdim=True)) / some.std(1, keepdim=True, correction=0)
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=1e-4)


def test_ceilings_do_not_depend_on_a_subjects_units(folder):
    read = read_mini(folder)
    _, ceiling, each = read.standardized(range(20))
    moved = read.repetitions.clone()
    moved[1] = 1000 * moved[1] + 300
    values, other, others = read._replace(repetitions=moved).standardized(range(20))
    torch.testing.assert_close(other, ceiling, atol=1e-4, rtol=0)
    torch.testing.assert_close(others, each, atol=1e-4, rtol=0)
    torch.testing.assert_close(values, read.standardized(range(20))[0], atol=1e-3, rtol=0)


def test_a_missing_repetition_and_a_constant_roi(folder):
    read = read_mini(folder)
    repetitions = read.repetitions.clone()
    repetitions[0, 2, 5] = torch.nan
    repetitions[:, :, :, 3] = 7.0
    repetitions[1, :, ::2, 3] += 2**-21  # the last place of 7 in float32
    assert repetitions[1, 0, :, 3].unique().numel() == 2
    values, ceiling, each = read._replace(repetitions=repetitions).standardized(range(20))
    assert values[..., 3].isnan().all()
    assert ceiling[3].isnan()
    others = [r for r in range(9) if r != 3]
    assert values[..., others].isfinite().all()
    assert each[:, others].isfinite().all()
    one, none, _ = read._replace(repetitions=repetitions[:, :1]).standardized(range(20))
    assert one.shape == (2, 20, 9)
    assert none is None


@pytest.mark.parametrize("n_repetitions", [2, 3, 10])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_ceiling_is_what_the_noiseless_response_reaches(n_repetitions, noise):
    g = torch.Generator().manual_seed(n_repetitions)
    signal = torch.randn(20_000, 2, generator=g, dtype=torch.float64)
    shape = (n_repetitions, *signal.shape)
    repetitions = signal + noise * torch.randn(shape, generator=g, dtype=torch.float64)
    truth = [float(np.corrcoef(signal[:, r], repetitions.mean(0)[:, r])[0, 1]) for r in range(2)]
    np.testing.assert_allclose(repetition_ceiling(repetitions), truth, atol=0.02)
    analytic = (1 / (1 + noise**2 / n_repetitions)) ** 0.5
    np.testing.assert_allclose(repetition_ceiling(repetitions), analytic, atol=0.02)


def test_two_repetitions_are_two_halves():
    first, second = (
        torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(1)) + torch.arange(50.0)[:, None]
    )
    r = float(np.corrcoef(first[:, 0], second[:, 0])[0, 1])
    assert float(repetition_ceiling(torch.stack([first, second]))) == pytest.approx((2 * r / (1 + r)) ** 0.5)


def test_noise_has_no_ceiling():
    noise = torch.randn(3, 5000, 4, generator=torch.Generator().manual_seed(0))
    assert repetition_ceiling(noise).max() < 0.2
    with pytest.raises(ValueError, match="at least two repetitions, got 1"):
        repetition_ceiling(noise[:1])


def test_means_come_from_the_cache_until_the_file_changes(copy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = read_mini(copy, cache=cache)
    assert len(list(cache.glob("*.safetensors"))) == 18

    def refuse(path):
        raise AssertionError(f"{path} was read again")

    with monkeypatch.context() as patch:
        patch.setattr("nfas_lightning.datamodules.algonauts2021.algonauts_reader.read_pickle", refuse)
        again = read_mini(copy, cache=cache)
    torch.testing.assert_close(again.repetitions, first.repetitions)
    assert again.rois.equals(first.rois)
    assert again.hashes == first.hashes
    train = pickle.loads(mini(copy).read_bytes(), encoding="latin1")["train"]
    mini(copy).write_bytes(python2_pickle({"train": train + 1}))
    changed = read_mini(copy, cache=cache)
    assert float((changed.repetitions - first.repetitions)[0, :, :, 0].mean()) == pytest.approx(1, abs=1e-4)
    assert torch.equal(changed.repetitions[1], first.repetitions[1])
    # what is in the cache does not excuse a file from the official counts
    with pytest.raises(ValueError, match="1000 videos and 3 repetitions, got 20 and 3"):
        read_mini(copy, cache=cache, strict=True)


def test_a_cache_keeps_atlases_apart(folder, tmp_path):
    files = {"sub01": [whole(folder)]}
    options = {"progress": False, "strict": False}
    for radius in (6.0, 2.0):
        atlas = load_atlas("seitzman", radius=radius)
        (fresh,) = read_clip_responses(ALGONAUTS, files, atlas.table, atlas, **options)
        (kept,) = read_clip_responses(
            ALGONAUTS, files, atlas.table, atlas, cache=tmp_path / "cache", **options
        )
        torch.testing.assert_close(kept.repetitions, fresh.repetitions, equal_nan=True)
        assert kept.rois["n_voxels"].equals(fresh.rois["n_voxels"])


def test_a_damaged_cache_is_computed_anew(copy, tmp_path):
    cache = tmp_path / "cache"
    first = read_mini(copy, cache=cache)
    for path in cache.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="computed anew"):
        again = read_mini(copy, cache=cache)
    torch.testing.assert_close(again.repetitions, first.repetitions)
