"""Shards on disk: whole, and never mixed with another run's."""

import pytest
import torch
from safetensors.torch import save_file

from nfas_lightning.hooks.shards import begin_shards, finish_shards, read_about, read_shards, write_shard
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory, concatenate

SHARDS = {"0.safetensors": [4, 6], "1.safetensors": [1, 4]}


def _part(ids, name="a", width=3):
    layers = (LayerInfo(name, 0, "Block", (5, width), width, "torch.float32"),)
    states = torch.tensor(ids, dtype=torch.bfloat16)[:, None].expand(-1, width)
    return Trajectory((states,), layers, torch.tensor(ids))


def _write(folder):
    """A finished run of two shards."""
    unfinished = begin_shards(folder)
    for name, ids in SHARDS.items():
        write_shard(unfinished / name, _part(ids))
    finish_shards(unfinished, folder, SHARDS)


def test_written_shards_come_back_sorted(tmp_path):
    for _ in range(2):  # the second run replaces the first one's
        _write(tmp_path / "test")
    read = read_shards(tmp_path / "test")
    assert read.stimulus_ids.tolist() == [1, 4, 6]
    assert read.states[0].dtype == torch.bfloat16
    assert read.states[0][:, 0].tolist() == [1, 4, 6]
    assert read.layers == _part([0]).layers
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_unfinished_runs_and_missing_shards_are_errors(tmp_path):
    _write(tmp_path / "test")
    unfinished = begin_shards(tmp_path / "test")
    write_shard(unfinished / "0.safetensors", _part([1]))
    with pytest.raises(FileNotFoundError, match="no run has finished"):
        read_shards(tmp_path / "test")
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors is missing"):
        finish_shards(unfinished, tmp_path / "test", ["0.safetensors", "gone.safetensors"])


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OSError, match="folder of shards and nothing else"):
        begin_shards(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


def test_what_is_kept_beside_a_trajectory_is_read_alone(tmp_path):
    write_shard(tmp_path / "a.safetensors", _part([1]), {"model": "net"})
    assert read_about(tmp_path / "a.safetensors") == {"model": "net"}
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="is no trajectory"):
        read_about(tmp_path / "b.safetensors")


def test_parts_of_different_layers_do_not_join():
    with pytest.raises(ValueError, match="different layers can't be joined"):
        concatenate([_part([0]), _part([1], name="b")])
    with pytest.raises(ValueError, match="at least one trajectory"):
        concatenate([])


def _with_one_bit_less(raw):
    return raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: b"\xff" * len(raw), _with_one_bit_less]
)
def test_a_damaged_shard_is_named(tmp_path, damage):
    _write(tmp_path / "test")
    shard = tmp_path / "test" / "1.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(ValueError, match=r"1\.safetensors is damaged or cut short"):
        read_shards(tmp_path / "test")
