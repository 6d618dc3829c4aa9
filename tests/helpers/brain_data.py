"""Small made-up copies of the data folders, in the layout that the loaders expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

WORDS = ["Alice", "was", "n't", "very ", "tired", "of", "sitting", "by", "her", "sister"]
PRINTED = "Alice wasn't very tired, of sitting\nby her SISTER."


def write_alice(root: Path, *, n_subjects: int = 3, n_volumes: int = 40, **changes: object) -> Path:
    """Write alice_fmri/ with a few words and listeners; `changes` replace arrays of the archive."""
    folder = root / "alice_fmri"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "bold_6mm": rng.standard_normal((n_subjects, n_volumes, 6)).astype(np.float32) + 100,
        "bold_10mm": rng.standard_normal((n_subjects, n_volumes, 6)).astype(np.float32) + 50,
        "motion": rng.standard_normal((n_subjects, n_volumes, 6)).astype(np.float32),
        "word_rate_hrf": rng.uniform(size=n_volumes).astype(np.float32),
        "sound_power_hrf": rng.uniform(size=n_volumes).astype(np.float32),
        "subjects": np.array([f"s{18 + s}" for s in range(n_subjects)]),
        "rois": np.array(["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]),
        "tr": np.float64(2.0),
    }
    np.savez(folder / "roi_timeseries.npz", **{**arrays, **changes})
    onset = 20 + 5.0 * np.arange(len(WORDS)) + 0.25
    table = pd.DataFrame(
        {"word": WORDS, "onset_s": onset, "offset_s": onset + 0.3, "onset_scan_s": onset - 20}
    )
    table.to_csv(folder / "words.csv", index=False)
    (folder / "alice_chapter1.txt").write_text(PRINTED, encoding="utf-8")
    return folder


def write_sounds(root: Path, *, n_sounds: int = 12, **changes: object) -> Path:
    """Write natsound165/ with a few noises; `changes` replace arrays of either archive."""
    folder = root / "natsound165"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    names = np.array([f"stim{i}" for i in range(n_sounds)])
    brain = {
        "R": rng.standard_normal((n_sounds, 6)).astype(np.float32),
        "component_names": np.array(["lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"]),
        "stim_names": names,
    }
    sound = {
        "audio": (1000 * rng.standard_normal((n_sounds, 800))).astype(np.int16),
        "sr": np.int64(16_000),
        "names": names,
    }
    np.savez(folder / "components.npz", **{k: changes.get(k, v) for k, v in brain.items()})
    np.savez(folder / "sounds_16k.npz", **{k: changes.get(k, v) for k, v in sound.items()})
    return folder
