from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nfas_lightning.data.readers import data_folder, pick, read_csv, read_npz, sha256_file

FILES = ("a.npz", "b.csv")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("NFAS_DATA", raising=False)
    inside = tmp_path / "bench"
    inside.mkdir()
    for file in FILES:
        (inside / file).write_text("x")
    return inside


def test_root_may_be_the_folder_or_its_parent(folder, monkeypatch):
    assert data_folder(folder, "bench", FILES) == folder
    assert data_folder(folder.parent, "bench", FILES) == folder
    monkeypatch.setenv("NFAS_DATA", str(folder.parent))
    assert data_folder(None, "bench", FILES) == folder


def test_no_root_names_layout_and_both_ways_to_give_it(folder):
    with pytest.raises(FileNotFoundError, match=r"bench/ with a\.npz, b\.csv.*root=.*NFAS_DATA"):
        data_folder(None, "bench", FILES)


def test_missing_file_is_named(folder):
    (folder / "b.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing in .*bench: b\.csv\."):
        data_folder(folder.parent, "bench", FILES)


def test_wrong_env_is_blamed(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("NFAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"NFAS_DATA = .*nowhere must hold"):
        data_folder(None, "bench", FILES)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (None,)}, r"must hold 'z', got only \['x', 'y'\]"),
        ({"x": (None, 4)}, r"'x' must have shape \('any', 4\), got \(2, 3\)"),
        ({"x": (None,)}, r"'x' must have shape"),
        ({"y": (2,)}, "'y' must be finite, got 1 NaN"),
    ],
)
def test_bad_archives(tmp_path, shapes, message):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros((2, 3)), y=np.array([1.0, np.nan]))
    assert read_npz(path, {"x": (None, 3)})["x"].shape == (2, 3)
    with pytest.raises(ValueError, match=message):
        read_npz(path, shapes)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_npz(path, {"x": (None,)})


def test_csv_keeps_words_that_look_missing_and_drops_the_byte_order_mark(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("word,onset\nnull,1\nNA,2\n", encoding="utf-8-sig")
    assert read_csv(path, ("word", "onset"))["word"].tolist() == ["null", "NA"]
    with pytest.raises(ValueError, match=r"missing \['offset'\]"):
        read_csv(path, ("word", "offset"))
    path.write_text("word,onset\n")
    with pytest.raises(ValueError, match="at least one row"):
        read_csv(path, ("word",))


def test_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"alice" * 1000)
    assert sha256_file(path) == hashlib.sha256(b"alice" * 1000).hexdigest()


def test_pick():
    assert pick("subjects", None, ["a", "b"]) == [0, 1]
    assert pick("subjects", ["b", "a"], ["a", "b"]) == [1, 0]
    with pytest.raises(ValueError, match="did you mean s18"):
        pick("subjects", ["s81"], ["s18", "x"])
    with pytest.raises(ValueError, match="each once"):
        pick("subjects", ["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        pick("subjects", [], ["a"])
    with pytest.raises(TypeError, match=r"write \['a'\]"):
        pick("subjects", "a", ["a"])
