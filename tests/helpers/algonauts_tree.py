"""A small tree in the layout of Algonauts 2021: 24 clips, two subjects, a planted response to brightness."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nfas_lightning.data.regions.rois import coordinate_atlas
from nfas_lightning.datamodules.algonauts2021 import algonauts_reader as reader
from nfas_lightning.datamodules.clips.clip_files import functional_table
from nfas_lightning.datamodules.clips.clip_responses import read_clip_responses
from tests.helpers.clips import write_clip
from tests.helpers.python2_pickle import python2_pickle

VIDEOS = "AlgonautsVideos268_All_30fpsmax"
DATA = "participants_data_v2021"
N_CLIPS, N_ANSWERED, N_REPETITIONS = 24, 20, 3
SUBJECTS = ("sub01", "sub02")
ROIS = {"V1": 12, "V2": 11, "V3": 10, "V4": 9, "LOC": 8, "EBA": 7, "FFA": 6, "STS": 5, "PPA": 4}
GRID = (78, 93, 71)
AFFINE = np.array([[2.5, 0, 0, -96.5], [0, 2.5, 0, -132.5], [0, 0, 2.75, -78.5], [0, 0, 0, 1]])
PARCELS = tuple(range(0, 300, 20))  # rows of the Seitzman atlas that have voxels
SIDE = 32


def brightness() -> np.ndarray:
    """(N_CLIPS,) gray level of each clip."""
    return np.random.default_rng(5).permutation(np.linspace(30, 220, N_CLIPS)).round()


def planted(noise: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(N_ANSWERED, repetitions, voxels): z-scored brightness, and noise of its own in every value."""
    signal = brightness()[:N_ANSWERED]
    signal = (signal - signal.mean()) / signal.std()
    return (signal[:, None, None] + noise * rng.normal(size=shape)).astype(np.float32)


def write_algonauts(root: Path) -> Path:
    """Write algonauts2021/ below `root`."""
    folder = root / "algonauts2021"
    (folder / VIDEOS).mkdir(parents=True)
    for number, level in enumerate(brightness(), 1):
        name = f"{number:04d}_0-0-1-6-7-2-8-0-{17500167280 + number}.mp4"
        write_clip(folder / VIDEOS / name, _frames(level, number), fps=10)
    rng = np.random.default_rng(0)
    for index, subject in enumerate(SUBJECTS):
        mini = folder / DATA / "mini_track" / subject
        mini.mkdir(parents=True)
        for place, (roi, n_voxels) in enumerate(ROIS.items()):
            # later ROIs are noisier; voxels share it, or averaging would remove it
            noise = 0.2 * (place + 1)
            shape = (N_ANSWERED, N_REPETITIONS, 1)
            values = np.repeat(planted(noise, shape, rng), n_voxels + index, axis=2)
            (mini / f"{roi}.pkl").write_bytes(python2_pickle({"train": values}))
        full = folder / DATA / "full_track" / subject
        full.mkdir(parents=True)
        (full / "WB.pkl").write_bytes(python2_pickle(whole_brain(index, rng)))
    return folder


def whole_brain(subject: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Blocks of voxels around some coordinates; the second subject lacks the last."""
    mask = np.zeros(GRID, np.uint8)
    atlas = coordinate_atlas("seitzman")
    for parcel in PARCELS[: len(PARCELS) - subject]:
        xyz = atlas.loc[parcel, ["x", "y", "z"]].to_numpy(dtype=float)
        i, j, k = np.rint((xyz - AFFINE[:3, 3]) / np.diag(AFFINE)[:3]).astype(int)
        mask[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1
    train = planted(0.5, (N_ANSWERED, N_REPETITIONS, int(mask.sum())), rng)
    return {"train": train, "voxel_mask": mask}


def _frames(level: float, number: int) -> np.ndarray:
    """Three seconds at 10 fps: a gray field on which a square of another gray moves."""
    frames = np.full((30, SIDE, SIDE, 3), level, np.uint8)
    for t in range(30):
        x = (number + t * (1 + number % 3)) % (SIDE - 8)
        frames[t, 12:20, x : x + 8] = min(255, int(level) + 30)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_algonauts(tmp_path_factory.mktemp("algonauts"))


@pytest.fixture
def copy(folder, tmp_path):
    """A tree to spoil."""
    shutil.copytree(folder, tmp_path / "algonauts2021")
    return tmp_path / "algonauts2021"


def mini(folder, roi="V1", subject="sub01"):
    return folder / DATA / "mini_track" / subject / f"{roi}.pkl"


def whole(folder, subject="sub01"):
    return folder / DATA / "full_track" / subject / "WB.pkl"


def read_mini(folder, **options):
    files = reader.subject_files(folder, "mini", None, list(ROIS), strict=False)
    options = {"progress": False, "strict": False, **options}
    (read,) = read_clip_responses(reader.ALGONAUTS, files, functional_table(None, reader.ROIS), **options)
    return read
