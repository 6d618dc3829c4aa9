"""Parcellations, fetched by nilearn, where `nfas_lightning.data.load_atlas` finds them by name.

templateflow would bring a second cache and another client for the same Schaefer images.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from nfas_lightning.datamodules.catalogue.source import LibrarySource

__all__ = ["SOURCE"]


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
