"""Atlases: one ROI axis for volumes and surfaces, keyed by name and hemisphere."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.regions import label_files
from nfas_lightning.data.regions.rois import ATLASES, coordinate_atlas, roi_table
from nfas_lightning.errors import InputError

_SCHAEFER = ("schaefer100", "schaefer200", "schaefer400")
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Atlas:
    """Parcels of the brain, in one of three forms: a label image, spheres, or labels on two hemispheres.

    Attributes:
        name: short name, e.g. ``"schaefer400"``, a file's stem, ``"seitzman-6mm"``.
        table: R rows of `roi_table`; ``roi`` is the unique id that benchmarks are joined on.
        space: e.g. ``"MNI152"`` or ``"fsaverage5"``: written in errors and hashes, not compared.
        labels: (X, Y, Z) row of `table` plus one, 0 outside every parcel; label images alone.
        affine: (4, 4) voxel to mm of `labels`.
        radius: radius in mm of the spheres around the table's coordinates, 0 for the voxel that is nearest to
            them; spheres alone.
        hemispheres: left and right, (V,) row of `table` plus one, 0 outside every parcel; surfaces alone.
    """

    name: str
    table: pd.DataFrame
    space: str
    labels: NDArray[np.int32] | None = None
    affine: NDArray[np.float64] | None = None
    radius: float | None = None
    hemispheres: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None

    def __post_init__(self) -> None:
        forms = (self.labels, self.radius, self.hemispheres)
        if sum(form is not None for form in forms) != 1 or (self.labels is None) != (self.affine is None):
            raise InputError("An atlas must have one of labels with an affine, radius, or hemispheres.")
        repeated = self.table["roi"][self.table["roi"].duplicated()].unique()
        if len(repeated):
            raise InputError(
                f"Atlas {self.name} must name each parcel once per hemisphere, got {list(repeated[:5])} more "
                "than once."
            )

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def rois(self) -> pd.DataFrame:
        """The table with a column ``vertices``, so that maps show parcels as they are.

        Numbers of the parcel's vertices on fsaverage5 between spaces, those of the right hemisphere 10242
        higher; empty for a parcel that reaches no vertex, and for spheres.
        """
        sides = self.hemispheres
        if self.labels is not None and self.affine is not None:
            sides = label_files.surface_labels(self.labels, self.affine)
        vertices = [""] * len(self.table)
        if sides is not None and len(sides[0]) >= label_files.MAP_VERTICES:
            # a finer fsaverage begins with the vertices of a coarser one
            row = np.concatenate([side[: label_files.MAP_VERTICES] for side in sides])
            for parcel in np.unique(row[row > 0]):
                vertices[parcel - 1] = " ".join(map(str, np.flatnonzero(row == parcel)))
        return self.table.reset_index(drop=True).assign(vertices=vertices)

    def sha256(self) -> str:
        """Return a hash over names, order, geometry and space."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256(f"{self.name}\0{self.space}\0{self.radius}\0".encode())
        digest.update(self.table.to_csv(sep="\t", index=False, float_format="%.6f").encode())
        for array in (self.labels, self.affine, *(self.hemispheres or ())):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_atlas(
    name_or_path: PathLike | Sequence[PathLike],
    *,
    table: PathLike | pd.DataFrame | None = None,
    radius: float = 6.0,
) -> Atlas:
    """Load an atlas by name or from files.

    - ``"seitzman"``, ``"dosenbach"``, ``"power"``: spheres around coordinates that nilearn carries; offline.
    - ``"schaefer100"``, ``"schaefer200"``, ``"schaefer400"``: seven networks, through nilearn's fetcher,
      which needs a network once.
    - A label image (.nii, .nii.gz), with a table of its names. Rows of the table that the image lacks stay
      as missing parcels; labels of the image that the table lacks are dropped with a warning. Without a
      table the parcels are called ``parcel_001_L`` and so on.
    - Two FreeSurfer annotations, left and right. Entries that are no cortex are dropped. Coordinates are mean
      positions on nilearn's fsaverage5, close to MNI.

    The hemisphere comes from the table, else from the name (``7Networks_LH_Vis_1``), else from the parcel's
    voxels: ``M`` if neither side holds four fifths of them. An id is the name where it contains the side,
    else name and side, ``V1_L``; so are annotations', hence volumes and surfaces join.

    Args:
        name_or_path: a name, the path of a label image, or a pair of annotation files.
        table: csv or tsv file, or a data frame, with the columns id (or index, as in BIDS's ``_dseg.tsv``),
            name and, optionally, hemisphere and network; for label images alone. Id 0 is background.
        radius: radius of spheres in mm; for coordinates alone.

    Returns:
        The atlas. Coordinates in its table are centroids in mm.

    Raises:
        ValueError: an unknown name, a label image that is not one, a table that does not fit.
        FileNotFoundError: a file is missing or its content is.
        ConnectionError: Schaefer's parcellation is not on this disk and can't be fetched.

    Reference:
        Schaefer et al. 2018, doi:10.1093/cercor/bhx179; coordinates as in `coordinate_atlas`.

    Example:
        >>> atlas = load_atlas("dosenbach", radius=5)
        >>> atlas.name, len(atlas), atlas.space
        ('dosenbach-5mm', 160, 'MNI152')
    """
    if not isinstance(name_or_path, str | os.PathLike):
        if table is not None:
            raise InputError(
                "table belongs to a label image: annotation files name their parcels themselves."
            )
        return _annotations([Path(path).expanduser() for path in name_or_path])
    name = os.fspath(name_or_path)
    lower, path = name.lower(), Path(name).expanduser()
    if lower.endswith((".nii", ".nii.gz")):
        stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
        return _label_atlas(stem, path, table, "MNI152")
    if lower not in (*ATLASES, *_SCHAEFER):
        raise InputError(
            f"atlas must be one of {', '.join((*ATLASES, *_SCHAEFER))}, a label image (.nii, .nii.gz) or a "
            f"pair of annotation files ([left.annot, right.annot]), got {name!r}."
        )
    if table is not None:
        raise InputError(f"table belongs to a label image file: {lower} has its own names.")
    if lower in _SCHAEFER:
        return _schaefer(lower)
    if not np.isfinite(radius) or radius <= 0:
        raise InputError(f"radius must be a positive number of mm, got {radius}.")
    return Atlas(f"{lower}-{radius:g}mm", coordinate_atlas(lower), "MNI152", radius=float(radius))


def _schaefer(name: str) -> Atlas:
    # nilearn takes seconds to import and is needed here alone
    from nilearn import datasets

    n_rois = int(name.removeprefix("schaefer"))
    try:
        fetched = datasets.fetch_atlas_schaefer_2018(
            n_rois=n_rois, yeo_networks=7, resolution_mm=1, verbose=0
        )
    except OSError as error:
        raise ConnectionError(
            f"{name} must be downloaded once and the download failed ({error}). Copy the nilearn_data folder "
            "of a machine with a network here and set NILEARN_DATA to it; or use 'seitzman', or a label "
            "image of your own."
        ) from error
    names = [label.decode() if isinstance(label, bytes) else str(label) for label in fetched.labels]
    names = [name for name in names if name != "Background"]
    if len(names) != n_rois:
        raise InputError(f"{name} must have {n_rois} names, got {len(names)}: delete it and fetch again.")
    rows = pd.DataFrame({"id": np.arange(1, n_rois + 1), "name": names})
    return _label_atlas(name, fetched.maps, rows, "MNI152NLin6Asym")


def _label_atlas(name: str, image: Any, table: PathLike | pd.DataFrame | None, space: str) -> Atlas:
    values, affine = label_files.read_labels(name, image)
    found = np.unique(values[values != 0])
    if table is None:
        table = pd.DataFrame({"id": found, "name": [f"parcel_{label:03d}" for label in found]})
    rows = label_files.read_label_table(table)
    ids = rows["id"].to_numpy()
    extra = np.setdiff1d(found, ids)
    if len(extra) == len(found):
        raise InputError(
            f"Atlas {name}: the table must name labels of the image, got none in common. Is it another "
            "atlas's table?"
        )
    if len(extra):
        warnings.warn(
            f"Atlas {name}: {len(extra)} of the image's {len(found)} labels are not in the table.",
            stacklevel=3,
        )
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)
    labels = np.where(ids[order][place] == values, order[place] + 1, 0).astype(np.int32)
    centroids, left_share = label_files.volume_centroids(labels, affine, len(rows))
    rows = label_files.complete_table(rows, left_share)
    sides, networks = list(rows["hemisphere"]), list(rows["network"])
    table = roi_table(list(rows["roi"]), network=networks, hemisphere=sides, coordinates=centroids)
    return Atlas(name, table, space, labels=labels, affine=affine)


def _annotations(paths: list[Path]) -> Atlas:
    if len(paths) != 2:
        raise InputError(f"Annotations must come as a pair [left, right], got {len(paths)} files.")
    labels, names = zip(*(label_files.read_annotation(path) for path in paths), strict=True)
    left, right = labels
    sides = ["L"] * len(names[0]) + ["R"] * len(names[1])
    both = [*names[0], *names[1]]
    if len(left) != len(right) or not both:
        raise InputError(
            f"{paths[0].name} and {paths[1].name} must label the same number of vertices and name parcels, "
            f"got {len(left)} and {len(right)} vertices and {len(both)} names."
        )
    right = np.where(right > 0, right + len(names[0]), 0).astype(np.int32)
    table = roi_table(
        [label_files.roi_id(name, side) for name, side in zip(both, sides, strict=True)],
        network=[label_files.network_in_name(name) for name in both],
        hemisphere=sides,
        coordinates=label_files.surface_centroids(left, right, len(both)),
    )
    stem = re.sub(r"(^|[._-])lh[._-]", r"\1", paths[0].name.removesuffix(".annot"))
    space = label_files.FSAVERAGE.get(len(left), f"surface of {len(left)} vertices")
    return Atlas(stem, table, space, hemispheres=(left, right))
