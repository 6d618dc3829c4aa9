"""The benchmarks as one table: what each is, under which license, how large, and how it is had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CATALOGUE", "Entry"]


@dataclass(frozen=True)
class Entry:
    """One benchmark, or the atlases.

    Attributes:
        name: what the commands call it.
        folder: its folder below a data root.
        what: stimuli and responses in a few words.
        modality: vision, audio or language; several joined by a comma.
        license: as its source states it.
        size: as its source states it.
        access: who brings it here: ``nfas data get``, a form, DataLad.
        reference: DOI of the description.
        signs: glob patterns below the folder, any of which tells that the benchmark lies there.
        counts: what `glance` counts, and the pattern that finds it.
        terms: how to get it, where `nfas data get` may not or can't; shown as it stands.
    """

    name: str
    folder: str
    what: str
    modality: str
    license: str
    size: str
    access: str
    reference: str
    signs: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]
    terms: str = ""

    def lies_in(self, folder: Path) -> bool:
        """Tell whether `folder` is this benchmark's own; names alone are looked at."""
        return any(next(folder.glob(sign), None) is not None for sign in self.signs)

    def glance(self, folder: Path) -> str:
        """Say in a few words what is there, without opening a file."""
        found = ((label, _count(folder, pattern)) for label, pattern in self.counts)
        return ", ".join(f"{n:,} {label}" for label, n in found if n) or "none of its files"


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))


_ALGONAUTS = """\
Algonauts 2021 is given out by its authors, through a form, and may not be passed on: nothing was downloaded.

  1. Read the terms: non-commercial research and education alone, no redistribution of any part.
  2. Fill in the data form of the Algonauts Project 2021 Challenge: section Data Release of
     http://algonauts.csail.mit.edu/2021/challenge.html; the challenge's development kit links to it as
     https://forms.gle/qq9uqqu6SwN8ytxQ9. It leads to participants_data.zip.
  3. Unpack it so that the folder looks like this:

       {folder}/
         AlgonautsVideos268_All_30fpsmax/NNNN_*.mp4                        1102 clips
         participants_data_v2021/full_track/sub01 ... sub10/WB.pkl
         participants_data_v2021/mini_track/sub01 ... sub10/V1.pkl, V2.pkl, V3.pkl, V4.pkl, LOC.pkl, EBA.pkl,
                                                            FFA.pkl, STS.pkl, PPA.pkl

  4. nfas data check {root}

The same experiment is also published as BOLD Moments (OpenNeuro ds005165), in another layout."""

_BOLD_MOMENTS = """\
The clips of BOLD Moments are not in OpenNeuro's bucket: the authors give them out to whoever agrees to their
terms.

  1. Read the terms at https://boldmomentsdataset.csail.mit.edu/stimuli_metadata, and take the stimulus set.
  2. Put its folder stimuli/ here: {folder}/stimuli/train/0001.mp4 ... 1000.mp4, stimuli/test/1001.mp4 ...
     1102.mp4. Its mp4_h264/0001.mp4 ... will do as well.
  3. nfas data check {root}

The whole brain's files, 3 GB a subject, are left out: nothing public says where their voxels lie."""

_NARRATIVES = """\
Preprocessed scans and word timings of Narratives are not in OpenNeuro's bucket: they come by DataLad
(`pip install datalad`; git-annex is needed beside it). A subject and story at a time is possible:

  datalad clone https://datasets.datalad.org/labs/hasson/narratives {folder}
  cd {folder}
  datalad get stimuli code participants.tsv
  datalad get -n derivatives/afni-nosmooth
  datalad get derivatives/afni-nosmooth/sub-*/func/*_task-pieman_*space-fsaverage6_hemi-?_desc-clean.func.gii

Then: nfas data check {root}
The sounds are there for non-commercial scholarly research, as the authors say, not under CC0."""

_ALICE = """\
By hand, the release of Brennan et al. (2016) is a pair of archives that the lab's page links to:

  1. https://sites.lsa.umich.edu/cnllab/2016/06/11/data-sharing-fmri-timecourses-story-listening/
     Take the data (alice_data_shared) and the stimuli (alice_stim_shared); CC BY 4.0.
  2. Unpack both into one folder, DIR.
  3. nfas data get alice --root {root} --source DIR

The last step reads the text files and the TextGrid and writes what the benchmark reads into {folder}."""

_NATURAL_SOUNDS = """\
The sounds and components of Norman-Haignere et al. (2015) state no license, so they are neither downloaded
nor passed on: nothing was downloaded.

  - The authors keep the sounds at https://mcdermottlab.mit.edu/svnh/Natural-Sound/Stimuli.html; ask them for
    the components' responses (doi:10.1016/j.neuron.2015.11.035).
  - The benchmark reads two archives of plain arrays:

       {folder}/
         components.npz    R (165, 6), component_names (6,), stim_names (165,)
         sounds_16k.npz    audio (165, 32000) int16, sr, names (165,)"""

CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "algonauts2021",
            "algonauts2021",
            "1,102 clips of 3 s; whole brain and 9 ROIs of 10 subjects",
            "vision",
            "non-commercial, no redistribution",
            "one zip",
            "a form",
            "arXiv:2104.13714",
            ("AlgonautsVideos268_All_30fpsmax", "participants_data_v2021"),
            (
                ("clips", "AlgonautsVideos268_All_30fpsmax/*.mp4"),
                ("mini-track files", "participants_data_v2021/mini_track/sub*/*.pkl"),
                ("whole brains", "participants_data_v2021/full_track/sub*/WB.pkl"),
            ),
            _ALGONAUTS,
        ),
        Entry(
            "bold_moments",
            "ds005165",
            "1,102 clips of 3 s, test set included; 22 functional ROIs of 10 subjects",
            "vision",
            "CC0; the clips have terms of their own",
            "about 2.4 GB as read here",
            "nfas data get (responses); a form (clips)",
            "doi:10.1038/s41467-024-50310-3",
            ("derivatives/versionA/MNI152/prepared_data",),
            (
                ("clips", "stimuli/t*/*.mp4"),
                ("clips", "**/mp4_h264/*.mp4"),
                ("ROI files", "derivatives/versionA/**/TRavg56789/sub-*/[!W]*_allvoxel.pkl"),
            ),
            _BOLD_MOMENTS,
        ),
        Entry(
            "narratives",
            "ds002345",
            "27 spoken stories, 345 listeners",
            "audio, language",
            "CC0; the sounds are for non-commercial research",
            "144 GB raw",
            "nfas data get (raw, sounds); DataLad (the rest)",
            "doi:10.1038/s41597-021-01033-3",
            (
                "stimuli/gentle",
                "stimuli/*_audio.wav",
                "code/scan_exclude.json",
                "derivatives/afni-*smooth",
                "sub-[0-9][0-9][0-9]/func",
            ),
            (
                ("sounds", "stimuli/*_audio.wav"),
                ("word tables", "stimuli/gentle/*/align.csv"),
                ("raw scans", "sub-*/func/*_bold.nii.gz"),
                ("clean surfaces", "derivatives/afni-*/sub-*/func/*hemi-*.func.gii"),
                ("clean volumes", "derivatives/afni-*/sub-*/func/*_desc-clean_bold.nii.gz"),
            ),
            _NARRATIVES,
        ),
        Entry(
            "little_prince",
            "ds003643",
            "an audiobook in English, Chinese and French; 112 listeners",
            "audio, language",
            "CC0",
            "234 GB; derivatives 77 GB",
            "nfas data get",
            "doi:10.1038/s41597-022-01625-7",
            (
                "annotation/[ECF][NR]",
                "stimuli/task-lpp*",
                "derivatives/sub-[ECF][NR]*",
                "sub-[ECF][NR][0-9]*",
            ),
            (
                ("sounds", "stimuli/task-lpp*.wav"),
                ("word tables", "annotation/*/lpp*_word_information.csv"),
                ("listeners", "derivatives/sub-*"),
                ("scans", "derivatives/sub-*/func/*_desc-preproc_bold.nii.gz"),
            ),
        ),
        Entry(
            "alice",
            "alice_fmri",
            "12 minutes of a story; 6 ROIs of 27 listeners",
            "language",
            "CC BY 4.0",
            "about 1 MB as read here",
            "nfas data get",
            "doi:10.1016/j.bandl.2016.04.008",
            ("words.csv", "alice_chapter1.txt"),
            (("series", "roi_timeseries.npz"), ("word table", "words.csv"), ("text", "alice_chapter1.txt")),
            _ALICE,
        ),
        Entry(
            "natural_sounds",
            "natsound165",
            "165 sounds of 2 s; 6 components of auditory cortex",
            "audio",
            "none stated",
            "about 8 MB as read here",
            "the authors",
            "doi:10.1016/j.neuron.2015.11.035",
            ("components.npz", "sounds_16k.npz"),
            (("components", "components.npz"), ("sounds", "sounds_16k.npz")),
            _NATURAL_SOUNDS,
        ),
        Entry(
            "atlases",
            "atlases",
            "parcellations: Schaefer, or label images and annotations of your own",
            "any",
            "each its own",
            "a few MB each",
            "nfas data get (through nilearn)",
            "doi:10.1093/cercor/bhx179",
            ("*.annot", "schaefer_2018", "*parcellation*.nii*", "*atlas*.nii*"),
            (("annotations", "*.annot"), ("label images", "**/*.nii*")),
        ),
    )
}
"""Benchmarks by name."""
