"""Parcellations that data roots hold beside the benchmarks: no stimuli, no responses."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

BENCHMARK = Benchmark(
    name="atlases",
    title="parcellations: Schaefer, or label images and annotations of your own",
    modality="any",
    license="each its own",
    size="a few MB each",
    access="nfas data get (by default schaefer400; also schaefer200, schaefer100), through nilearn",
    reference="doi:10.1093/cercor/bhx179",
    folder="atlases",
    signs=("*.annot", "schaefer_2018", "*parcellation*.nii*", "*atlas*.nii*"),
    counts=(("annotations", "*.annot"), ("label images", "**/*.nii*")),
    check=f"{__name__}.atlases_source:atlas_rows",
    source=f"{__name__}.atlases_source:SOURCE",
)
