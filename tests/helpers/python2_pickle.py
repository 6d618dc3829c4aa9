"""Pickles as Python 2 and numpy 1.x wrote them: strings, and an array's memory, are byte strings."""

from __future__ import annotations

import struct

import numpy as np


def python2_pickle(value: dict[str, np.ndarray]) -> bytes:
    """Return a protocol 2 pickle of a dict of arrays."""
    items = b"".join(_string(key) + _array(array) for key, array in value.items())
    return b"\x80\x02}(" + items + b"u."


def _string(text: str | bytes) -> bytes:
    raw = text.encode("latin1") if isinstance(text, str) else text
    short = len(raw) < 256
    return (b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<I", len(raw))) + raw


def _array(array: np.ndarray) -> bytes:
    shape = b"".join(b"J" + struct.pack("<i", n) for n in array.shape)
    order, kind = array.dtype.str[0], array.dtype.str[1:]
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _string("b") + b"tR"
        b"(K\x01(" + shape + b"t"
        b"cnumpy\ndtype\n(" + _string(kind) + b"K\x00K\x01tR"
        b"(K\x03" + _string(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + _string(array.tobytes()) + b"tb"
    )
