"""Algonauts 2021: 1,102 clips of three seconds, ten subjects, whole brain or nine functional ROIs."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

_BY_HAND = """\
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

BENCHMARK = Benchmark(
    name="algonauts2021",
    title="1,102 clips of 3 s; whole brain and 9 ROIs of 10 subjects",
    modality="vision",
    license="non-commercial, no redistribution",
    size="one zip",
    access="a form",
    reference="arXiv:2104.13714",
    datamodule=f"{__name__}.algonauts_datamodule:Algonauts2021DataModule",
    folder="algonauts2021",
    signs=("AlgonautsVideos268_All_30fpsmax", "participants_data_v2021"),
    counts=(
        ("clips", "AlgonautsVideos268_All_30fpsmax/*.mp4"),
        ("mini-track files", "participants_data_v2021/mini_track/sub*/*.pkl"),
        ("whole brains", "participants_data_v2021/full_track/sub*/WB.pkl"),
    ),
    check=f"{__name__}.algonauts_reader:algonauts_rows",
    by_hand=_BY_HAND,
)
