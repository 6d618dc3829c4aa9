"""Which ROI follows what: the truth that is planted, the same for every modality of one atlas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nfas_lightning.data.regions.rois import coordinate_atlas

__all__ = ["INTEGRATIVE", "plan_rois"]

_DRIVER = {
    "Visual": "vision",
    "occipital": "vision",
    "Auditory": "audio",
    "auditory": "audio",
    "DefaultMode": "language",
    "default": "language",
    "FrontoParietal": "language",
    "fronto-parietal": "language",
    # the left ventral attention network of these atlases is close to the language network
    "VentralAttention": "language",
}
# convergence zones (MNI, mm); the atlas's nearest ROI follows every modality
INTEGRATIVE = {
    "angular gyrus L": (-46.0, -62.0, 32.0),
    "angular gyrus R": (50.0, -58.0, 30.0),
    "posterior superior temporal L": (-54.0, -46.0, 10.0),
    "posterior superior temporal R": (54.0, -42.0, 12.0),
    "anterior temporal L": (-50.0, 6.0, -28.0),
    "anterior temporal R": (50.0, 8.0, -28.0),
    "precuneus": (-4.0, -58.0, 34.0),
    "medial prefrontal": (-2.0, 52.0, -4.0),
}


def plan_rois(atlas: str = "seitzman") -> pd.DataFrame:
    """Return an atlas with what drives each ROI, whatever the seed and the modality.

    Args:
        atlas: see `nfas_lightning.data.regions.rois.coordinate_atlas`.

    Returns:
        The ROI table with ``driven_by`` (``"vision"``, ``"audio"``, ``"language"``, ``"all"``, ``"none"``),
        ``integrative`` (bool) and ``zone``, the name of an integrative ROI's convergence zone.

    Example:
        >>> plan_rois("seitzman")["driven_by"].value_counts()["all"]
        np.int64(8)
    """
    table = coordinate_atlas(atlas)
    table["driven_by"] = table["network"].map(_DRIVER).fillna("none")
    table["zone"] = ""
    xyz = table[["x", "y", "z"]].to_numpy(dtype=float)
    for zone, center in INTEGRATIVE.items():
        nearest = int(np.linalg.norm(xyz - np.asarray(center), axis=1).argmin())
        table.loc[nearest, ["driven_by", "zone"]] = ["all", zone]
    table["integrative"] = table["driven_by"] == "all"
    return table
