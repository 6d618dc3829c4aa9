"""Parcellations on disk; fetched by nilearn, where `nfas_lightning.data.load_atlas` finds them by name.

templateflow would bring a second cache and another client for the same Schaefer images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.catalogue.source import LibrarySource


class _Nilearn(LibrarySource):
    kinds = MappingProxyType({f"schaefer{n}": f"{n} parcels in seven networks" for n in (400, 200, 100)})
    usual = ("schaefer400",)
    library = "nilearn"
    variable = "NILEARN_DATA"

    def fetch(self, kind: str, folder: Path | None) -> list[Path]:
        """Fetch one parcellation; see `LibrarySource.fetch`."""
        # nilearn takes seconds to import and is needed here alone
        from nilearn import datasets

        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        fetched = datasets.fetch_atlas_schaefer_2018(
            n_rois=int(kind.removeprefix("schaefer")),
            yeo_networks=7,
            resolution_mm=1,
            data_dir=None if folder is None else str(folder),
            verbose=0,
        )
        return [Path(fetched.maps)]


SOURCE = _Nilearn()


def atlas_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check annotations, which come in pairs, and label images; there are no subjects."""
    del subjects
    annotations = sorted(folder.glob("*.annot"))
    names = {path.name for path in annotations}
    absent = sorted({_other_side(name) for name in names} - names)
    rows = []
    if annotations:
        rows.append(file_row("annotations", folder, annotations, inspector, missing=absent)[0])
    images = sorted(folder.glob("**/*.nii*"))
    if images:
        rows.append(file_row("label images", folder, images, inspector)[0])
    return rows


def _other_side(name: str) -> str:
    """Return the name of the other hemisphere's file: lh for rh and back."""
    return re.sub(r"(?<![a-z])([lr])h(?![a-z])", lambda m: f"{'r' if m[1] == 'l' else 'l'}h", name, count=1)
