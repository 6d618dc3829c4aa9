"""NIfTI and GIfTI files, read in order, with one clear error for a broken one."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.gifti.parse_gifti_fast import GiftiImageParser
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.errors import InputError

_BROKEN = (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError)
_STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}


class _SelfContainedParser(GiftiImageParser):  # type: ignore[misc]
    """Reads no values of another file that a GIfTI file names: it could be any of the disk."""

    def StartElementHandler(self, name: str, attributes: dict[str, str]) -> None:  # noqa: N802
        """Refuse an array whose values are elsewhere."""
        external = attributes.get("ExternalFileName")
        if name == "DataArray" and (external or attributes.get("Encoding") == "ExternalFileBinary"):
            raise InputError(f"its values are in another file, {external!r}, which is not opened")
        super().StartElementHandler(name, attributes)


class _SelfContainedGifti(nib.GiftiImage):  # type: ignore[misc]
    parser = _SelfContainedParser


@dataclass(frozen=True)
class OpenImage:
    """An image whose volumes are read on demand.

    Attributes:
        name: what errors call it.
        shape: lengths of its axes.
        affine: (4, 4) voxel to mm.
        data: nibabel's proxy, or an array.
        stream: the decompressed file, to check its end; None for uncompressed ones.
    """

    name: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    data: Any
    stream: gzip.GzipFile | None = None

    def volumes(self, start: int, stop: int) -> NDArray[Any]:
        """Read volumes, scaled: (X, Y, Z, stop - start)."""
        return self._read((..., slice(start, stop)), last=stop == self.shape[-1])

    def whole(self) -> NDArray[Any]:
        """Read everything."""
        return self._read((...,), last=True).reshape(self.shape)

    def _read(self, slices: tuple[Any, ...], *, last: bool) -> NDArray[Any]:
        with reading(self.name, f"an image of shape {self.shape}", *_BROKEN):
            values: NDArray[Any] = np.asanyarray(self.data[slices])
            # gzip compares its checksum at the end of the stream alone
            while last and self.stream is not None and self.stream.read(2**20):
                pass
        return values


@contextmanager
def open_image(image: str | os.PathLike[str] | Any, *, n_axes: int) -> Iterator[OpenImage]:
    """Open a NIfTI file or nibabel image for reading in order; a compressed file is decompressed once.

    It must have `n_axes`, 4 or 3; a fourth of length 1 does no harm where three are asked.
    """
    with ExitStack() as stack:
        stored = image if isinstance(image, str | os.PathLike) else image.get_filename()
        name, stream = Path(stored).name if stored else "image", None
        opened: Any = image
        # nibabel would decompress the file of an image from its start for each chunk
        if stored is image or (stored and nib.is_proxy(opened.dataobj) and Path(stored).is_file()):
            opened, stream = _from_file(require_file(stored), stack)
        shape, affine = tuple(opened.shape), np.asarray(opened.affine, dtype=np.float64)
        if n_axes == 3 and shape[3:] == (1,):
            shape = shape[:3]
        _check(name, opened, shape, affine, n_axes)
        yield OpenImage(name, shape, affine, opened.dataobj, stream)


def _from_file(path: Path, stack: ExitStack) -> tuple[Any, gzip.GzipFile | None]:
    is_compressed = path.name.lower().endswith(".nii.gz")
    if not (is_compressed or path.name.lower().endswith(".nii")):
        raise InputError(f"{path.name} must be a NIfTI file (.nii or .nii.gz).")
    raw = stack.enter_context(path.open("rb", buffering=2**20))
    stream = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb")) if is_compressed else None
    with reading(path.name, "a NIfTI file", *_BROKEN):
        return type(nib.load(path)).from_stream(stream or raw), stream


def _check(name: str, image: Any, shape: tuple[int, ...], affine: NDArray[np.float64], n_axes: int) -> None:
    axes = "(X, Y, Z, T)" if n_axes == 4 else "(X, Y, Z)"
    if len(shape) != n_axes or 0 in shape:
        raise InputError(f"{name} must be a {n_axes}D image {axes}, got shape {shape}.")
    if image.get_data_dtype().kind not in "biuf":
        raise InputError(f"{name} must hold real numbers, got {image.get_data_dtype()}.")
    header = image.header
    if isinstance(header, nib.Nifti1Header) and header["qform_code"] == 0 and header["sform_code"] == 0:
        raise InputError(f"{name} must have a place in space, got neither sform nor qform: set its affine.")
    check_affine(name, affine)


def check_affine(name: str, affine: NDArray[np.float64]) -> None:
    """Refuse a matrix from voxels to mm that is not (4, 4), finite and invertible."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise InputError(f"{name} must have an invertible affine (4, 4), got {affine.tolist()}.")


def read_gifti(path: Path, side: str) -> NDArray[np.float32]:
    """Read a GIfTI time series, (T, V), of this side, ``"L"`` or ``"R"``: one data array per TR."""
    require_file(path)
    with reading(path.name, "a GIfTI file (.gii)", *_BROKEN, ExpatError, KeyError, TypeError, AttributeError):
        image = _SelfContainedGifti.from_filename(path)
        arrays = [np.asarray(array.data) for array in image.darrays]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1 or len(shapes[0]) != 1 or shapes[0][0] == 0:
        raise InputError(f"{path.name} must hold one data array per TR, each (V,), got shapes {shapes[:5]}.")
    named = re.search(r"hemi-([LR])", path.name)
    told = [dict(meta).get("AnatomicalStructurePrimary") for meta in (image.meta, image.darrays[0].meta)]
    other = _STRUCTURES["R" if side == "L" else "L"]
    if (named and named.group(1) != side) or other in told:
        raise InputError(
            f"{path.name} must be hemisphere {side}, but it is the other one by name or content: are they "
            "exchanged?"
        )
    return np.stack(arrays).astype(np.float32, copy=False)
