"""The Little Prince: nine sections of an audiobook in three languages, 112 listeners."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

BENCHMARK = Benchmark(
    name="little_prince",
    title="an audiobook in English, Chinese and French; 112 listeners",
    modality="audio, language",
    license="CC0",
    size="234 GB; derivatives 77 GB",
    access="nfas data get (by default metadata, stimuli, annotation, derivatives; also raw, anat)",
    reference="doi:10.1038/s41597-022-01625-7",
    datamodule=f"{__name__}.little_prince_datamodule:LittlePrinceDataModule",
    folder="ds003643",
    signs=(
        "annotation/[ECF][NR]",
        "stimuli/task-lpp*",
        "derivatives/sub-[ECF][NR]*",
        "sub-[ECF][NR][0-9]*",
    ),
    counts=(
        ("sounds", "stimuli/task-lpp*.wav"),
        ("word tables", "annotation/*/lpp*_word_information.csv"),
        ("listeners", "derivatives/sub-*"),
        ("scans", "derivatives/sub-*/func/*_desc-preproc_bold.nii.gz"),
    ),
    check=f"{__name__}.little_prince_check:little_prince_rows",
    source=f"{__name__}.little_prince_source:SOURCE",
)
