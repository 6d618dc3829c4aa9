"""Names of parcels: side, network and id from a name, and the tables that name the labels of an image."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.content import require_file
from nfas_lightning.data.readers import read_csv

__all__ = ["complete_table", "is_cortex", "network_in_name", "read_label_table", "roi_id"]

_SIDES = {"l": "L", "lh": "L", "left": "L", "r": "R", "rh": "R", "right": "R", "m": "M", "": ""}
# single letters count in capitals alone: a small l may stand for lateral, a small r for rostral
_SIDE_IN_NAME = re.compile(r"(?:^|[^A-Za-z0-9])((?i:lh|rh|left|right)|L|R)(?![A-Za-z0-9])")
_YEO_NAME = re.compile(r"^\d+Networks_[LR]H_([A-Za-z0-9]+)")
_NO_CORTEX = re.compile(r"^(unknown|corpuscallosum|background|none|)$|medialwall")


def roi_id(name: str, hemisphere: str) -> str:
    """Return the id of a parcel: its name if that tells the side, else name and side.

    Args:
        name: the parcel's name in its atlas.
        hemisphere: ``"L"``, ``"R"``, ``"M"`` or empty.

    Raises:
        ValueError: the name says the other side.

    Example:
        >>> roi_id("7Networks_LH_Vis_1", "L"), roi_id("V1", "R"), roi_id("brainstem", "M")
        ('7Networks_LH_Vis_1', 'V1_R', 'brainstem')
    """
    told = _side_in_name(name)
    if hemisphere not in ("L", "R"):
        return name
    if told and told != hemisphere:
        raise ValueError(
            f"Parcel {name!r} must be in hemisphere {told} by its name, got {hemisphere!r}: are left and "
            "right exchanged?"
        )
    return name if told else f"{name}_{hemisphere}"


def network_in_name(name: str) -> str:
    """Return the network in a name of Schaefer's parcellation, else an empty string.

    Example:
        >>> network_in_name("7Networks_RH_SalVentAttn_Med_1"), network_in_name("V1")
        ('SalVentAttn', '')
    """
    match = _YEO_NAME.match(name)
    return match.group(1) if match else ""


def is_cortex(name: str) -> bool:
    """Tell whether an annotation's entry is a parcel: unknown, medial wall and corpus callosum are none."""
    return not _NO_CORTEX.search(re.sub(r"[^a-z0-9]", "", name.lower()))


def read_label_table(table: str | os.PathLike[str] | pd.DataFrame) -> pd.DataFrame:
    """Read the table that names the labels of an image.

    Args:
        table: csv (or tab-separated .tsv, .txt) file or data frame with the columns id (or index, as BIDS and
            nilearn call it), name and, optionally, hemisphere and network. A row of id 0 (background) is
            skipped.

    Returns:
        A row a label: id (integer), name, hemisphere (``"L"``, ``"R"``, ``"M"`` or empty), network.

    Raises:
        ValueError: a column is absent, an id is no whole number or repeated, a hemisphere is unknown.
    """
    if isinstance(table, pd.DataFrame):
        source, given = "table", table.reset_index(drop=True)
    else:
        path = require_file(Path(table).expanduser())
        source = path.name
        given = read_csv(path, [], sep="\t" if path.suffix.lower() in (".tsv", ".txt") else ",")
    if "id" not in given.columns:
        given = given.rename(columns={"index": "id"})
    absent = [column for column in ("id", "name") if column not in given.columns]
    if absent:
        raise ValueError(
            f"{source} must have the columns id (or index) and name, missing {absent} in {list(given)[:8]}."
        )
    ids = pd.to_numeric(given["id"], errors="coerce")
    wrong = ids.isna() | (ids % 1 != 0) | (ids < 0)
    if wrong.any():
        raise ValueError(f"{source}: ids must be whole numbers from 0, got {list(given['id'][wrong][:3])}.")
    if not (ids > 0).any() or ids.duplicated().any():
        repeated = sorted({int(i) for i in ids[ids.duplicated()]})
        raise ValueError(
            f"{source} must have labels above 0, each once, got {len(ids)} rows, repeated {repeated[:5]}."
        )
    out = pd.DataFrame({"id": ids.astype(np.int64), "name": given["name"].astype(str).str.strip()})
    for column in ("hemisphere", "network"):
        out[column] = given[column].fillna("").astype(str).str.strip() if column in given.columns else ""
    unknown = sorted(set(out["hemisphere"].str.lower()) - set(_SIDES))
    if unknown:
        raise ValueError(f"{source}: hemisphere must be L, R, M or empty, got {unknown[:5]}.")
    out["hemisphere"] = out["hemisphere"].str.lower().map(_SIDES)
    return out[out["id"] > 0].reset_index(drop=True)


def complete_table(rows: pd.DataFrame, left_share: NDArray[np.float64]) -> pd.DataFrame:
    """Fill in hemisphere and network from names and voxels, and make ids.

    Args:
        rows: table of `read_label_table`.
        left_share: (R,) share of a parcel's voxels left of the midline, NaN without voxels.

    Returns:
        The rows with a column roi. Where the table and the name leave the side open, four fifths of the
        voxels decide; else it is ``"M"``.
    """
    sides = [
        given or _side_in_name(name) or _side_of_voxels(share)
        for given, name, share in zip(rows["hemisphere"], rows["name"], left_share, strict=True)
    ]
    return rows.assign(
        roi=[roi_id(name, side) for name, side in zip(rows["name"], sides, strict=True)],
        hemisphere=sides,
        network=[
            given or network_in_name(name) for given, name in zip(rows["network"], rows["name"], strict=True)
        ],
    )


def _side_in_name(name: str) -> str:
    sides = {_SIDES[side.lower()] for side in _SIDE_IN_NAME.findall(name)}
    return sides.pop() if len(sides) == 1 else ""


def _side_of_voxels(left_share: float) -> str:
    if np.isnan(left_share):
        return ""
    if left_share >= 0.8:
        return "L"
    return "R" if left_share <= 0.2 else "M"
