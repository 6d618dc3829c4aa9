"""Narratives: 27 spoken stories and 345 listeners."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

_REST = """\
Preprocessed scans and word timings of Narratives are not in OpenNeuro's bucket: they come by DataLad
(`pip install datalad`; git-annex is needed beside it). You can take one subject and story at a time:

  datalad clone https://datasets.datalad.org/labs/hasson/narratives {folder}
  cd {folder}
  datalad get stimuli code participants.tsv
  datalad get -n derivatives/afni-nosmooth
  datalad get derivatives/afni-nosmooth/sub-*/func/*_task-pieman_*space-fsaverage6_hemi-?_desc-clean.func.gii

Then: nfas data check {root}
The sounds are there for non-commercial scholarly research, as the authors say, not under CC0."""

BENCHMARK = Benchmark(
    name="narratives",
    title="27 spoken stories, 345 listeners",
    modality="audio, language",
    license="CC0; the sounds are for non-commercial research",
    size="144 GB raw",
    access="nfas data get (by default metadata, stimuli; also events, raw, anat); DataLad (the rest)",
    reference="doi:10.1038/s41597-021-01033-3",
    datamodule=f"{__name__}.narratives_datamodule:NarrativesDataModule",
    folder="ds002345",
    signs=(
        "stimuli/gentle",
        "stimuli/*_audio.wav",
        "code/scan_exclude.json",
        "derivatives/afni-*smooth",
        "sub-[0-9][0-9][0-9]/func",
    ),
    counts=(
        ("sounds", "stimuli/*_audio.wav"),
        ("word tables", "stimuli/gentle/*/align.csv"),
        ("raw scans", "sub-*/func/*_bold.nii.gz"),
        ("clean surfaces", "derivatives/afni-*/sub-*/func/*hemi-*.func.gii"),
        ("clean volumes", "derivatives/afni-*/sub-*/func/*_desc-clean_bold.nii.gz"),
    ),
    check=f"{__name__}.narratives_check:narratives_rows",
    source=f"{__name__}.narratives_source:SOURCE",
    rest=_REST,
)
