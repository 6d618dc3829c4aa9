"""Shards on disk: whole, and never mixed with another run's."""

import pytest
import torch

from nfas_lightning.hooks.merge import concatenate
from nfas_lightning.hooks.shards import read_shards, write_index, write_shard
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory


def _part(ids, name="a", width=3):
    layers = (LayerInfo(name, 0, "Block", (5, width), width, "torch.float32"),)
    states = torch.tensor(ids, dtype=torch.bfloat16)[:, None].expand(-1, width)
    return Trajectory((states,), layers, torch.tensor(ids))


def test_written_shards_come_back_sorted(tmp_path):
    names = []
    for i, ids in enumerate(([4, 6], [1, 4])):
        names.append(f"{i}.safetensors")
        write_shard(tmp_path / names[-1], _part(ids))
    write_shard(tmp_path / "stale.safetensors", _part([99]))
    write_index(tmp_path, names)
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
        write_index(tmp_path, ["gone.safetensors"])


def test_parts_of_different_layers_do_not_join():
    with pytest.raises(ValueError, match="different layers can't be joined"):
        concatenate([_part([0]), _part([1], name="b")])
    with pytest.raises(ValueError, match="at least one trajectory"):
        concatenate([])
