"""A bucket on loopback that answers as S3 does, and misbehaves on request."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from unittest.mock import patch
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class FlakyBucket:
    """What the server holds, and how it misbehaves.

    Attributes:
        files: content by key.
        page: keys a page of the listing.
        key_of: reads the key out of an address; None: what follows ``/bucket/``.
        types: Content-Type to state, by key.
        drop_after: bytes of a body after which the connection is cut, by key, once for each entry; None: not
            this time.
        ignore_ranges: always send whole files.
        declare: Content-Length to state instead of the true one, by key.
        statuses: answers to give before the real one, by key; the listing's key is "".
        forever: status to give always, by key.
        etags: ETag to state instead of the MD5, by key.
        corrupt: how often to flip a byte of a body, by key.
        listing: what to send instead of a listing.
        on_file: called with the key before a file is sent.
        requests: (key, Range header) of each request for a file.
    """

    files: dict[str, bytes]
    page: int = 1000
    key_of: Callable[[SplitResult], str] | None = None
    types: dict[str, str] = field(default_factory=dict)
    drop_after: dict[str, list[int | None]] = field(default_factory=dict)
    ignore_ranges: bool = False
    shift_ranges: bool = False
    declare: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    forever: dict[str, int] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    corrupt: Counter[str] = field(default_factory=Counter)
    listing: bytes | None = None
    listed_size: dict[str, int] = field(default_factory=dict)
    on_file: Callable[[str], None] = lambda key: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    pages: int = 0
    address: str = ""

    def etag(self, key: str) -> str:
        return self.etags.get(key) or hashlib.md5(self.files[key]).hexdigest()

    def list(self, query: dict[str, list[str]]) -> bytes:
        """Answer ListObjectsV2."""
        self.pages += 1
        if self.listing is not None:
            return self.listing
        prefix, delimiter = query["prefix"][0], query.get("delimiter", [""])[0]
        keys = sorted(key for key in self.files if key.startswith(prefix))
        if delimiter:
            keys = [key for key in keys if delimiter not in key[len(prefix) :]]
        start = int(query.get("continuation-token", ["t0"])[0][1:])
        part, more = keys[start : start + self.page], len(keys) > start + self.page
        items = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><ETag>&quot;{self.etag(key)}&quot;</ETag>"
            f"<Size>{self.listed_size.get(key, len(self.files[key]))}</Size></Contents>"
            for key in part
        )
        token = f"<NextContinuationToken>t{start + self.page}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}<EncodingType>url</EncodingType>{items}"
            "</ListBucketResult>"
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: FlakyBucket

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket = self.bucket
        key = bucket.key_of(url) if bucket.key_of else unquote(url.path).removeprefix("/bucket").lstrip("/")
        if key in bucket.forever or bucket.statuses.get(key):
            status = bucket.forever[key] if key in bucket.forever else bucket.statuses[key].pop(0)
            self._send(status, b"<Error/>", {})
        elif not key:
            self._send(200, bucket.list(parse_qs(url.query)), {})
        elif key not in bucket.files:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        else:
            self._file(key)

    def _file(self, key: str) -> None:
        bucket, body = self.bucket, self.bucket.files[key]
        asked = self.headers.get("Range", "")
        bucket.requests.append((key, asked))
        bucket.on_file(key)
        headers = {"ETag": f'"{bucket.etag(key)}"'}
        headers |= {"Content-Type": bucket.types[key]} if key in bucket.types else {}
        if bucket.corrupt[key] > 0:
            bucket.corrupt[key] -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
        status, start = 200, 0
        if asked and not bucket.ignore_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) - bucket.shift_ranges
            if start >= len(body):
                self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        drops = bucket.drop_after.get(key)
        self._send(
            status, body[start:], headers, cut=drops.pop(0) if drops else None, length=bucket.declare.get(key)
        )

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        cut: int | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None or length is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away, which the tests ask for."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(bucket: FlakyBucket) -> Iterator[FlakyBucket]:
    """Serve the bucket on a free port of 127.0.0.1 until the block ends; pooch makes no pauses."""
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    bucket.address = f"http://127.0.0.1:{server.server_address[1]}/bucket"
    try:
        with (
            patch.dict(os.environ, NO_PROXY="127.0.0.1"),
            patch("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None)),
        ):
            yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def little_prince(n_runs: int = 2) -> dict[str, bytes]:
    """Keys and contents of a small data set of The Little Prince: three subjects, two languages."""
    files = {
        "participants.tsv": b"participant_id\nsub-EN057\n",
        "dataset_description.json": b"{}",
        "annotation/EN/lppEN_word_information.csv": b"word\n",
        "annotation/FR/lppFR_word_information.csv": b"mot\n",
        "stimuli/task-lppEN_section-1.wav": b"e" * 100,
        "stimuli/task-lppFR_section_1.wav": b"f" * 200,
    }
    for subject in ("sub-EN057", "sub-EN058", "sub-FR001"):
        for run in range(n_runs):
            name = f"{subject}_task-lpp{subject[4:6]}_run-{run:02d}"
            below = f"{subject}/func/{name}"
            files[f"derivatives/{below}_space-MNIColin27_desc-preproc_bold.nii.gz"] = bytes([run]) * 1000
            files[f"{below}_bold.nii.gz"] = bytes([run]) * 5000
        files[f"{subject}/anat/{subject}_T1w.nii.gz"] = b"t" * 7000
    return {f"ds003643/{name}": body for name, body in files.items()}
