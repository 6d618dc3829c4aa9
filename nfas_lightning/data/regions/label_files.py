"""Files that hold labels and tables that name them, and where their parcels lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.regions.brain_images import open_image
from nfas_lightning.data.tables import read_csv
from nfas_lightning.errors import InputError

MAP_VERTICES = 10242
"""Vertices of a hemisphere of fsaverage5, on which maps are drawn."""
FSAVERAGE = {
    642: "fsaverage3",
    2562: "fsaverage4",
    10242: "fsaverage5",
    40962: "fsaverage6",
    163842: "fsaverage",
}

_SIDES = {"l": "L", "lh": "L", "left": "L", "r": "R", "rh": "R", "right": "R", "m": "M", "": ""}
# single letters count in capitals alone: a small l may stand for lateral, a small r for rostral
_SIDE_IN_NAME = re.compile(r"(?:^|[^A-Za-z0-9])((?i:lh|rh|left|right)|L|R)(?![A-Za-z0-9])")
_YEO_NAME = re.compile(r"^\d+Networks_[LR]H_([A-Za-z0-9]+)")
_NO_CORTEX = re.compile(r"^(unknown|corpuscallosum|background|none|)$|medialwall")


def roi_id(name: str, hemisphere: str) -> str:
    """Return the id of a parcel: its name if that contains the side, else name and side.

    Example:
        >>> roi_id("7Networks_LH_Vis_1", "L"), roi_id("V1", "R"), roi_id("brainstem", "M")
        ('7Networks_LH_Vis_1', 'V1_R', 'brainstem')
    """
    told = _side_in_name(name)
    if hemisphere not in ("L", "R"):
        return name
    if told and told != hemisphere:
        raise InputError(
            f"Parcel {name!r} must be in hemisphere {told} by its name, got {hemisphere!r}: are they "
            "exchanged?"
        )
    return name if told else f"{name}_{hemisphere}"


def network_in_name(name: str) -> str:
    """Return the network in a name of Schaefer's parcellation, else an empty string."""
    match = _YEO_NAME.match(name)
    return match.group(1) if match else ""


def is_cortex(name: str) -> bool:
    """Whether an annotation's entry is a parcel, and not unknown, medial wall or corpus callosum."""
    return not _NO_CORTEX.search(re.sub(r"[^a-z0-9]", "", name.lower()))


def read_label_table(table: str | os.PathLike[str] | pd.DataFrame) -> pd.DataFrame:
    """Read the table that names the labels of an image, see `load_atlas`: id, name, hemisphere, network."""
    if isinstance(table, pd.DataFrame):
        source, given = "table", table.reset_index(drop=True)
    else:
        path = Path(table).expanduser()
        source = path.name
        given = read_csv(path, [], sep="\t" if path.suffix.lower() in (".tsv", ".txt") else ",")
    if "id" not in given.columns:
        given = given.rename(columns={"index": "id"})
    if absent := [column for column in ("id", "name") if column not in given.columns]:
        raise InputError(
            f"{source} must have the columns id (or index) and name, missing {absent} in {list(given)[:8]}."
        )
    ids = pd.to_numeric(given["id"], errors="coerce")
    wrong = ids.isna() | (ids % 1 != 0) | (ids < 0)
    if wrong.any():
        raise InputError(f"{source}: ids must be whole numbers from 0, got {list(given['id'][wrong][:3])}.")
    if not (ids > 0).any() or ids.duplicated().any():
        repeated = sorted({int(i) for i in ids[ids.duplicated()]})
        raise InputError(
            f"{source} must have labels above 0, each once, got {len(ids)} rows, repeated {repeated[:5]}."
        )
    out = pd.DataFrame({"id": ids.astype(np.int64), "name": given["name"].astype(str).str.strip()})
    for column in ("hemisphere", "network"):
        out[column] = given[column].fillna("").astype(str).str.strip() if column in given.columns else ""
    side = out["hemisphere"].str.lower()
    if unknown := sorted(set(side) - set(_SIDES)):
        raise InputError(f"{source}: hemisphere must be L, R, M or empty, got {unknown[:5]}.")
    return out.assign(hemisphere=side.map(_SIDES))[out["id"] > 0].reset_index(drop=True)


def complete_table(rows: pd.DataFrame, left_share: NDArray[np.float64]) -> pd.DataFrame:
    """Fill in hemisphere and network from names and voxels, and make ids.

    Where table and name leave the side open, four fifths of the voxels decide, by their (R,) `left_share`.
    """
    sides = [
        given or _side_in_name(name) or _side_of_voxels(share)
        for given, name, share in zip(rows["hemisphere"], rows["name"], left_share, strict=True)
    ]
    networks = zip(rows["network"], rows["name"], strict=True)
    return rows.assign(
        roi=[roi_id(name, side) for name, side in zip(rows["name"], sides, strict=True)],
        hemisphere=sides,
        network=[given or network_in_name(name) for given, name in networks],
    )


def _side_in_name(name: str) -> str:
    sides = {_SIDES[side.lower()] for side in _SIDE_IN_NAME.findall(name)}
    return sides.pop() if len(sides) == 1 else ""


def _side_of_voxels(left_share: float) -> str:
    if np.isnan(left_share):
        return ""
    return "L" if left_share >= 0.8 else "R" if left_share <= 0.2 else "M"


def read_annotation(path: Path) -> tuple[NDArray[np.int32], list[str]]:
    """Read a FreeSurfer annotation of one hemisphere.

    Returns (V,) index of a vertex's name plus one, 0 where there is none; and the names, cortex alone.
    """
    require_file(path)
    with reading(path.name, "a FreeSurfer annotation", EOFError, IndexError, OSError, ValueError):
        entry, _, entries = nib.freesurfer.read_annot(path)
    names: list[str] = []
    # vertices of no entry read as -1, the last place
    index = np.zeros(len(entries) + 1, dtype=np.int32)
    for i, raw in enumerate(entries):
        name = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        if is_cortex(name):
            names.append(name)
            index[i] = len(names)
    return index[entry], names


def read_labels(
    name: str, image: str | os.PathLike[str] | Any
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a label image: (X, Y, Z) labels, 0 where there is none, and the (4, 4) voxel to mm matrix."""
    with open_image(image, n_axes=3) as opened:
        values = opened.whole()
    values = np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values
    rounded = np.rint(values)
    if not np.allclose(values, rounded, rtol=0, atol=1e-3) or rounded.min() < 0:
        raise InputError(
            f"Atlas {name} must hold whole numbers from 0, got values from {values.min()} to {values.max()}."
        )
    if not rounded.any():
        raise InputError(f"Atlas {name} must hold labels, got an image of zeros.")
    return rounded.astype(np.int64), opened.affine


def volume_centroids(
    labels: NDArray[np.int32], affine: NDArray[np.float64], n_rois: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (R, 3) centroids in mm, NaN without voxels, and the (R,) share of voxels left of the midline."""
    where = np.nonzero(labels)
    row = labels[where] - 1
    mm = np.stack(where, axis=1) @ affine[:3, :3].T + affine[:3, 3]
    return _means(mm, row, n_rois), _means((mm[:, :1] < 0) + 0.5 * (mm[:, :1] == 0), row, n_rois)[:, 0]


def _means(values: NDArray[np.float64], row: NDArray[np.int32], n_rois: int) -> NDArray[np.float64]:
    count = np.bincount(row, minlength=n_rois)
    sums = np.stack([np.bincount(row, weights=column, minlength=n_rois) for column in values.T], axis=1)
    means = np.full(sums.shape, np.nan)
    means[count > 0] = sums[count > 0] / count[count > 0, None]
    return means


def _fsaverage5() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the white and the pial surface (V, 3) in mm of the left, then of the right hemisphere."""
    # nilearn takes seconds to import and is needed here alone
    from nilearn import datasets

    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    for side in ("left", "right"):
        white, pial = (nib.load(mesh[f"{kind}_{side}"]).agg_data("pointset") for kind in ("white", "pial"))
        yield white.astype(np.float64), pial.astype(np.float64)


def surface_centroids(left: NDArray[np.int32], right: NDArray[np.int32], n_rois: int) -> NDArray[np.float64]:
    """Return (R, 3) mean positions in mm on fsaverage5, midway between white and pial surface.

    Left and right are (V,) row of a parcel plus one, 0 outside; positions on other meshes are NaN.
    """
    if len(left) not in FSAVERAGE:
        return np.full((n_rois, 3), np.nan)
    mm, rows = [], []
    for row, (white, pial) in zip((left, right), _fsaverage5(), strict=True):
        n = min(len(row), len(white))
        inside = row[:n] > 0
        mm.append(((white + pial) / 2)[:n][inside])
        rows.append(row[:n][inside] - 1)
    return _means(np.concatenate(mm), np.concatenate(rows), n_rois)


def surface_labels(
    labels: NDArray[np.int32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Carry a label image onto fsaverage5, (10242,) per side: the label most frequent through the cortex.

    The image is read at the nearest voxel at five depths from the white to the pial surface; of labels that
    are as frequent, the smallest number wins. Labels are the row of a parcel plus one, 0 outside.
    """
    to_voxels = np.linalg.inv(affine)
    sides = []
    for white, pial in _fsaverage5():
        depths = np.stack([white + share * (pial - white) for share in np.linspace(0, 1, 5)])
        place = np.rint(depths @ to_voxels[:3, :3].T + to_voxels[:3, 3]).astype(np.int64)
        inside = ((place >= 0) & (place < labels.shape)).all(axis=-1)
        found = labels[tuple(np.moveaxis(np.where(inside[..., None], place, 0), -1, 0))] * inside
        # five votes per vertex: how often each is repeated, and none for places without a label
        votes = (found[:, None] == found[None]).sum(axis=1) * (found > 0)
        winner = np.where(votes == votes.max(axis=0), found, np.iinfo(found.dtype).max).min(axis=0)
        sides.append(np.where(votes.max(axis=0) > 0, winner, 0).astype(np.int32))
    return sides[0], sides[1]
