"""A small tree in the layout of BOLD Moments: 12 training and 5 test clips, two subjects."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from tests.helpers.clips import write_clip

RESPONSES = "derivatives/versionA/MNI152/prepared_data/prepared_allvoxel_pkl/TRavg56789"
TRAIN, TEST = range(1, 13), range(1001, 1006)
SUBJECTS = ("sub-05", "sub-07")
ROIS = (
    *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "EBA", "FFA", "OFA", "STS"),
    *("LOC", "PPA", "RSC", "TOS", "V3ab", "IPS0", "IPS1-2-3", "7AL", "BA2", "PFt", "PFop"),
)
EMPTY = {("sub-07", "RSC"), ("sub-07", "TOS")}
SIDE = 32


def brightness() -> dict[int, float]:
    """Gray level of each clip."""
    levels = np.random.default_rng(3).permutation(np.linspace(30, 220, len(TRAIN) + len(TEST))).round()
    return dict(zip((*TRAIN, *TEST), levels.tolist(), strict=True))


def file(folder: Path, roi: str = "V1v", subject: str = "sub-05") -> Path:
    """A subject's pickle."""
    return folder / RESPONSES / subject / f"{roi}_TRavg-56789_allvoxel.pkl"


def write_bold_moments(root: Path) -> Path:
    """Write ds005165/ below `root`."""
    folder = root / "ds005165"
    levels = brightness()
    for part, numbers in (("train", TRAIN), ("test", TEST)):
        (folder / "stimuli" / part).mkdir(parents=True)
        for number in numbers:
            frames = np.full((15, SIDE, SIDE, 3), levels[number], np.uint8)
            frames[::2, 8:16, 8:16] = 255 - frames[::2, 8:16, 8:16]
            write_clip(folder / "stimuli" / part / f"{number:04d}.mp4", frames, fps=5)
    for index, subject in enumerate(SUBJECTS):
        (folder / RESPONSES / subject).mkdir(parents=True)
        for place, roi in enumerate(ROIS):
            n_voxels = 0 if (subject, roi) in EMPTY else 4 + place % 5 + index
            rng = np.random.default_rng([index, place])
            # later ROIs are noisier; voxels share it, or averaging would remove it
            held = responses(n_voxels, 0.1 * (place + 1), rng)
            file(folder, roi, subject).write_bytes(pickle.dumps(held, protocol=3))
    return folder


def responses(n_voxels: int, noise: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a pickle holds: three presentations of training clips, ten of test clips, and their ceilings."""
    held = {}
    for key, numbers, n_repetitions in (("train", TRAIN, 3), ("test", TEST, 10)):
        signal = np.array([brightness()[number] for number in numbers])
        # the two sets differ in offset and in units
        offset, scale = (5.0, 2.0) if key == "test" else (0.0, 1.0)
        shared = (signal - 125)[:, None, None] / 60 + noise * rng.normal(size=(len(signal), n_repetitions, 1))
        values = shared + 0.1 * rng.normal(size=(len(signal), n_repetitions, n_voxels))
        held[f"{key}_data_allvoxel"] = scale * values + offset
        held[f"{key}_noiseceiling_allvoxel"] = np.full(n_voxels, 50.0)
    return held
