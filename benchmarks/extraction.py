"""Time ROI extraction from one scan of full size against nilearn's maskers used plainly, and compare values.

    python benchmarks/extraction.py [--shape 73 90 74] [--volumes 300] [--parcels 400] [--repeats 2] [--plain]

The scan is synthetic, int16, on the grid of The Little Prince, compressed unless `--plain`; no voxel is zero,
since we leave out background voxels and the maskers average them in. Every figure comes from a process of its
own that does nothing else: wall-clock and processor seconds without imports (ours the best of `--repeats`,
the maskers' once; the file is in the page cache; processor seconds are the ones to trust on a machine that
does other work), the process's peak memory while it extracts, and how much of it extraction added (Linux).
Ours includes the sha256 of the file that results carry. The spheres' masker is told float32: left alone it
cuts the means of an int16 file down to whole numbers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ORIGIN = (-72.0, -106.0, -64.0)
RADIUS_MM = 6.0
CASES = ("labels", "spheres")


def write_scan(path: Path, shape: tuple[int, int, int], n_volumes: int) -> None:
    """Write smooth values and noise volume by volume: memory does not depend on the length."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = ORIGIN
    image = nib.Nifti1Image(np.zeros((*shape, 1), np.int16), affine)
    header = image.header.copy()
    header.set_data_shape((*shape, n_volumes))
    header["vox_offset"] = 352
    level = rng.uniform(800, 1200, shape)
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        header.write_to(file)
        file.write(bytes(352 - 348))
        for _ in range(n_volumes):
            file.write((level + rng.normal(0, 20, shape)).astype(np.int16).tobytes(order="F"))


def write_labels(path: Path, n_parcels: int) -> None:
    """Write blocks of about equal size that fill a box of MNI space, on the 2 mm template's own grid."""
    import nibabel as nib

    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    grid = (91, 109, 91)
    inside = np.zeros(grid, bool)
    inside[15:75, 15:95, 10:75] = True
    labels = np.zeros(grid, np.int32)
    labels[inside] = 1 + np.arange(inside.sum()) * n_parcels // inside.sum()
    nib.Nifti1Image(labels, affine).to_filename(path)


def ours(case: str, scan: Path, labels: Path) -> Callable[[], np.ndarray]:
    from nfas_lightning.data.regions.atlas import load_atlas
    from nfas_lightning.data.regions.extraction import Scan, extract_scans

    atlas = load_atlas(labels) if case == "labels" else load_atlas("seitzman", radius=RADIUS_MM)
    return lambda: extract_scans([Scan("scan", (scan,))], atlas, cache=None, progress=False)[0][
        0
    ].values.numpy()


def nilearn(case: str, scan: Path, labels: Path) -> Callable[[], np.ndarray]:
    from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker

    if case == "labels":
        masker = NiftiLabelsMasker(str(labels), standardize=None, resampling_target="data")
    else:
        # from a file: our package would bring torch into this process, and its memory
        seeds = np.load(labels.parent / "seeds.npy")
        masker = NiftiSpheresMasker(
            seeds, radius=RADIUS_MM, allow_overlap=True, standardize=None, dtype="float32"
        )
    return lambda: masker.fit_transform(str(scan))


def work(who: str, case: str, scan: Path, labels: Path, out: Path) -> None:
    """Be the process that is measured."""
    run = {"ours": ours, "nilearn": nilearn}[who](case, scan, labels)
    before = reset_peak()
    start, spent = time.perf_counter(), time.process_time()
    values = run()
    seconds, processor = time.perf_counter() - start, time.process_time() - spent
    peak = peak_memory()
    np.save(out, values)
    print(json.dumps({"wall": seconds, "cpu": processor, "peak": peak, "added": peak - before}))


def reset_peak() -> float:
    """Forget the peak of the imports and return the memory in use, in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise SystemExit(f"memory is measured through /proc, which Linux has: {error}") from error
    return memory("VmRSS")


def peak_memory() -> float:
    """Return the most memory that was in use since then, in MB."""
    return memory("VmHWM")


def memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(
    who: str, case: str, folder: Path, scan: Path, repeats: int
) -> tuple[dict[str, float], np.ndarray]:
    """Best time and largest memory of several processes, and the values."""
    out = folder / f"{who}-{case}.npy"
    command = [sys.executable, "-W", "ignore", __file__, "--work", who, case, str(scan)]
    command += [str(folder / "labels.nii.gz"), str(out)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{who} {case} failed:\n{done.stderr}")
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    best = {key: (min if key in ("wall", "cpu") else max)(run[key] for run in runs) for key in runs[0]}
    return best, np.load(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(73, 90, 74))
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--parcels", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="an uncompressed file")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        who, case, *paths = options.work
        work(who, case, *map(Path, paths))
        return
    import nilearn as peer

    from nfas_lightning.data.regions.rois import coordinate_atlas

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / ("scan.nii" if options.plain else "scan.nii.gz")
        write_scan(scan, tuple(options.shape), options.volumes)
        write_labels(folder / "labels.nii.gz", options.parcels)
        np.save(folder / "seeds.npy", coordinate_atlas("seitzman")[["x", "y", "z"]].to_numpy())
        size = scan.stat().st_size / 2**20
        print(
            f"{options.volumes} volumes of {options.shape}, {size:.0f} MB on disk, nilearn {peer.__version__}"
        )
        print(
            f"{'ROIs':<9} {'by':<8} {'wall':>8} {'cpu':>8} {'volumes/s':>10} {'peak MB':>8} {'added MB':>9} "
            f"{'max |diff|':>11}"
        )
        for case in CASES:
            values = {}
            for who in ("ours", "nilearn"):
                repeats = options.repeats if who == "ours" else 1
                best, values[who] = measure(who, case, folder, scan, repeats)
                if who == "nilearn":
                    both = np.isfinite(values["ours"]).all(axis=0)
                    difference = np.abs(values["ours"] - values["nilearn"])[:, both].max()
                    last = f"{difference:>11.1e} over {int(both.sum())} ROIs"
                else:
                    last = ""
                print(
                    f"{case:<9} {who:<8} {best['wall']:>7.2f}s {best['cpu']:>7.2f}s "
                    f"{options.volumes / best['wall']:>10.0f} {best['peak']:>8.0f} {best['added']:>9.0f} "
                    f"{last}"
                )


if __name__ == "__main__":
    main()
