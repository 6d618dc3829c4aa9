"""Toy tones: random sounds and random responses to them, a benchmark in one folder."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

BENCHMARK = Benchmark(
    name="toy_tones",
    title="12 sounds; 3 ROIs of one mean subject",
    modality="audio",
    license="CC0",
    size="80 kB",
    access="made by hand",
    reference="docs/adding_a_benchmark.md",
    datamodule=f"{__name__}.toy_tones_datamodule:ToyTonesDataModule",
    folder="toy_tones",
    signs=("tones.npz",),
    counts=(("archive", "tones.npz"),),
    check=f"{__name__}.toy_tones_check:toy_tones_rows",
    by_hand="Write {folder}/tones.npz yourself: tones (12, 1600), responses (12, 3).",
)
