"""BOLD Moments: 1,102 clips of three seconds, test set included; ten subjects, 22 functional ROIs."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

_REST = """\
The clips of BOLD Moments are not in OpenNeuro's bucket: the authors give them out to whoever agrees to their
terms.

  1. Read the terms at https://boldmomentsdataset.csail.mit.edu/stimuli_metadata, and take the stimulus set.
  2. Put its folder stimuli/ here: {folder}/stimuli/train/0001.mp4 ... 1000.mp4, stimuli/test/1001.mp4 ...
     1102.mp4. Its mp4_h264/0001.mp4 ... will do as well.
  3. nfas data check {root}

The whole brain's files, 3 GB per subject, are left out: nothing public says where their voxels lie."""

BENCHMARK = Benchmark(
    name="bold_moments",
    title="1,102 clips of 3 s, test set included; 22 functional ROIs of 10 subjects",
    modality="vision",
    license="CC0; the clips have terms of their own",
    size="about 2.4 GB as read here",
    access="nfas data get (by default metadata, responses); a form (clips)",
    reference="doi:10.1038/s41467-024-50310-3",
    datamodule=f"{__name__}.bold_moments_datamodule:BoldMomentsDataModule",
    folder="ds005165",
    signs=("derivatives/versionA/MNI152/prepared_data",),
    counts=(
        ("clips", "stimuli/t*/*.mp4"),
        ("clips", "**/mp4_h264/*.mp4"),
        ("ROI files", "derivatives/versionA/**/TRavg56789/sub-*/[!W]*_allvoxel.pkl"),
    ),
    check=f"{__name__}.bold_moments_reader:bold_moments_rows",
    source=f"{__name__}.bold_moments_source:SOURCE",
    rest=_REST,
)
