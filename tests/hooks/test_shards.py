"""Shards on disk: whole, and never mixed with another run's."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nfas_lightning.hooks.shards import read_shards, write_index, write_shard
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, concatenate


def _part(ids, name="a", width=3):
    layers = (LayerInfo(name, 0, "Block", (5, width), width, "torch.float32"),)
    states = torch.tensor(ids, dtype=torch.bfloat16)[:, None].expand(-1, width)
    return Trajectory((states,), layers, torch.tensor(ids))


def _write(folder):
    """A finished run of two shards."""
    names = {f"{i}.safetensors": ids for i, ids in enumerate(([4, 6], [1, 4]))}
    write_index(folder, {name: write_shard(folder / name, _part(ids)) for name, ids in names.items()})


def test_written_shards_come_back_sorted(tmp_path):
    _write(tmp_path)
    write_shard(tmp_path / "stale.safetensors", _part([99]))
    read = read_shards(tmp_path)
    assert read.stimulus_ids.tolist() == [1, 4, 6]
    assert read.states[0].dtype == torch.bfloat16
    assert read.states[0][:, 0].tolist() == [1, 4, 6]
    assert read.layers == _part([0]).layers
    assert not list(tmp_path.glob("*.tmp"))


def test_unfinished_runs_and_missing_shards_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="did not finish"):
        read_shards(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors is missing"):
        write_index(tmp_path, {"gone.safetensors": "mark"})


def test_a_shard_that_another_run_has_overwritten_is_an_error(tmp_path):
    _write(tmp_path)
    write_shard(tmp_path / "1.safetensors", _part([1, 4]))  # the very same rows: still another run's
    with pytest.raises(FileNotFoundError, match=r"1\.safetensors is not the one .* did not finish"):
        read_shards(tmp_path)


def test_folders_written_before_shards_had_marks_are_read(tmp_path):
    _write(tmp_path)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    for shard in shards:
        with safe_open(tmp_path / shard, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            metadata = {"layers": file.metadata()["layers"]}
        save_file(tensors, tmp_path / shard, metadata=metadata)
    (tmp_path / "index.json").write_text(json.dumps({"shards": shards}))
    assert read_shards(tmp_path).stimulus_ids.tolist() == [1, 4, 6]
    write_shard(tmp_path / "0.safetensors", _part([4, 6]))
    with pytest.raises(FileNotFoundError, match="did not finish"):
        read_shards(tmp_path)


def test_parts_of_different_layers_do_not_join():
    with pytest.raises(ValueError, match="different layers can't be joined"):
        concatenate([_part([0]), _part([1], name="b")])
    with pytest.raises(ValueError, match="at least one trajectory"):
        concatenate([])


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: b"\xff" * len(raw)])
def test_a_damaged_shard_is_named(tmp_path, damage):
    _write(tmp_path)
    shard = tmp_path / "1.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(ValueError, match=r"1\.safetensors is damaged or cut short"):
        read_shards(tmp_path)
