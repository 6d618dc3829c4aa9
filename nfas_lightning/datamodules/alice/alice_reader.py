"""Alice: BOLD of 27 listeners to twelve minutes of a story (Brennan et al. 2016)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.events import response_gap, volume_design
from nfas_lightning.data.files import find_folder, read_npz, sha256_file
from nfas_lightning.data.pairing import pick
from nfas_lightning.data.regions.cleaning import clean_series, motion_regressors
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import word_stimuli
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.alice import BENCHMARK
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.confounds import high_pass_basis, regress_out
from nfas_lightning.functional.hrf import HRFModel

__all__ = ["ALICE_FILES", "FOLDER", "load_alice", "read_scan", "read_words"]

FOLDER = BENCHMARK.folder
ALICE_FILES = ("roi_timeseries.npz", "words.csv")
_TEXT = "alice_chapter1.txt"
_SIDE = {"LATL": "L", "RATL": "R", "LPTL": "L", "LIPL": "L", "LPreM": "L", "LIFG": "L"}


def load_alice(
    root: str | os.PathLike[str] | None = None,
    *,
    window: int = 20,
    radius: str = "6mm",
    temporal: str = "hrf",
    hrf: HRFModel = "spm",
    delays: Sequence[int] = (1, 2, 3, 4),
    high_pass: float | None = 1 / 128,
    confounds: bool = True,
    drop_volumes: int = 10,
    subjects: Sequence[str] | None = None,
) -> tuple[StimulusSet, Responses]:
    """Read words and listeners, clean each listener's series, and pair them on the scan clock.

    Each word is a stimulus: the text that ends with it. Volume k was acquired 2 k seconds after the story's
    padding ended, the zero of the words' ``onset_scan_s``. What carries words to volumes has lost the drifts
    that the listeners lost, over the whole scan and before the first volumes were dropped.

    Args:
        root: data folder; None: ``NFAS_DATA``.
        window: words of context before each word.
        radius: of the ROI spheres, ``"6mm"`` or ``"10mm"``.
        temporal: ``"hrf"`` or ``"fir"``, see `nfas_lightning.data.events.volume_design`.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        high_pass: cut-off of the drift filter in Hz, None for none.
        confounds: regress out six motion parameters and their changes.
        drop_volumes: volumes dropped at the start, while the signal settles.
        subjects: listeners to keep; None: all.

    Returns:
        2,127 words, and responses (27, 352, 6) with the defaults. They have no ceiling of their own: it is
        estimated from the listeners, over the folds of the scores.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is incomplete, or an option is unknown.

    Reference:
        doi:10.1016/j.bandl.2016.04.008
    """
    check_option("radius", radius, ("6mm", "10mm"))
    folder = find_folder(root, FOLDER, ALICE_FILES)
    scan = read_scan(folder, radius)
    words = read_words(folder)
    kept = pick("subjects", subjects, scan.subjects)

    def clean(series: Tensor, regressors: Tensor | None = None) -> Tensor:
        return clean_series(
            series, tr=scan.tr, high_pass=high_pass, confounds=regressors, drop_volumes=drop_volumes
        ).float()

    values = [clean(scan.bold[s], motion_regressors(scan.motion[s]) if confounds else None) for s in kept]
    n_volumes = scan.bold.shape[1]
    times = torch.arange(n_volumes, dtype=torch.float64) * scan.tr
    # listeners lost the drifts of the whole scan: fitted to the kept volumes alone they would be others
    drifts = (
        torch.zeros(n_volumes, 0) if high_pass is None else high_pass_basis(n_volumes, scan.tr, high_pass)
    )
    design = tuple(
        regress_out(operator.to_dense(), drifts)[drop_volumes:]
        for operator in volume_design(
            words.onsets, times, tr=scan.tr, temporal=temporal, hrf=hrf, delays=delays
        )
    )
    stimuli = StimulusSet(word_stimuli(words.words, window=window, text=words.text), "language")
    files = [*ALICE_FILES, *([] if words.text is None else [_TEXT])]
    responses = Responses(
        values=torch.stack(values),
        rois=roi_table(scan.rois, network="language", hemisphere=[_SIDE.get(roi, "") for roi in scan.rois]),
        stimulus_ids=tuple(f"{i:04d}_{word}" for i, word in enumerate(words.words)),
        dataset="alice",
        modality="language",
        subjects=tuple(scan.subjects[s] for s in kept),
        runs=torch.zeros(n_volumes - drop_volumes, dtype=torch.long),
        design=design,
        tr=scan.tr,
        volume_times=times[drop_volumes:],
        nuisances=clean(scan.acoustic),
        nuisance_names=("word_rate", "sound_power"),
        gap=response_gap(temporal, scan.tr, delays),
        hashes={file: sha256_file(folder / file) for file in files} | {"stimuli": stimuli.sha256()},
    )
    return stimuli, responses


class _Scan(NamedTuple):
    """BOLD (S, T, R), motion (S, T, 6), and word rate and sound power (T, 2), both convolved already."""

    bold: Tensor
    motion: Tensor
    acoustic: Tensor
    subjects: list[str]
    rois: list[str]
    tr: float


def read_scan(folder: Path, radius: str) -> _Scan:
    """Read the series of one radius, and check that their shapes agree.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: an array is missing or has another shape.
    """
    bold, path = f"bold_{radius}", folder / ALICE_FILES[0]
    convolved = ("word_rate_hrf", "sound_power_hrf")
    arrays = read_npz(
        path,
        {
            bold: (None, None, None),
            "motion": (None, None, 6),
            **dict.fromkeys(convolved, (None,)),
            "subjects": (None,),
            "rois": (None,),
            "tr": (),
        },
    )
    rois, subjects = ([str(name) for name in arrays[key]] for key in ("rois", "subjects"))
    n_volumes = len(arrays[convolved[0]])
    wanted: dict[str, tuple[int, ...]] = {
        bold: (len(subjects), n_volumes, len(rois)),
        "motion": (len(subjects), n_volumes, 6),
        convolved[1]: (n_volumes,),
    }
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise InputError(f"{path.name}: {key!r} must have shape {shape}, got {arrays[key].shape}.")
    acoustic = torch.from_numpy(np.stack([arrays[key] for key in convolved], axis=1))
    motion = torch.from_numpy(arrays["motion"])
    return _Scan(torch.from_numpy(arrays[bold]), motion, acoustic, subjects, rois, float(arrays["tr"]))


class _Words(NamedTuple):
    """N words, (N,) seconds on the scan's clock, and the chapter as it was printed, where that is here."""

    words: list[str]
    onsets: Tensor
    text: str | None


def read_words(folder: Path) -> _Words:
    """Read the words and when they were heard.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: a column is missing, or the words are not in the order of their onsets.
    """
    table = read_csv(folder / ALICE_FILES[1], ("word", "onset_s", "offset_s", "onset_scan_s"))
    onsets = torch.from_numpy(table["onset_scan_s"].to_numpy(dtype=np.float64, copy=True))
    durations = torch.from_numpy((table["offset_s"] - table["onset_s"]).to_numpy(dtype=np.float64, copy=True))
    _check_clock(onsets, durations)
    printed = folder / _TEXT
    text = printed.read_text(encoding="utf-8") if printed.is_file() else None
    return _Words([str(word).strip() for word in table["word"]], onsets, text)


def _check_clock(onsets: Tensor, durations: Tensor) -> None:
    """Words must follow one another and last: a shuffled or re-timed table would pair silently otherwise."""
    backwards = (onsets.diff() <= 0).nonzero()
    if len(backwards):
        raise InputError(
            f"words.csv: onset_scan_s must increase from word to word, but word {int(backwards[0]) + 1} does "
            "not start after the word before it. Is the table sorted, and each word there once?"
        )
    ends_early = (durations <= 0).nonzero()
    if len(ends_early):
        raise InputError(
            f"words.csv: offset_s must come after onset_s for every word, but word {int(ends_early[0])} "
            f"lasts {float(durations[ends_early[0]]):g} s."
        )
