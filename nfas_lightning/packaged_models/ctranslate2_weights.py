"""Read the tensors of a CTranslate2 ``model.bin`` (binary version 6), without CTranslate2.

Little-endian. The file is: version (uint32), specification name (text), revision (uint32), the number of
variables (uint32), the variables, the number of aliases (uint32), the aliases. A text is its length in bytes
with the closing zero (uint16), then the bytes. A variable is its name (text), the number of axes (uint8),
each length (uint32), the element type (uint8), the number of bytes (uint32) and the row-major values. An
alias is two texts: its own name, and the variable it stands for.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["read_ctranslate2_weights"]

_VERSION = 6
_DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)


def read_ctranslate2_weights(*parts: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the variables of a CTranslate2 model, in the type they are stored in.

    Quantized variables (int8, int16) come as they are, beside their ``_scale``.

    Args:
        *parts: the file, or its pieces in order where it was cut.
        prefix: keep only the variables whose name starts so, e.g. ``"encoder/"``.

    Returns:
        Variable name -> tensor, in the order of the file, then the aliases.

    Raises:
        ValueError: no file was given, it is not of version 6, it ends too early or too late, or a variable's
            size contradicts its shape and type.
    """
    if not parts:
        raise ValueError("Expected the path of a model.bin or of its pieces, got none.")
    reader = _Reader(bytearray().join(path.read_bytes() for path in parts))
    if (version := reader.number("I")) != _VERSION:
        raise ValueError(f"{parts[0].name} must be a CTranslate2 model of version {_VERSION}, got {version}.")
    reader.text()  # name of the specification
    reader.number("I")  # its revision
    weights: dict[str, Tensor] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        value = reader.tensor(name)
        if name.startswith(prefix):
            weights[name] = value.clone()  # a view would keep the whole file in memory
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if alias.startswith(prefix) and name in weights:
            weights[alias] = weights[name]
    reader.expect_end()
    return weights


class _Reader:
    """A cursor over the file that never reads past its end."""

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.position = 0

    def _advance(self, n_bytes: int) -> int:
        """Move on by `n_bytes` and return where they start."""
        start = self.position
        if start + n_bytes > len(self.buffer):
            raise ValueError(
                f"Expected {n_bytes} bytes at position {start}, got {len(self.buffer) - start}: the file is "
                f"cut short, a part is missing, or it is no CTranslate2 model."
            )
        self.position = start + n_bytes
        return start

    def number(self, kind: str) -> int:
        """Read one unsigned integer: ``B``, ``H`` or ``I`` of the struct module."""
        start = self._advance(struct.calcsize(f"<{kind}"))
        return int(struct.unpack_from(f"<{kind}", self.buffer, start)[0])

    def text(self) -> str:
        """Read a text and drop its closing zero."""
        length = self.number("H")
        start = self._advance(length)
        return self.buffer[start : start + length].rstrip(b"\0").decode()

    def tensor(self, name: str) -> Tensor:
        """Read shape, type and values; the tensor is a view of the file's buffer."""
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind, n_bytes = self.number("B"), self.number("I")
        if kind >= len(_DTYPES):
            raise ValueError(f"{name} must have an element type from 0 to {len(_DTYPES) - 1}, got {kind}.")
        dtype = _DTYPES[kind]
        if n_bytes != math.prod(shape) * dtype.itemsize:
            raise ValueError(
                f"{name} of shape {shape} and {dtype} can't hold {n_bytes} bytes: the file is damaged."
            )
        start = self._advance(n_bytes)
        if n_bytes == 0:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self.buffer, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape)

    def expect_end(self) -> None:
        """Raise if bytes are left."""
        if left := len(self.buffer) - self.position:
            raise ValueError(f"Expected the end of the model at byte {self.position}, got {left} more bytes.")
