"""ROI tables: names that benchmarks join on, networks, hemispheres and MNI coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.pairing import index_of, row_orders
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option

ATLASES = ("seitzman", "dosenbach", "power")


def roi_table(
    names: Sequence[str],
    *,
    network: str | Sequence[str] = "",
    hemisphere: str | Sequence[str] = "",
    coordinates: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Make an ROI table in the order of a response's columns.

    Args:
        names: R unique names, the ids that benchmarks are joined on.
        network: one network for all ROIs, or R of them.
        hemisphere: ``"L"``, ``"R"``, ``"M"`` or empty; one for all, or R of them.
        coordinates: (R, 3) MNI coordinates in mm; None leaves them NaN.

    Returns:
        R rows with the columns roi, network, hemisphere, x, y, z.
    """
    xyz = np.full((len(names), 3), np.nan) if coordinates is None else np.asarray(coordinates, dtype=float)
    if xyz.shape != (len(names), 3):
        raise InputError(f"coordinates must have shape ({len(names)}, 3), got {xyz.shape}.")
    table = pd.DataFrame({"roi": list(names)})
    for column, given in (("network", network), ("hemisphere", hemisphere)):
        table[column] = given if isinstance(given, str) else list(given)
    table[["x", "y", "z"]] = xyz
    return table


def given_rois(
    rois: Any, n_rois: int, columns: Sequence[str] | None = None, what: str = "rois"
) -> pd.DataFrame:
    """Return the table of the R ROIs of responses, in the order of their columns.

    ROIs are names, or a table with the column ``roi``, in any order if the columns have names; None: the
    columns' names, or numbers.

    Example:
        >>> table = pd.DataFrame({"roi": ["V4", "V1"], "network": ["late", "early"]})
        >>> given_rois(table, 2, ["V1", "V4"])["network"].tolist()
        ['early', 'late']
    """
    if rois is None:
        if columns:
            return roi_table(columns)
        # marked, since number 7 of another experiment is another region: see `RunResults.concatenate`
        return roi_table([f"roi_{r:03d}" for r in range(n_rois)]).assign(unnamed=True)
    if isinstance(rois, str) or len(rois) != n_rois:
        given = repr(rois) if isinstance(rois, str) else len(rois)
        raise InputError(f"{what} must name the {n_rois} columns of responses, got {given}.")
    if isinstance(rois, pd.DataFrame):
        table = rois.reset_index(drop=True)
        if "roi" not in table:
            raise InputError(f"{what} must have a column 'roi', got {list(table.columns)}.")
        if pd.api.types.is_integer_dtype(table["roi"]):  # parcels' numbers are names
            table["roi"] = table["roi"].astype(str)
    else:  # a name that is missing stays so, and is refused
        table = roi_table([name if pd.isna(name) else str(name) for name in rois])
    if columns is None:
        row_orders({"responses": None, what: index_of(rois)})
        return table
    place = {name: i for i, name in enumerate(table["roi"])}
    if set(place) != set(columns):
        lacking = [name for name in columns if name not in place]
        raise InputError(
            f"{what} must name the ROIs as the columns of responses do, in any order, got "
            f"{list(table['roi'][:5])} for columns such as {lacking[:5] or list(columns[:5])}."
        )
    return table.iloc[[place[name] for name in columns]].reset_index(drop=True)


def coordinate_atlas(name: str = "seitzman") -> pd.DataFrame:
    """Return an atlas of coordinates that nilearn carries, without any download.

    ``seitzman`` (300 ROIs) and ``dosenbach`` (160) come with network names. ``power`` (264) does not:
    each of its ROIs takes the network of the nearest Seitzman ROI within 10 mm, else ``unassigned``, and
    Dosenbach's ROIs within 10 mm of Seitzman's auditory ones are called ``auditory``, since its own six
    networks have none.

    Names in the `roi_table` are such as ``Visual_L_012``, with the atlas's own number.

    Reference:
        Seitzman et al. 2020, doi:10.1016/j.neuroimage.2019.116290; Dosenbach et al. 2010,
        doi:10.1126/science.1194144; Power et al. 2011, doi:10.1016/j.neuron.2011.09.006.

    Example:
        >>> coordinate_atlas("seitzman").shape
        (300, 6)
    """
    # nilearn takes seconds to import and is needed here alone
    from nilearn import datasets

    check_option("atlas", name, ATLASES)
    seitzman = datasets.fetch_coords_seitzman_2018()
    xyz = reference = seitzman.rois[["x", "y", "z"]].to_numpy(dtype=float)
    networks = reference_networks = np.asarray(seitzman.networks, dtype=object).astype(str)
    numbers = seitzman.rois.index.to_numpy()
    if name != "seitzman":
        if name == "dosenbach":
            fetched = datasets.fetch_coords_dosenbach_2010()
            numbers = np.array([int(str(label).split()[-1]) for label in fetched.labels])
        else:
            fetched = datasets.fetch_coords_power_2011()
            numbers = fetched.rois["roi"].to_numpy()
        xyz = fetched.rois[["x", "y", "z"]].to_numpy(dtype=float)
        distance = np.linalg.norm(xyz[:, None] - reference[None], axis=2)
        nearest = reference_networks[distance.argmin(axis=1)]
        networks = np.where(distance.min(axis=1) <= 10.0, nearest, "unassigned")
        if name == "dosenbach":
            networks = np.where(networks == "Auditory", "auditory", np.asarray(fetched.networks).astype(str))
    side = np.where(xyz[:, 0] < 0, "L", "R")
    names = [f"{w}_{s}_{n:03d}" for w, s, n in zip(networks, side, numbers, strict=True)]
    return roi_table(names, network=list(networks), hemisphere=list(side), coordinates=xyz)
