"""Lists what a public S3 bucket holds, page by page, and refuses names that would leave the folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from nfas_lightning.datamodules.catalogue.transfer import Client, TransferError

__all__ = ["RemoteFile", "list_bucket", "object_url", "safe_path"]

_MOST_PAGES = 2000
_LARGEST_PAGE = 2**24
_DEVICES = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}


@dataclass(frozen=True)
class RemoteFile:
    """One object of a bucket.

    Attributes:
        key: its name there.
        size: bytes.
        etag: the MD5 of an object that was uploaded in one piece, something else for others.
    """

    key: str
    size: int
    etag: str


def object_url(base: str, key: str) -> str:
    """Return the address of an object.

    Example:
        >>> object_url("https://s3.amazonaws.com/openneuro.org", "ds1/a b.txt")
        'https://s3.amazonaws.com/openneuro.org/ds1/a%20b.txt'
    """
    return f"{base.rstrip('/')}/{quote(key)}"


def list_bucket(client: Client, base: str, prefix: str, *, flat: bool = False) -> list[RemoteFile]:
    """List the objects whose key starts with `prefix` (S3's ListObjectsV2, without credentials).

    Args:
        client: how to talk.
        base: the bucket's address.
        prefix: e.g. ``"ds003643/stimuli/"``.
        flat: leave out what lies in folders below.

    Raises:
        TransferError: the answer is no listing, a key leaves the prefix, or pages go round in a circle.
        UnreachableError: no answer.
    """
    files: list[RemoteFile] = []
    token, seen = "", set[str]()
    for _ in range(_MOST_PAGES):
        params = {"list-type": "2", "prefix": prefix, "encoding-type": "url", "max-keys": "1000"}
        params |= {"continuation-token": token} if token else {}
        params |= {"delimiter": "/"} if flat else {}
        page = client.again(f"listing of {base}", partial(_page, client, base, params))
        files += _objects(page, prefix)
        if (page.findtext("IsTruncated") or "").strip() != "true":
            return files
        token = (page.findtext("NextContinuationToken") or "").strip()
        if not token or token in seen:
            raise TransferError(f"{base} says its listing goes on, but not where: it was not used.")
        seen.add(token)
    raise TransferError(f"{base} lists more than {_MOST_PAGES} pages under {prefix!r}: name a part of it.")


def _page(client: Client, base: str, params: dict[str, str]) -> Element:
    with client.get(base, params=params) as response:
        # decoded here, for a page may come compressed whatever was asked
        body = response.raw.read(_LARGEST_PAGE + 1, decode_content=True)
    if len(body) > _LARGEST_PAGE:
        raise TransferError(f"{base} answers with more than {_LARGEST_PAGE} bytes for one page.")
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise TransferError(
            f"{base} must answer with an S3 listing, got something else ({error}): is it a bucket's address?"
        ) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "ListBucketResult":
        raise TransferError(
            f"{base} must answer with an S3 listing, got {root.tag}: is it a bucket's address?"
        )
    return root


def _objects(page: Element, prefix: str) -> list[RemoteFile]:
    encoded = (page.findtext("EncodingType") or "") == "url"
    files = []
    for item in page.iter("Contents"):
        key, size = item.findtext("Key") or "", (item.findtext("Size") or "").strip()
        key = unquote(key.replace("+", " ")) if encoded else key
        if key.endswith("/") and size == "0":
            continue  # a mark that stands for a folder
        if not key.startswith(prefix) or not size.isdecimal():
            raise TransferError(
                f"The listing of {prefix!r} must hold keys that start so, each with a size, got {key!r} of "
                f"{size!r} bytes: it was not used."
            )
        safe_path(key)
        files.append(RemoteFile(key, int(size), (item.findtext("ETag") or "").strip().strip('"')))
    return files


def safe_path(key: str) -> PurePosixPath:
    """Return a key as a relative path that stays below the folder it is joined to.

    Raises:
        TransferError: it is absolute, climbs, or names what no file may be called.

    Example:
        >>> safe_path("ds1/sub-01/func/x.nii.gz")
        PurePosixPath('ds1/sub-01/func/x.nii.gz')
        >>> safe_path("ds1/../../.ssh/authorized_keys")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        nfas_lightning.datamodules.catalogue.transfer.TransferError: The bucket lists ...
    """
    for part in key.split("/"):
        bad = part in ("", ".", "..") or any(c == "\\" or ord(c) < 32 or ord(c) == 127 for c in part)
        if bad or (os.name == "nt" and not _fits_windows(part)):
            raise TransferError(
                f"The bucket lists {key!r}, which is no path below a folder: it was not used."
            )
    return PurePosixPath(key)


def _fits_windows(part: str) -> bool:
    return (
        not any(c in ':*?"<>|' for c in part)
        and part == part.rstrip(" .")
        and part.split(".")[0].lower() not in _DEVICES
    )
