"""Alice: BOLD of 27 listeners to twelve minutes of a story (Brennan et al. 2016)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.cleaning import clean_series, motion_regressors
from nfas_lightning.data.events import response_gap, volume_design
from nfas_lightning.data.readers import data_folder, pick, read_csv, read_npz, sha256_file
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.rois import roi_table
from nfas_lightning.data.stimulus_set import StimulusSet
from nfas_lightning.data.transcript import word_stimuli
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.confounds import high_pass_basis, regress_out

__all__ = ["ALICE_FILES", "FOLDER", "load_alice"]

FOLDER = "alice_fmri"
ALICE_FILES = ("roi_timeseries.npz", "words.csv")
_TEXT = "alice_chapter1.txt"
_SIDE = {"LATL": "L", "RATL": "R", "LPTL": "L", "LIPL": "L", "LPreM": "L", "LIFG": "L"}


def load_alice(
    root: str | os.PathLike[str] | None = None,
    *,
    window: int = 20,
    radius: str = "6mm",
    temporal: str = "hrf",
    hrf: str = "spm",
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
    folder = data_folder(root, FOLDER, ALICE_FILES)
    bold_key = f"bold_{radius}"
    arrays = read_npz(
        folder / "roi_timeseries.npz",
        {
            bold_key: (None, None, None),
            "motion": (None, None, 6),
            "word_rate_hrf": (None,),
            "sound_power_hrf": (None,),
            "subjects": (None,),
            "rois": (None,),
            "tr": (),
        },
    )
    rois = [str(name) for name in arrays["rois"]]
    names = [str(name) for name in arrays["subjects"]]
    n_volumes = len(arrays["word_rate_hrf"])
    wanted: dict[str, tuple[int, ...]] = {
        bold_key: (len(names), n_volumes, len(rois)),
        "motion": (len(names), n_volumes, 6),
    }
    wanted["sound_power_hrf"] = (n_volumes,)
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise ValueError(f"roi_timeseries.npz: {key!r} must have shape {shape}, got {arrays[key].shape}.")
    tr = float(arrays["tr"])
    kept = pick("subjects", subjects, names)
    bold, motion = torch.from_numpy(arrays[bold_key]), torch.from_numpy(arrays["motion"])
    values = torch.stack(
        [
            clean_series(
                bold[s],
                tr=tr,
                high_pass=high_pass,
                confounds=motion_regressors(motion[s]) if confounds else None,
                drop_volumes=drop_volumes,
            )
            for s in kept
        ]
    )
    acoustic = torch.from_numpy(np.stack([arrays["word_rate_hrf"], arrays["sound_power_hrf"]], axis=1))
    times = torch.arange(n_volumes, dtype=torch.float64) * tr

    table = read_csv(folder / "words.csv", ("word", "onset_s", "offset_s", "onset_scan_s"))
    onsets = torch.from_numpy(table["onset_scan_s"].to_numpy(dtype=np.float64, copy=True))
    durations = torch.from_numpy((table["offset_s"] - table["onset_s"]).to_numpy(dtype=np.float64, copy=True))
    _check_clock(onsets, durations)
    # listeners lost the drifts of the whole scan: fitted to the kept volumes alone they would be others
    drifts = torch.zeros(n_volumes, 0) if high_pass is None else high_pass_basis(n_volumes, tr, high_pass)
    design = tuple(
        regress_out(operator.to_dense(), drifts)[drop_volumes:]
        for operator in volume_design(onsets, times, tr=tr, temporal=temporal, hrf=hrf, delays=delays)
    )
    words = [str(word).strip() for word in table["word"]]
    files = [*ALICE_FILES, *([_TEXT] if (folder / _TEXT).is_file() else [])]
    text = (folder / _TEXT).read_text(encoding="utf-8") if _TEXT in files else None
    stimuli = StimulusSet(word_stimuli(words, window=window, text=text), "language")
    responses = Responses(
        values=values.float(),
        rois=roi_table(rois, network="language", hemisphere=[_SIDE.get(roi, "") for roi in rois]),
        stimulus_ids=tuple(f"{i:04d}_{word}" for i, word in enumerate(words)),
        dataset="alice",
        modality="language",
        subjects=tuple(names[s] for s in kept),
        runs=torch.zeros(n_volumes - drop_volumes, dtype=torch.long),
        design=design,
        tr=tr,
        volume_times=times[drop_volumes:],
        nuisances=clean_series(acoustic, tr=tr, high_pass=high_pass, drop_volumes=drop_volumes).float(),
        nuisance_names=("word_rate", "sound_power"),
        gap=response_gap(temporal, tr, delays),
        hashes={file: sha256_file(folder / file) for file in files} | {"stimuli": stimuli.sha256()},
    )
    return stimuli, responses


def _check_clock(onsets: Tensor, durations: Tensor) -> None:
    """Words must follow one another and last: a shuffled or re-timed table would pair silently otherwise."""
    backwards = (onsets.diff() <= 0).nonzero()
    if len(backwards):
        raise ValueError(
            f"words.csv: onset_scan_s must increase from word to word, but word {int(backwards[0]) + 1} does "
            "not start after the word before it. Is the table sorted, and each word there once?"
        )
    if bool((durations <= 0).any()):
        raise ValueError("words.csv: offset_s must come after onset_s for every word.")
