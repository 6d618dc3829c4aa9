"""Parcellations, fetched by nilearn, where `nfas_lightning.data.load_atlas` finds them by name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ATLAS_KINDS", "fetch_atlas"]

ATLAS_KINDS = ("schaefer100", "schaefer200", "schaefer400")


def fetch_atlas(kind: str, folder: Path | None) -> list[Path]:
    """Fetch one parcellation, or find it where it was put before.

    Args:
        kind: of `ATLAS_KINDS`.
        folder: made if needed; None: nilearn's own, which ``NILEARN_DATA`` names.

    Returns:
        The label image.

    Raises:
        OSError: no network, or the folder can't be written.
    """
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
