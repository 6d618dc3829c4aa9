"""Requests that are tried again, and one file over HTTP: resumed, and only renamed into place when whole."""

from __future__ import annotations

import hashlib
import os
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import requests
import urllib3

__all__ = ["Client", "Stopped", "TransferError", "UnreachableError", "fetch_file"]

T = TypeVar("T")
_CHUNK = 2**18
# a connection that brought this much was worth its while: the count of tries starts anew
_PROGRESS = 2**20
_BUSY = (408, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
_DROPPED = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.SSLError,  # an encrypted connection that breaks off reads as this
)


class TransferError(RuntimeError):
    """A file can't be had, or is not what was announced; trying again changes nothing."""


class UnreachableError(TransferError):
    """The server did not answer, or broke off, every time."""


class Stopped(Exception):  # noqa: N818  (a request to stop, not an error)
    """Another thread asked to stop."""


class _AgainError(Exception):
    """This try failed in a way that may pass.

    Args:
        reason: what happened.
        pause: seconds the server asked for, None if it did not.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass
class Client:
    """How to talk to a server; proxies and certificates are those of the environment.

    Attributes:
        retries: tries after the first one, each after a pause twice as long.
        pause: seconds before the second try.
        timeout: seconds to connect, and to wait for the next bytes.
        stop: set it, and every thread stops at its next chunk.
    """

    retries: int = 5
    pause: float = 1.0
    timeout: tuple[float, float] = (10.0, 60.0)
    stop: threading.Event = field(default_factory=threading.Event)
    _own: threading.local = field(default_factory=threading.local, repr=False)

    def get(self, url: str, **options: object) -> requests.Response:
        """Send one request; the body is left unread.

        Raises:
            TransferError: the answer is final and not a file.
        """
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()  # one a thread: sessions are not shared safely
            # bytes as they are stored: a decompressed body would fit neither size nor checksum
            self._own.session.headers["Accept-Encoding"] = "identity"
        headers = options.pop("headers", None) or {}
        response: requests.Response = self._own.session.get(
            url, headers=headers, stream=True, timeout=self.timeout, allow_redirects=False, **options
        )
        if response.status_code in _BUSY:
            response.close()
            told = response.headers.get("Retry-After", "")
            raise _AgainError(
                f"the server answers {response.status_code} {response.reason}",
                float(told) if re.fullmatch(r"\d{1,6}", told) else None,
            )
        if response.status_code not in (200, 206, 416):
            response.close()
            moved = response.headers.get("Location")
            raise TransferError(
                f"{url.split('?')[0]}: the server answers {response.status_code} {response.reason}"
                + (f", moved to {moved}" if moved else "")
                + "."
            )
        return response

    def again(self, what: str, action: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Call until it succeeds, with growing pauses; `progress` counts bytes that are kept.

        Raises:
            UnreachableError: `retries` tries in a row brought next to nothing.
            Stopped: asked to stop.
        """
        tries, kept = 0, progress()
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                return action()
            except (_AgainError, *_DROPPED) as error:
                if progress() - kept >= _PROGRESS:
                    tries, kept = 0, progress()
                tries += 1
                if tries > self.retries:
                    raise UnreachableError(
                        f"{what}: gave up after {tries} tries in a row ({error})."
                    ) from error
                told = error.pause if isinstance(error, _AgainError) else None
                # threads that were refused together must not come back together
                wait = self.pause * 2 ** (tries - 1) * random.uniform(0.75, 1.25)
                if self.stop.wait(min(_LONGEST_PAUSE, wait if told is None else max(wait, told))):
                    raise Stopped from error


def fetch_file(
    client: Client,
    url: str,
    target: Path,
    *,
    size: int,
    etag: str,
    advance: Callable[[int], None] = lambda n: None,
) -> bool:
    """Bring one file here.

    It grows as ``.NAME.TAG.part`` beside its place and is renamed when size and checksum are right, so what
    has the file's name is whole. The tag is of the content's ETag: a part of
    another version is never continued.

    Args:
        client: how to talk.
        url: where it is.
        target: where it goes; its folder is made.
        size: bytes it must have.
        etag: the ETag that the listing gives. An MD5 (32 hexadecimal digits) is checked; that of an object
            uploaded in parts is none.
        advance: told of bytes as they arrive; negative where some are thrown away.

    Returns:
        Whether a checksum was compared, not the size alone.

    Raises:
        TransferError: the server has something else than was listed.
        UnreachableError: the connection broke again and again.
        Stopped: asked to stop; the part stays.
    """
    if client.stop.is_set():
        raise Stopped
    target.parent.mkdir(parents=True, exist_ok=True)
    tag = hashlib.sha256(f"{etag} {size}".encode()).hexdigest()[:8]
    part = target.with_name(f".{target.name}.{tag}.part")
    md5 = etag if re.fullmatch(r"[0-9a-f]{32}", etag) else None
    for last in (False, True):
        if _size(part) > size:
            part.unlink()
        part.touch()
        advance(_size(part))
        client.again(url, lambda: _continue(client, url, part, size, etag, advance), lambda: _size(part))
        if md5 is None or _md5(part) == md5:
            os.replace(part, target)
            return md5 is not None
        advance(-size)
        part.unlink()
        if last:
            break
    raise TransferError(f"{target.name} must have MD5 {md5}, got another one twice: it was thrown away.")


def _continue(
    client: Client, url: str, part: Path, size: int, etag: str, advance: Callable[[int], None]
) -> None:
    """Append what is missing, or start anew where the server does not serve ranges."""
    have = _size(part)
    if have == size and size > 0:
        return
    with client.get(url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code == 416:
            raise _restart(part, have, advance, "the server does not continue the file")
        start = have if response.status_code == 206 else 0
        total = _total(response, start)
        if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            raise _restart(part, have, advance, "the server continues at another byte")
        now = response.headers.get("ETag", "").strip('"') or etag
        if (etag and now != etag) or (total is not None and total != size):
            raise TransferError(
                f"{url} must have {size} bytes and ETag {etag}, got {total} bytes and {now}: it changed "
                "since it was listed. Run again."
            )
        if start < have:
            advance(start - have)
        with part.open("r+b") as file:
            file.seek(start)
            file.truncate()
            # raw, so that a body that ends early is an error and nothing is decoded
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                if client.stop.is_set():
                    raise Stopped
                if file.tell() + len(chunk) > size:
                    raise TransferError(f"{url} must have {size} bytes, the server sends more.")
                file.write(chunk)
                advance(len(chunk))
    if _size(part) < size:
        raise _AgainError(f"the server sent {_size(part)} bytes of {size}")


def _restart(part: Path, have: int, advance: Callable[[int], None], reason: str) -> _AgainError:
    advance(-have)
    os.truncate(part, 0)
    return _AgainError(reason)


def _total(response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file that the answer tells, None if it does not."""
    if response.status_code == 206:
        told = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(told) if told.isdigit() else None
    told = response.headers.get("Content-Length", "")
    return start + int(told) if told.isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    # a checksum against damage on the way, which is all that S3 offers; nothing rests on its strength
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
