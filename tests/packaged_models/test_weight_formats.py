"""Readers of weight files, on small files written here by the formats' definitions."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nfas_lightning.packaged_models.weight_formats import (
    read_ctranslate2_weights,
    read_e5,
    read_gguf,
    read_onnx_initializers,
)

gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # after the check that onnx is there

VARIABLES = {
    "encoder/weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "encoder/bias": np.array([0.5, -1.5], dtype=np.float32),
    "decoder/weight": np.array([[1, -2], [3, 127]], dtype=np.int8),
    "decoder/heads": np.array(8, dtype=np.int16),
    "decoder/none": np.zeros((0, 4), dtype=np.float32),
}
KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, value: np.ndarray) -> bytes:
    head = text(name) + struct.pack("<B", value.ndim) + struct.pack(f"<{value.ndim}I", *value.shape)
    return head + struct.pack("<BI", KINDS[value.dtype.name], value.nbytes) + value.tobytes()


def ctranslate2_file(version: int = 6) -> bytes:
    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(VARIABLES))]
    parts += [variable(name, value) for name, value in VARIABLES.items()]
    aliases = {"decoder/projection": "decoder/weight", "encoder/copy": "encoder/bias"}
    parts += [struct.pack("<I", len(aliases)), *(text(a) + text(b) for a, b in aliases.items())]
    return b"".join(parts)


def write(tmp_path: Path, content: bytes, name: str = "model.bin") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_ctranslate2_variables_come_as_they_were_written(tmp_path) -> None:
    weights = read_ctranslate2_weights(write(tmp_path, ctranslate2_file()))
    assert list(weights) == [*VARIABLES, "decoder/projection", "encoder/copy"]
    for name, value in VARIABLES.items():
        assert torch.equal(weights[name], torch.from_numpy(value.copy()))
        assert weights[name].dtype == torch.from_numpy(value.copy()).dtype
    assert torch.equal(weights["decoder/projection"], weights["decoder/weight"])


def test_ctranslate2_pieces_join_wherever_they_were_cut(tmp_path) -> None:
    content = ctranslate2_file()
    whole = read_ctranslate2_weights(write(tmp_path, content))
    for cut in range(0, len(content), 17):
        parts = write(tmp_path, content[:cut], "a"), write(tmp_path, content[cut:], "b")
        joined = read_ctranslate2_weights(*parts)
        assert all(torch.equal(joined[name], whole[name]) for name in whole)


def test_ctranslate2_prefix_keeps_its_variables_alone(tmp_path) -> None:
    weights = read_ctranslate2_weights(write(tmp_path, ctranslate2_file()), prefix="encoder/")
    assert list(weights) == ["encoder/weight", "encoder/bias", "encoder/copy"]


def test_ctranslate2_file_that_ends_early_is_refused_at_every_byte(tmp_path) -> None:
    content = ctranslate2_file()
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"the file is cut short"):
            read_ctranslate2_weights(write(tmp_path, content[:length]))


def test_damaged_ctranslate2_files_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="of version 6, got 5"):
        read_ctranslate2_weights(write(tmp_path, ctranslate2_file(version=5)))
    with pytest.raises(ValueError, match="got 3 more bytes"):
        read_ctranslate2_weights(write(tmp_path, ctranslate2_file() + b"abc"))
    head = struct.pack("<I", 6) + text("Spec") + struct.pack("<II", 1, 1) + text("x")
    with pytest.raises(ValueError, match="x must have an element type from 0 to 5, got 9"):
        read_ctranslate2_weights(write(tmp_path, head + struct.pack("<BIBI", 1, 1, 9, 4) + bytes(4)))
    with pytest.raises(ValueError, match=r"x of shape \(3,\) and torch.float32 can't hold 4 bytes"):
        read_ctranslate2_weights(write(tmp_path, head + struct.pack("<BIBI", 1, 3, 0, 4) + bytes(4)))
    huge = struct.pack("<B4IBI", 4, *(2**32 - 1,) * 4, 0, 2**32 - 1)
    with pytest.raises(ValueError, match="can't hold"):  # refused before anything of that size is allocated
        read_ctranslate2_weights(write(tmp_path, head + huge))


def save_graph(tmp_path: Path, nodes: list, constants: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path


def test_onnx_linear_weights_get_their_names_and_their_layout_back(tmp_path) -> None:
    rng = np.random.default_rng(0)
    first, second, third = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (4, 2), (2, 5))
    )
    biases = {"b.bias": np.ones(2, np.float32), "a.bias": np.zeros(4, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "val_9"], ["h1"]),
        helper.make_node("Add", ["a.bias", "h1"], ["h2"]),
        helper.make_node("MatMul", ["h2", "val_3"], ["h3"]),
        helper.make_node("Add", ["h3", "b.bias"], ["h4"]),
        helper.make_node("MatMul", ["h4", "val_1"], ["y"]),
    ]
    path = save_graph(tmp_path, nodes, {"val_1": third, "val_3": second, **biases, "val_9": first})
    weights = read_onnx_initializers(path)
    assert list(weights) == [
        "a.weight",
        "b.weight",
        "val_1",
        "b.bias",
        "a.bias",
    ]  # products in order of execution
    assert np.array_equal(weights["a.weight"].numpy(), first.T)
    assert np.array_equal(weights["b.weight"].numpy(), second.T)
    assert np.array_equal(weights["val_1"].numpy(), third)  # no bias, no name
    # the same network in torch
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    hidden = torch.nn.functional.linear(x, weights["a.weight"], weights["a.bias"])
    expected = ((x.numpy() @ first) @ second + 1) @ third
    got = torch.nn.functional.linear(hidden, weights["b.weight"], weights["b.bias"]) @ weights["val_1"]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-5)


def quantized(name: str, values: np.ndarray, scale: np.ndarray, zero: np.ndarray, **axis: int) -> tuple:
    names = [f"{name}_quantized", f"{name}_scale", f"{name}_zero_point"]
    node = helper.make_node("DequantizeLinear", names, [f"{name}_out"], **axis)
    return node, dict(zip(names, (values, scale, zero), strict=True))


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_onnx_constants_are_dequantized_along_their_axis(tmp_path, axis) -> None:
    rng = np.random.default_rng(1)
    along = 1 if axis is None else axis
    values = rng.integers(-128, 128, (3, 4, 2)).astype(np.int8)
    size = values.shape[along]
    scale, zero = rng.random(size).astype(np.float32), rng.integers(-128, 128, size).astype(np.int8)
    node, constants = quantized("w", values, scale, zero, **({} if axis is None else {"axis": axis}))
    weights = read_onnx_initializers(save_graph(tmp_path, [node], constants))
    assert list(weights) == ["w"]
    moved = np.moveaxis(values.astype(np.float64), along, -1)
    expected = np.moveaxis((moved - zero) * scale, -1, along)
    np.testing.assert_allclose(weights["w"].numpy(), expected, rtol=1e-6)
    assert weights["w"].dtype == torch.float32
    assert weights["w"].is_contiguous()


def test_onnx_scalar_scales_and_quantizers_of_activations(tmp_path) -> None:
    bias_node, bias = quantized(
        "a.bias", np.array([10, -20], np.int32), np.array(0.5, np.float32), np.array(0, np.int32)
    )
    values = np.array([[0, 255], [128, 1]], np.uint8)  # unsigned: the difference must not wrap around
    node, weight = quantized("val_1", values, np.array(0.1, np.float32), np.array(128, np.uint8))
    steps = {"h_scale": np.array(0.3, np.float32), "h_zero": np.array(3, np.uint8)}
    nodes = [
        bias_node,
        node,
        helper.make_node("MatMul", ["x", "val_1_out"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "h_scale", "h_zero"], ["h_q"]),
        helper.make_node("DequantizeLinear", ["h_q", "h_scale", "h_zero"], ["h_dq"]),
        helper.make_node("Add", ["h_dq", "a.bias_out"], ["y"]),
    ]
    weights = read_onnx_initializers(save_graph(tmp_path, nodes, {**bias, **weight, **steps}))
    assert list(weights) == ["a.weight", "a.bias"]
    assert weights["a.bias"].tolist() == [5.0, -10.0]
    torch.testing.assert_close(weights["a.weight"], torch.tensor([[-12.8, 0.0], [12.7, -12.7]]))


def test_onnx_scalars_stay_scalars_and_names_stay_unique(tmp_path) -> None:
    identity = helper.make_node("Identity", ["x"], ["y"])
    weights = read_onnx_initializers(save_graph(tmp_path, [identity], {"s": np.array(2.0, np.float32)}))
    assert weights["s"].shape == ()
    node, constants = quantized("w", np.zeros(2, np.int8), np.array(1.0, np.float32), np.array(0, np.int8))
    path = save_graph(tmp_path, [node], {**constants, "w": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="two constants named 'w'"):
        read_onnx_initializers(path)


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
