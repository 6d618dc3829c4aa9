"""Captured trajectories: found again by key, whole or not at all, the least recently used removed first."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.results import CaptureCache

ABOUT = {"model": "net", "dataset": "toy"}


def states(n=40, width=25, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    layers = tuple(LayerInfo(f"b.{i}", i, "Block", (width,), width, str(dtype)) for i in range(2))
    rows = tuple(torch.randn(n, width, generator=generator).to(dtype) for _ in layers)
    return Trajectory(rows, layers, torch.arange(n))


@pytest.fixture(autouse=True)
def _usual_limit(monkeypatch):
    monkeypatch.delenv("NFAS_CAPTURES_GB")


def age(cache, key, days):
    then = time.time() - days * 24 * 3600
    os.utime(cache.folder / f"{key}.safetensors", (then, then))


def test_what_is_written_is_read_bit_by_bit_and_another_key_is_not(tmp_path):
    cache, written = CaptureCache(tmp_path), states(dtype=torch.bfloat16)
    cache.write("k", written, ABOUT)
    read = CaptureCache(tmp_path).read("k")
    assert read.layers == written.layers
    assert all(torch.equal(a, b) for a, b in zip(read.states, written.states, strict=True))
    assert cache.read("other") is None
    assert [file.about for file in cache.files()] == [{**ABOUT, "n_stimuli": 40}]
    assert cache.models() == {"net"}


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-9], lambda raw: raw[:-9] + b"\1" + raw[-8:], lambda _: b""]
)
def test_a_damaged_file_is_none_says_so_and_goes(tmp_path, damage):
    cache = CaptureCache(tmp_path)
    cache.write("k", states(), ABOUT)
    (file,) = cache.files()
    file.path.write_bytes(damage(file.path.read_bytes()))
    with pytest.warns(UserWarning, match=r"k\.safetensors is damaged .* It is captured again\."):
        assert cache.read("k") is None
    assert not cache.files()


def test_the_least_recently_used_go_first(tmp_path):
    size = 10e-6  # two states of 40 x 25 numbers have 8 kB
    cache = CaptureCache(tmp_path, max_gb=2.5 * size)
    for days, key in ((3, "a"), (2, "b")):
        cache.write(key, states(), ABOUT)
        age(cache, key, days)
    assert cache.read("a") is not None  # which makes it the last used
    cache.write("c", states(), ABOUT)
    assert {file.path.stem for file in cache.files()} == {"a", "c"}
    age(cache, "a", 8)
    assert [file.path.stem for file in cache.prune(older_than=7)] == ["a"]
    assert [file.path.stem for file in cache.clear()] == ["c"]


def test_what_exceeds_the_limit_or_can_not_be_written_is_not_kept_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"'net' are not kept for later runs: its 0\.0 GB exceed the limit"):
        CaptureCache(tmp_path, max_gb=1e-6).write("k", states(), ABOUT)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="'net' are not kept for later runs: .*file"):
        CaptureCache(tmp_path / "file").write("k", states(), ABOUT)


def test_without_a_size_nothing_is_kept_or_read(tmp_path, monkeypatch):
    CaptureCache(tmp_path).write("k", states(), ABOUT)
    monkeypatch.setenv("NFAS_CAPTURES_GB", "0")
    cache = CaptureCache(tmp_path)
    cache.write("l", states(), ABOUT)
    assert (cache.read("k"), cache.models(), len(cache.files())) == (None, set(), 1)
    assert CaptureCache.given(False).max_gb == 0
    for wrong in ("many", "-1", "nan"):
        monkeypatch.setenv("NFAS_CAPTURES_GB", wrong)
        with pytest.raises(ValueError, match=f"NFAS_CAPTURES_GB must be a number .* got '{wrong}'"):
            CaptureCache(tmp_path)


def test_the_usual_folder_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path))
    assert CaptureCache.given(True).folder == tmp_path / "captures"
    assert CaptureCache.given(str(tmp_path / "own")).folder == tmp_path / "own"


def test_several_at_once_see_whole_trajectories_or_none(tmp_path):
    cache = CaptureCache(tmp_path, max_gb=30e-6)

    def work(seed):
        key = str(seed % 5)
        cache.write(key, states(seed=seed % 5), ABOUT)
        read = CaptureCache(tmp_path).read(key)
        return read is None or torch.equal(read.states[0], states(seed=seed % 5).states[0])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))
    assert sum(file.n_bytes for file in cache.files()) <= 30e3
