from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from nfas_lightning.data.content import require_file

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
