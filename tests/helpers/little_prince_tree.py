"""A small tree in the layout of The Little Prince (ds003643): four subjects, an 8 mm grid, planted words."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.io import wavfile

from nfas_lightning.datamodules import LittlePrinceDataModule
from nfas_lightning.functional.hrf import hrf

TR = 2.0
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
AFFINE[:3, 3] = -72, -106, -64  # the origin of the real grid
GRID = (18, 23, 19)
SUBJECTS = {
    "EN057": range(15, 24),
    "EN059": (1, 2, 3, 5, 6, 7, 8, 9, 10),
    "CN013": range(4, 13),
    "FR001": range(1, 10),
}
VOLUMES = (20, 24, 22, 21, 23, 20, 25, 22, 24)
PLANTED_WORD = 5
WORDS = {
    "EN": ["once", "when", "i", "was", "six", "little", "it", "s", "hasnt", ""],
    "CN": ["当", "我", "六岁", "的", "时候", "看见", "一幅", "画", "在", "书"],
    "FR": ["lorsque", "j'", "avais", "six", "ans", "j'", "ai", "vu", "une", "image"],
}


def word_table(language: str) -> pd.DataFrame:
    """Ten words a section, 2.5 s apart; each section's clock starts anew and is a little different."""
    rows = []
    for section in range(1, 10):
        for i, word in enumerate(WORDS[language]):
            onset = 0.1 * section + 2.5 * i
            rows.append((word, word, round(onset, 3), round(onset + 0.4, 3), section))
    return pd.DataFrame(rows, columns=["word", "lemma", "onset", "offset", "section"])


def planted_onset(language: str, section: int) -> float:
    """Seconds at which the planted word of a section is heard."""
    return 0.1 * section + 2.5 * PLANTED_WORD


def planted_response(language: str, section: int, n_volumes: int) -> np.ndarray:
    """The word convolved with a response, as each volume sees it: volume k is taken at k * TR."""
    import torch

    times = torch.arange(n_volumes, dtype=torch.float64) * TR
    return hrf(times - planted_onset(language, section)).numpy()


def write_little_prince(root: Path, *, bad: bool = False) -> Path:
    """Write ds003643/ below `root`.

    Args:
        root: an existing folder.
        bad: also write sub-EN060, one of whose runs is a git-annex pointer.
    """
    folder = root / "ds003643"
    subjects = {**SUBJECTS, **({"EN060": range(1, 10)} if bad else {})}
    _tables(folder, subjects)
    for language in WORDS:
        _annotation(folder / "annotation" / language, language)
        _sounds(folder / "stimuli", language)
    for number, (subject, runs) in enumerate(subjects.items()):
        _scans(folder, subject, list(runs), seed=number)
    if bad:
        pointer = _derivative(folder, "EN060", 9)
        pointer.write_text("/annex/objects/MD5E-s76000000--0123456789abcdef.nii.gz\n")
    # raw has runs that the derivatives have not
    for run in (1, 2, 3):
        raw = folder / "sub-EN059" / "func" / f"sub-EN059_task-lppEN_run-{run:02d}_echo-1_bold.nii.gz"
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_bytes(b"decoy")
    return folder


def _tables(folder: Path, subjects: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    lines = ["participant_id\tage\tsex", *(f"sub-{name}\t25\tF" for name in (*subjects, "EN099"))]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def _annotation(folder: Path, language: str) -> None:
    folder.mkdir(parents=True)
    table = word_table(language)
    path = folder / f"lpp{language}_word_information.csv"
    # CRLF, and a leading index, as in the release; the mark at the start is what other exports add
    table.to_csv(path, lineterminator="\r\n", encoding="utf-8-sig" if language == "FR" else "utf-8")
    for section in range(1, 10):
        rows = table[(table["section"] == section) & (table["word"] != "")]
        intervals, end = [], 0.0
        for word, start, stop in zip(rows["word"], rows["onset"], rows["offset"], strict=True):
            intervals += [(end, start, "#"), (start, stop, word)]
            end = stop
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
        lines += [
            "tiers? <exists>",
            "size = 1",
            "item []:",
            "    item [1]:",
            '        class = "IntervalTier"',
        ]
        lines += [f'        name = "{language}"', "        xmin = 0", f"        xmax = {end}"]
        lines.append(f"        intervals: size = {len(intervals)}")
        for i, (start, stop, label) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{i}]:",
                f"            xmin = {start}",
                f"            xmax = {stop}",
            ]
            lines.append(f'            text = "{label}"')
        (folder / f"lpp{language}_section{section}.TextGrid").write_text("\n".join(lines), encoding="utf-8")


def _sounds(folder: Path, language: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rate = 400
    for section, n_volumes in enumerate(VOLUMES, 1):
        rng = np.random.default_rng(section)
        samples = rng.normal(0, 3000, int(n_volumes * TR * rate))
        samples *= np.repeat(rng.uniform(0.01, 1, n_volumes * 2), rate)
        name = f"section-{section}" if language == "EN" else f"section_{section}"
        wavfile.write(folder / f"task-lpp{language}_{name}.wav", rate, samples.astype(np.int16))


def _derivative(folder: Path, subject: str, run: int) -> Path:
    name = f"sub-{subject}_task-lpp{subject[:2]}_run-{run:02d}_space-MNIColin27_desc-preproc_bold.nii.gz"
    return folder / "derivatives" / f"sub-{subject}" / "func" / name


def _scans(folder: Path, subject: str, runs: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # a level a slab, which gzip packs well
    weight = np.broadcast_to(rng.uniform(0.5, 1.5, GRID[0])[:, None, None], GRID).copy()
    weight[:, :, -2:] = 0  # background
    for section, run in enumerate(runs, 1):
        n = VOLUMES[section - 1]
        series = 1000 + 4000 * planted_response(subject[:2], section, n)
        path = _derivative(folder, subject, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image((weight[..., None] * series).astype(np.int16), AFFINE).to_filename(path)


def ready(root, **options):
    options = {"atlas": "dosenbach", "strict": False, "cache": None, "progress": False, **options}
    datamodule = LittlePrinceDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


_LOADED = {}


def loaded(root, **options):
    """`ready`, once for each choice of options: the tree behind `root` stays as it is."""
    key = (str(root), repr(sorted(options.items())))
    if key not in _LOADED:
        _LOADED[key] = ready(root, **options)
    return _LOADED[key]


def derivative(folder, subject, run):
    return next((folder / "derivatives" / subject).rglob(f"*_run-{run:02d}_*"))
