"""Readers of quantized files, on small files written here by the formats' definitions."""

import struct

import numpy as np
import pytest
import torch

from nfas_lightning.packaged_models.formats import read_e5, read_gguf
from nfas_lightning.packaged_models.language import _llama_state

gguf = pytest.importorskip("gguf")


def q4_0(scale, integers):
    """One block of 32 weights scale * (q - 8): a half, then bytes, weight j low and weight j + 16 high."""
    low, high = integers[:16], integers[16:]
    return struct.pack("<e16B", scale, *(a | b << 4 for a, b in zip(low, high, strict=True)))


def write_e5(path):
    hidden, intermediate = 32, 64
    pieces, scores = ["<s>", "<pad>", "</s>", "<unk>", "▁où"], [0.0, 0.0, 0.0, 0.0, -2.5]
    blob = "".join(pieces).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in pieces)])
    rng = np.random.default_rng(0)
    integers = rng.integers(0, 16, (3, 64))
    fo = b"".join(q4_0(0.5, row[:32].tolist()) + q4_0(-0.25, row[32:].tolist()) for row in integers)
    bias = rng.standard_normal(hidden).astype("<f4")
    positions = rng.standard_normal((2, hidden)).astype("<f4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, hidden, 1, 2, intermediate, 5, 2, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes() + np.array(scores, "<f4").tobytes() + blob
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x41, 1, 0x61)
    parts = {
        "l0.fo.w": (1, 192, fo),
        "emb.ln.b": (0, 32, bias.tobytes()),
        "emb.pos": (0, 64, positions.tobytes()),
    }
    size = len(head) + 4 + sum(2 + len(name) + 21 for name in parts)
    directory = struct.pack("<i", len(parts))
    for name, (kind, count, data) in parts.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, count, size, len(data))
        size += len(data)
    path.write_bytes(head + directory + b"".join(data for _, _, data in parts.values()))
    scales = np.array([0.5] * 32 + [-0.25] * 32)
    return (integers - 8) * scales, bias, positions


def test_e5_file_gives_back_what_was_written(tmp_path):
    weight, bias, positions = write_e5(tmp_path / "tiny.bin")
    file = read_e5(tmp_path / "tiny.bin")
    assert file.sizes == {
        "hidden": 32,
        "layers": 1,
        "heads": 2,
        "intermediate": 64,
        "vocabulary": 5,
        "positions": 2,
        "types": 2,
    }
    assert file.special == {"bos": 0, "eos": 2, "pad": 1, "unk": 3}
    assert file.pieces[-1] == ("▁où", -2.5)
    assert file.layer_norm_eps == pytest.approx(1e-12)
    assert torch.equal(file.tensors["l0.fo.w"], torch.tensor(weight, dtype=torch.float32))
    assert torch.equal(file.tensors["emb.ln.b"], torch.from_numpy(bias))
    assert torch.equal(file.tensors["emb.pos"], torch.from_numpy(positions))
    assert read_e5(tmp_path / "tiny.bin", tensors=False).tensors == {}


def test_another_file_is_refused(tmp_path):
    (tmp_path / "other.bin").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match=r"Expected a file that starts with b'E5S1', got b'PK"):
        read_e5(tmp_path / "other.bin")


@pytest.mark.parametrize(("kind", "steps"), [("Q8_0", 127), ("Q4_1", 15)])
def test_gguf_file_gives_back_what_was_written(tmp_path, kind, steps):
    weight = np.random.default_rng(0).uniform(-1, 1, (3, 64)).astype(np.float32)
    quantized = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_block_count(7)
    writer.add_tensor("w", gguf.quantize(weight, quantized), raw_dtype=quantized)
    writer.add_tensor("norm", weight[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = read_gguf(tmp_path / "tiny.gguf")
    assert file.metadata["llama.block_count"] == 7
    assert torch.equal(file.tensors["norm"], torch.from_numpy(weight[0]))
    # at most half a step of a block that spans two units, and the rounding of its half-precision scale
    assert file.tensors["w"].shape == (3, 64)
    assert (file.tensors["w"] - torch.from_numpy(weight)).abs().max() <= 1 / steps * 1.02
    assert read_gguf(tmp_path / "tiny.gguf", tensors=False).tensors == {}


def test_rotary_halves_are_put_back():
    heads, key_heads, width = 4, 2, 24
    original = {"q": torch.randn(heads * 6, width), "k": torch.randn(key_heads * 6, width)}

    def interleave(weight, n):  # as the converter to GGUF writes it: halves of a head become pairs
        return weight.reshape(n, 2, 3, width).transpose(1, 2).reshape(-1, width)

    tensors = {
        "token_embd.weight": torch.zeros(1),
        "output_norm.weight": torch.zeros(1),
        "blk.5.attn_q.weight": interleave(original["q"], heads),
        "blk.5.attn_k.weight": interleave(original["k"], key_heads),
    }
    state = _llama_state(tensors, heads, key_heads)
    assert torch.equal(state["layers.5.self_attn.q_proj.weight"], original["q"])
    assert torch.equal(state["layers.5.self_attn.k_proj.weight"], original["k"])
