"""What the reader of pickles admits, and that it runs nothing."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from nfas_lightning.data.safe_pickle import read_pickle
from tests.helpers.python2_pickle import python2_pickle

ARRAYS = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "big_endian": np.arange(6, dtype=">f8").reshape(3, 2),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "bool": np.array([True, False]),
    "uint8": np.zeros((2, 0), np.uint8),
    "text": np.array(["V1", "LOC"]),
    "no_axes": np.array(3.5),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path, protocol):
    holds = {
        "arrays": ARRAYS,
        "list": [1, 2.5, None, "word", (True, np.float64(2.5), np.int16(7))],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(holds, protocol=protocol))
    got = read_pickle(tmp_path / "a.pkl")
    assert list(got["arrays"]) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(got["arrays"][name], array)
        assert got["arrays"][name].dtype == array.dtype
    assert got["list"] == holds["list"]


def test_a_pickle_of_python_2(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    data = python2_pickle({"train": array})[:-2] + b"U\x04noteU\x03\xe9t\xe9u."
    # the same bytes are what the standard reader makes of them
    plain = pickle.loads(data, encoding="latin1")
    (tmp_path / "py2.pkl").write_bytes(data)
    got = read_pickle(tmp_path / "py2.pkl")
    np.testing.assert_array_equal(got["train"], array)
    np.testing.assert_array_equal(plain["train"], array)
    assert got["note"] == plain["note"] == "été"


@pytest.mark.parametrize("name", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpy(tmp_path, name):
    data = pickle.dumps(ARRAYS["float32"], protocol=2)
    here = b"numpy._core.multiarray" if b"numpy._core" in data else b"numpy.core.multiarray"
    (tmp_path / "a.pkl").write_bytes(data.replace(here, name))
    np.testing.assert_array_equal(read_pickle(tmp_path / "a.pkl"), ARRAYS["float32"])


# hostile files: each would leave a trace, were any of it run


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile_files(trace):
    touch = f"touch {trace}"
    python = f"open({str(trace)!r}, 'w').close()"
    objects = np.empty(1, dtype=object)
    objects[0] = Calls(os.system, touch)
    records = np.zeros(1, dtype=[("a", object)])
    records["a"][0] = Calls(os.system, touch)
    system = f"{os.name}.system" if os.name == "nt" else "posix.system"
    return {
        "os.system": (Calls(os.system, touch), system),
        "eval": (Calls(eval, python), "builtins.eval|__builtin__.eval"),
        "exec": (Calls(exec, python), "builtins.exec|__builtin__.exec"),
        "getattr": (Calls(getattr, np.ndarray, "tofile"), "builtins.getattr|__builtin__.getattr"),
        "import": (Calls(__import__, "os"), "builtins.__import__|__builtin__.__import__"),
        "numpy.load": (Calls(np.load, io.BytesIO, None, True), r"numpy\.load"),
        "numpy.memmap": (Calls(np.memmap, str(trace), "u1", "w+", 0, (1,)), r"numpy\.memmap"),
        "fromfile": (Calls(np.fromfile, str(trace)), r"numpy.*fromfile"),
        "array of objects": (objects, "kind 'O8'|kind '|O'|posix.system"),
        "record of objects": (records, r"kind 'V8'|posix\.system"),
        "in a dict": ({"train": ARRAYS["float32"], "x": [Calls(os.system, touch)]}, system),
        "as a key": ({(Calls(os.system, touch),): 1}, system),
    }


def make_hostile(folder, name, protocol):
    trace = folder / "trace"
    value, names = hostile_files(trace)[name]
    (folder / "x.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    return trace, names


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", list(hostile_files("trace")))
def test_a_hostile_pickle_is_named_and_runs_nothing(tmp_path, name, protocol):
    trace, names = make_hostile(tmp_path, name, protocol)
    with pytest.raises(ValueError, match=f"asks for .*({names}).*nothing was run"):
        read_pickle(tmp_path / "x.pkl")
    assert not trace.exists()


def test_the_hostile_pickles_would_work(tmp_path):
    for name in ("os.system", "eval", "array of objects", "in a dict"):
        trace, _ = make_hostile(tmp_path, name, 2)
        pickle.loads((tmp_path / "x.pkl").read_bytes())
        assert trace.exists()
        trace.unlink()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # an object array that claims to be plain memory: its bytes would be taken for pointers
        (b"\x80\x02cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNK\x00K\x00K\x00tb.", "kind 'O8'"),
        (b"\x80\x02cnumpy\ndtype\n(U\x07f8,f8,OK\x00K\x01tR.", "kind 'f8,f8,O'"),
        (b"\x80\x02cnumpy\ndtype\ncnumpy\ndtype\n\x85R.", "kind"),
        # attributes of the functions that rebuild arrays
        (b"\x80\x02" + RECONSTRUCT + b"}U\x08__code__Nsb.", "a change of attributes"),
        (b"\x80\x02" + RECONSTRUCT + b"N}U\x09_functionNs\x86b.", "a change of attributes"),
        (b"\x80\x02cnumpy\nndarray\n(K\x02tR.", "numpy.ndarray itself"),
        (b"\x80\x02" + RECONSTRUCT + b"(cnumpy\ndtype\nK\x00U\x01btR.", "another class"),
        (b"\x80\x02cnumpy\nndarray\n.", "a type instead of data"),
        (b"\x80\x02" + DTYPE + b".", "a type instead of data"),
        (b"\x80\x02" + DTYPE + b"(K\x03U\x01<N(U\x01at}K\x00K\x00K\x00tb.", "an array of records"),
        (b"\x80\x02(U\x04test}ios\nsystem\n.", "the instruction INST"),
        (b"\x80\x02U\x01xQ.", "outside the file"),
        (b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aU\x04bz2_tR.", "the codec"),
        (b"\x80\x02]q\x00h\x00a.", "holds itself"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", r"numpy\.ndarray\.dump"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
    ],
)
def test_crafted_instructions(tmp_path, data, message):
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_pickle(tmp_path / "x.pkl")


def test_cut_short_or_damaged(tmp_path):
    data = pickle.dumps({"train": np.ones((20, 3, 5))}, protocol=2)
    for cut in (1, 20, len(data) // 2, len(data) - 1):
        (tmp_path / "x.pkl").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"x\.pkl must be a whole pickle.*download it again"):
            read_pickle(tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_pickle(tmp_path / "x.pkl")
    shorter = (
        RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x09t" + DTYPE + b"\x89U\x08aaaaaaaatb."
    )
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + shorter)
    with pytest.raises(ValueError, match="cannot reshape"):
        read_pickle(tmp_path / "x.pkl")
    # a length that no file has: the reader may ask for that much memory before it looks
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04\x8e" + b"\xff" * 6 + b"\x7f\x00abc.")
    with pytest.raises((ValueError, MemoryError), match=r"x\.pkl"):
        read_pickle(tmp_path / "x.pkl")
    deep = 3 * sys.getrecursionlimit()
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".")
    with pytest.raises(ValueError, match="RecursionError"):
        read_pickle(tmp_path / "x.pkl")


# work and memory that a small file asks for


def doubling(depth, wrap):
    """A pickle in which every container holds the one before it twice: 2 ** depth leaves."""
    data = [pickle.PROTO, b"\x04", pickle.EMPTY_LIST, pickle.MEMOIZE]
    for level in range(depth):
        get = pickle.BINGET + bytes([level])
        data += [pickle.MARK, get, get, *wrap, pickle.MEMOIZE]
    return b"".join(data)


def test_lists_that_double_are_read_in_no_time(tmp_path):
    (tmp_path / "a.pkl").write_bytes(doubling(60, [pickle.LIST]) + pickle.STOP)
    got = read_pickle(tmp_path / "a.pkl")
    for _ in range(60):
        assert got[0] is got[1]
        got = got[0]
    assert got == []


@pytest.mark.parametrize(
    "use",
    [
        pickle.EMPTY_DICT + pickle.BINGET + b"\x3c" + pickle.NONE + pickle.SETITEM,
        pickle.EMPTY_DICT + pickle.MARK + pickle.BINGET + b"\x3c" + pickle.NONE + pickle.SETITEMS,
        pickle.MARK + pickle.BINGET + b"\x3c" + pickle.NONE + pickle.DICT,
        pickle.EMPTY_SET + pickle.MARK + pickle.BINGET + b"\x3c" + pickle.ADDITEMS,
        pickle.MARK + pickle.BINGET + b"\x3c" + pickle.FROZENSET,
        pickle.GLOBAL + b"__builtin__\nset\n" + pickle.BINGET + b"\x3c" + pickle.TUPLE1 + pickle.REDUCE,
    ],
    ids=["setitem", "setitems", "dict", "additems", "frozenset", "set"],
)
def test_tuples_that_double_are_not_hashed(tmp_path, use):
    leaf = pickle.PROTO + b"\x04" + pickle.EMPTY_TUPLE + pickle.MEMOIZE
    data = doubling(60, [pickle.TUPLE]).replace(
        pickle.PROTO + b"\x04" + pickle.EMPTY_LIST + pickle.MEMOIZE, leaf
    )
    (tmp_path / "a.pkl").write_bytes(data + use + pickle.STOP)
    with pytest.raises(ValueError, match=r"a key that is a tuple|_SET|FROZENSET|__builtin__\.set"):
        read_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "data",
    [
        pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + (3 * 10**9).to_bytes(8, "little"),
        pickle.PROTO + b"\x04" + pickle.BINBYTES8 + (3 * 10**9).to_bytes(8, "little"),
        pickle.PROTO + b"\x04" + pickle.BINUNICODE8 + (3 * 10**9).to_bytes(8, "little"),
        pickle.PROTO + b"\x04" + pickle.FRAME + (3 * 10**9).to_bytes(8, "little"),
        pickle.NONE + pickle.LONG_BINPUT + (2**31).to_bytes(4, "little") + pickle.STOP,
        pickle.LONG4 + (2**30).to_bytes(4, "little"),
    ],
    ids=["bytearray8", "binbytes8", "binunicode8", "frame", "memo", "long4"],
)
def test_memory_that_is_announced_is_not_taken(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data.ljust(201, b"."))
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            assert read_pickle(tmp_path / "a.pkl") is None  # a position in the memo is no damage
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_text_is_encoded_once(tmp_path):
    """Encoding the same long text again and again would fill the memory."""
    once = pickle.BINGET + b"\x00" + pickle.BINGET + b"\x01" + pickle.REDUCE
    data = [
        pickle.PROTO + b"\x04",
        pickle.GLOBAL + b"_codecs\nencode\n" + pickle.MEMOIZE + pickle.POP,
        pickle.BINUNICODE + (1000).to_bytes(4, "little") + b"x" * 1000,
        pickle.BINUNICODE + (6).to_bytes(4, "little") + b"latin1" + pickle.TUPLE2 + pickle.MEMOIZE,
        pickle.POP,
        pickle.MARK + once * 200 + pickle.LIST + pickle.STOP,
    ]
    (tmp_path / "a.pkl").write_bytes(b"".join(data))
    with pytest.raises(ValueError, match="more bytes than it holds"):
        read_pickle(tmp_path / "a.pkl")
