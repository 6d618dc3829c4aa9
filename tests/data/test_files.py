from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from nfas_lightning.data import files
from nfas_lightning.data.files import content_hash, find_folder, read_npz, require_file, sha256_file

KEY = "SHA256E-s81234567--" + "0" * 64 + ".nii.gz"


@pytest.mark.parametrize(
    "content", [b"word,onset\r\n", gzip.compress(b"x" * 100, mtime=0), b"\n", b"\xff\xfe\x00"]
)
def test_a_file_that_is_here_comes_back_as_given(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    assert require_file(file) == file
    assert require_file(str(file)) == file


def test_a_link_to_content_is_kept_as_a_link(tmp_path):
    content = tmp_path / ".git" / "annex" / "objects" / KEY
    content.parent.mkdir(parents=True)
    content.write_bytes(b"data")
    link = tmp_path / "bold.nii.gz"
    link.symlink_to(content)
    assert require_file(link) == link


@pytest.mark.parametrize("pointer", [f"/annex/objects/{KEY}\n", f"../../.git/annex/objects/a/b/{KEY}/{KEY}"])
def test_an_annex_pointer_is_no_content_and_the_message_tells_how_to_get_it(tmp_path, pointer):
    file = tmp_path / "sub-EN057_bold.nii.gz"
    file.write_text(pointer)
    with pytest.raises(FileNotFoundError, match=r"git-annex pointer of \d+ bytes.*datalad get .*sub-EN057"):
        require_file(file)


def test_a_large_file_that_mentions_the_annex_is_data(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(f"/annex/objects/{KEY}\n" + "x" * 40_000)
    assert require_file(file) == file


def test_a_dangling_link_says_where_it_points(tmp_path):
    annexed = tmp_path / "annexed.nii.gz"
    annexed.symlink_to(Path(".git/annex/objects/a/b") / KEY / KEY)
    with pytest.raises(
        FileNotFoundError, match=r"git-annex content, which is not on this disk.*nfas data get"
    ):
        require_file(annexed)
    plain = tmp_path / "plain.nii.gz"
    plain.symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="got a link to nothing"):
        require_file(plain)


def test_absent_empty_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="got nothing"):
        require_file(tmp_path / "absent")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="got an empty file"):
        require_file(tmp_path / "empty")
    with pytest.raises(IsADirectoryError, match="got a folder"):
        require_file(tmp_path)


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
    assert find_folder(folder, "bench", FILES) == folder
    assert find_folder(folder.parent, "bench", FILES) == folder
    monkeypatch.setenv("NFAS_DATA", str(folder.parent))
    assert find_folder(None, "bench", FILES) == folder


def test_no_root_names_layout_and_both_ways_to_give_it(folder):
    with pytest.raises(FileNotFoundError, match=r"bench/ with a\.npz, b\.csv.*root=.*NFAS_DATA"):
        find_folder(None, "bench", FILES)


def test_missing_file_is_named(folder):
    (folder / "b.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing in .*bench: b\.csv\. It holds a\.npz\. Point"):
        find_folder(folder.parent, "bench", FILES)
    with pytest.raises(FileNotFoundError, match=r"missing in .*nowhere: a.npz, b.csv\. It is no folder"):
        find_folder(folder / "nowhere", "bench", FILES)


def test_a_folder_may_be_wanted_and_the_message_ends_with_how(folder):
    (folder / "clips").mkdir()
    assert find_folder(folder, "bench", ("clips", "a.npz"), "Ask.") == folder
    for root in (None, folder):
        with pytest.raises(FileNotFoundError, match=r"bench/ with b\.csv, faces.* holds bench/\. Ask\.$"):
            find_folder(root, "bench", ("b.csv", "faces"), "Ask.")


def test_wrong_env_is_blamed(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("NFAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"NFAS_DATA = .*nowhere must hold"):
        find_folder(None, "bench", FILES)


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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_named(tmp_path, save):
    path = tmp_path / "data.npz"
    x = np.arange(60.0).reshape(20, 3)
    save(path, x=x)
    whole = path.read_bytes()
    for stop in range(23, len(whole), 23):
        path.write_bytes(whole[:stop])
        with pytest.raises(ValueError, match=r"data\.npz must be an archive of arrays"):
            read_npz(path, {"x": (20, 3)})
    messages = []
    for start in range(0, len(whole) - 4, 13):
        path.write_bytes(whole[:start] + b"\xa5\x5a\xff\x01" + whole[start + 4 :])
        try:
            read = read_npz(path, {"x": (20, 3)})
        except ValueError as error:
            messages.append(str(error))
        else:  # what changed means nothing, such as a time stamp
            np.testing.assert_array_equal(read["x"], x)
    assert len(messages) > 10
    assert all("data.npz" in message for message in messages)


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "data.npz"
    with pytest.raises(FileNotFoundError):
        read_npz(path, {"x": (4,)})
    with pytest.raises(IsADirectoryError):
        read_npz(tmp_path, {"x": (4,)})
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=rf"{path} must be an archive .* can't be read .* download it again"):
        read_npz(path, {"x": (4,)})
    with path.open("wb") as file:
        np.save(file, np.zeros(4))
    with pytest.raises(ValueError, match=r"one array, as numpy\.save writes"):
        read_npz(path, {"x": (4,)})


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_npz(path, {"x": (None,)})


def test_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"alice" * 1000)
    assert sha256_file(path) == hashlib.sha256(b"alice" * 1000).hexdigest()


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, cache = tmp_path / "a.bin", tmp_path / "cache"
    path.write_bytes(b"one")
    assert content_hash(path, cache, compute=False) is None
    value = content_hash(path, cache)
    assert value == hashlib.sha256(b"one").hexdigest()
    assert content_hash(path, cache, compute=False) is None  # written just now: it may change within a tick
    os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(files, "_SETTLED_S", -1.0)  # the change time can't be set back
    assert content_hash(path, cache) == value
    assert content_hash(path, cache, compute=False) == value
    assert content_hash(path, None, compute=False) is None
    (note,) = (cache / "hashes").iterdir()
    note.write_text("{")
    assert content_hash(path, cache) == value  # a damaged note costs no more than time
    path.write_bytes(b"two!")
    assert content_hash(path, cache) == hashlib.sha256(b"two!").hexdigest()
