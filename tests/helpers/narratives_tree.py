"""A small tree in the layout of Narratives (ds002345): real meshes, two volume grids, planted words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from scipy.io import wavfile

from nfas_lightning.datamodules import NarrativesDataModule
from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS
from nfas_lightning.functional.hrf import hrf

N_VERTICES = 40_962  # fsaverage6, a hemisphere
MEDIAL_WALL = slice(30_000, 33_000)
PLANTED_WORD = 4


class Sound(NamedTuple):
    """A sound file and the clock of the scans in which it was heard."""

    task: str
    wav_offset: float
    tr: float
    n_volumes: int
    parts: dict[str, tuple[int, int]]  # onset and duration in volumes
    first_word: float  # seconds on the sound file's clock
    n_words: int = 10


SOUNDS = {
    "pieman": Sound("pieman", 0.0, 1.5, 28, {"pieman": (4, 22)}, 6.3),
    "tunnel": Sound("tunnel", 3.0, 1.5, 26, {"tunnel": (2, 22)}, 0.4),
    "prettymouth": Sound("prettymouth", 0.0, 1.5, 26, {"prettymouth": (2, 22)}, 3.2),
    "piemanpni": Sound("piemanpni", 12.0, 1.5, 32, {"piemanpni": (8, 22)}, 0.7),
    "milkywaysynonyms": Sound("milkyway", 0.0, 1.52, 26, {"milkyway": (3, 22)}, 4.9),
    "slumlordreach": Sound("slumlordreach", 4.5, 1.5, 54, {"slumlord": (4, 20), "reach": (28, 24)}, 1.9, 20),
}
# subject: (sound, condition, run)
HEARD = {
    "sub-001": [("pieman", "n/a", "1"), ("pieman", "n/a", "2"), ("tunnel", "n/a", None)],
    "sub-002": [("pieman", "n/a", None), ("tunnel", "n/a", None), ("prettymouth", "affair", None)],
    "sub-003": [("pieman", "n/a", None), ("piemanpni", "n/a", None)],
    "sub-115": [("milkywaysynonyms", "synonyms", None)],
    "sub-140": [("slumlordreach", "n/a", None), ("prettymouth", "paranoia", None)],
}
EXCLUDED = {"tunnel": {"sub-001": ["sub-001_task-tunnel"]}, "pieman": {"sub-003": ["sub-003_task-pieman"]}}
GRIDS = {
    "pieman": (np.diag([8.0, 8, 8, 1]), (-72.0, -106, -64), (18, 23, 19)),
    "other": (np.diag([9.0, 9, 9, 1]), (-76.0, -112, -70), (17, 21, 18)),
}


def word_times(audio: str) -> np.ndarray:
    """Onsets of the words on the sound file's clock: 2.3 s apart; the second part begins where it should."""
    sound = SOUNDS[audio]
    onsets = sound.first_word + 2.3 * np.arange(sound.n_words)
    if "reach" in sound.parts:
        start = sound.parts["reach"][0] * sound.tr - sound.wav_offset + 0.4
        onsets[10:] = start + 2.3 * np.arange(sound.n_words - 10)
    return onsets.round(2)


def planted_words(audio: str) -> list[int]:
    """Rows of align.csv that the responses answer, one a part."""
    return [PLANTED_WORD, 10 + PLANTED_WORD] if "reach" in SOUNDS[audio].parts else [PLANTED_WORD]


def planted_response(audio: str) -> np.ndarray:
    """The planted words convolved with a response, as each volume of the scan sees it."""
    sound = SOUNDS[audio]
    times = torch.arange(sound.n_volumes, dtype=torch.float64) * sound.tr
    onsets = word_times(audio)[planted_words(audio)] + sound.wav_offset
    return sum(hrf(times - onset).numpy() for onset in onsets)


def write_narratives(root: Path) -> Path:
    """Write ds002345/ below `root`: afni-nosmooth in both spaces, and one scan of fmriprep."""
    folder = root / "ds002345"
    (folder / "code").mkdir(parents=True)
    _tables(folder)
    for audio, sound in SOUNDS.items():
        _stimulus(folder / "stimuli", audio, sound)
    for number, (subject, scans) in enumerate(HEARD.items()):
        for audio, _, run in scans:
            name = f"{subject}_task-{SOUNDS[audio].task}{f'_run-{run}' if run else ''}"
            _sidecars(folder / subject / "func", name, audio)
            place = folder / "derivatives" / "afni-nosmooth" / subject / "func"
            place.mkdir(parents=True, exist_ok=True)
            _volume(
                place / f"{name}_space-MNI152NLin2009cAsym_res-native_desc-clean_bold.nii.gz", audio, number
            )
            for side in "LR":
                _surface(place / f"{name}_space-fsaverage6_hemi-{side}_desc-clean.func.gii", audio, side)
    _unclean(folder)
    return folder


def _tables(folder: Path) -> None:
    lines = ["participant_id\tage\tsex\ttask\tcondition\tcomprehension"]
    for subject, scans in HEARD.items():
        # a task is listed once, whatever its runs
        tasks = list(dict.fromkeys((SOUNDS[audio].task, condition) for audio, condition, _ in scans))
        cells = [",".join(column) for column in zip(*tasks, strict=True)]
        same = [",".join([value] * len(tasks)) for value in ("20", "F", "n/a")]
        lines.append("\t".join([subject, *same[:2], *cells, same[2]]))
    lines.append("sub-200\tn/a\tn/a\tsherlock\tn/a\tn/a")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    meta: dict[str, dict[str, dict[str, int]]] = {}
    for sound in SOUNDS.values():
        parts = {part: {"onset": onset, "duration": n} for part, (onset, n) in sound.parts.items()}
        meta.setdefault(sound.task, {}).update(parts)
    (folder / "code" / "event_meta.json").write_text(json.dumps(meta))
    (folder / "code" / "scan_exclude.json").write_text(json.dumps({"lucy": {}, **EXCLUDED}))
    (folder / "code" / "task_meta.json").write_text("{}")


def _stimulus(folder: Path, audio: str, sound: Sound) -> None:
    place = folder / "gentle" / audio
    place.mkdir(parents=True)
    rows = []
    for i, onset in enumerate(word_times(audio)):
        # one word has no times, one an unknown form; the first of pieman was aligned to the music
        word = f"{audio[0]}word{i}" if i != 3 else "I\u2019m"
        if i == 6:
            rows.append(f"{word},,,")
        elif audio == "pieman" and i == 0:
            rows.append(f"{word},{word},0.3,0.5")
        else:
            rows.append(f"{word},{'<unk>' if i == 5 else word},{onset},{onset + 0.4:.2f}")
    (place / "align.csv").write_bytes("\r\n".join(rows).encode() + b"\r\n")
    rate, seconds = 400, sound.n_volumes * sound.tr - sound.wav_offset
    rng = np.random.default_rng(len(audio))
    samples = rng.normal(0, 3000, int(seconds * rate))
    samples *= np.repeat(rng.uniform(0.01, 1, int(seconds) + 1), rate)[: len(samples)]
    wavfile.write(folder / f"{audio}_audio.wav", rate, samples.astype(np.int16))


def _sidecars(folder: Path, name: str, audio: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sound = SOUNDS[audio]
    (folder / f"{name}_bold.json").write_text(
        json.dumps({"RepetitionTime": sound.tr, "TaskName": sound.task})
    )
    lines = ["onset\tduration\ttrial_type\tstim_file"]
    if sound.wav_offset in (0.0, 4.5):
        lines.append(f"{sound.wav_offset}\t2.0\tmusic\t{audio}_audio.wav")
    for onset, duration in sound.parts.values():
        start = onset * sound.tr if sound.wav_offset in (0.0, 4.5) else sound.wav_offset
        lines.append(f"{start}\t{duration * sound.tr}\tstory\t{audio}_audio.wav")
    (folder / f"{name}_events.tsv").write_text("\n".join(lines) + "\n")


def _volume(path: Path, audio: str, seed: int, series: np.ndarray | None = None) -> None:
    affine, origin, shape = GRIDS["pieman" if audio == "pieman" else "other"]
    affine = affine.copy()
    affine[:3, 3] = origin
    weight = np.random.default_rng(seed).uniform(0.5, 1.5, shape[0])[:, None, None, None]
    series = planted_response(audio) - 0.1 if series is None else series
    data = np.broadcast_to(weight * 1000 * series, (*shape, len(series))).astype(np.int16)
    nib.Nifti1Image(data, affine).to_filename(path)


def _surface(path: Path, audio: str, side: str) -> None:
    weight = np.repeat([1.0, 2.0, 0.5], N_VERTICES // 3).astype(np.float32)
    weight[MEDIAL_WALL] = np.nan if side == "L" else 0.0
    arrays = [
        nib.gifti.GiftiDataArray((weight * value).astype(np.float32), intent="NIFTI_INTENT_TIME_SERIES")
        for value in planted_response(audio) - 0.1
    ]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)


def _unclean(folder: Path) -> None:
    """One scan of fmriprep: the planted word under motion, a drift and a table of confounds."""
    place = folder / "derivatives" / "fmriprep" / "sub-002" / "func"
    place.mkdir(parents=True)
    name, n = "sub-002_task-pieman", SOUNDS["pieman"].n_volumes
    motion = np.random.default_rng(3).normal(size=(n, 2))
    series = planted_response("pieman") + motion @ [2.0, -3.0] + 5
    _volume(
        place / f"{name}_space-MNI152NLin2009cAsym_res-native_desc-preproc_bold.nii.gz", "pieman", 1, series
    )
    rows = ["trans_x\trot_z\ttrans_x_derivative1"]
    for i, (x, z) in enumerate(motion):
        change = "n/a" if i == 0 else f"{x - motion[i - 1, 0]:.9f}"
        rows.append(f"{x:.9f}\t{z:.9f}\t{change}")
    (place / f"{name}_desc-confounds_regressors.tsv").write_text("\n".join(rows) + "\n")


def ready(root, **options):
    options = {"atlas": "dosenbach", "strict": False, "cache": None, "progress": False, **options}
    datamodule = NarrativesDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def planted_series(datamodule, name):
    """The predicted and the observed series of one story, from its planted word's indicator alone."""
    responses = datamodule.responses
    part = {"slumlord": 0, "reach": 1}.get(name, 0)
    audio = CLOCKS[name].audio
    row = planted_words(audio)[part] - (10 if name == "reach" else 0)
    feature = torch.zeros(len(responses.stimulus_ids), 1)
    (column,) = (i for i, s in enumerate(responses.stimulus_ids) if s.startswith(f"{name}_{row:05d}_"))
    feature[column] = 1.0
    rows = responses.runs == [story.name for story in datamodule.stories()].index(name)
    observed = responses.group_mean[rows]
    return responses.carry(feature)[rows], observed[:, ~observed.isnan().any(dim=0)]
