"""What the tests of `nfas data check` share."""

from __future__ import annotations

import struct
from pathlib import Path

from nfas_lightning.datamodules.catalogue.check_rows import Check, Row, check_folder

POINTER = "/annex/objects/MD5E-s76000000--0123456789abcdef.nii.gz\n"


def write_mp4(path: Path, *, index: bytes = b"moov") -> Path:
    boxes = [(b"ftyp", b"isom" * 2), (b"mdat", bytes(40)), (index, bytes(8))]
    path.write_bytes(b"".join(struct.pack(">I", 8 + len(body)) + kind + body for kind, body in boxes))
    return path


def check_one(root: Path, **options) -> Check:
    """Check a folder in which one benchmark lies."""
    (check,) = check_folder(root, progress=False, **options)
    return check


def rows_of(root: Path, **options) -> dict[str, Row]:
    return {row.what: row for row in check_one(root, **options).rows}


def bad_rows(root: Path, subjects: list[str]) -> dict[str, Row]:
    """The rows that are not as they should be."""
    check = check_one(root, subjects=subjects)
    rows = {row.what: row for row in check.rows if not row.complete}
    assert check.complete == (not rows)
    return rows


def said(rows: dict[str, Row]) -> str:
    """All that the rows name, in one text."""
    return " ".join(
        [name for row in rows.values() for name in row.missing]
        + [" ".join(pair) for row in rows.values() for pair in row.unreadable]
    )
