"""Simulated brains: real or generated stimuli, features that no network computed, and responses to them."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

BENCHMARK = Benchmark(
    name="simulated",
    title="planted responses to images, sounds or texts; 300 ROIs",
    modality="vision, audio, language",
    license="Apache-2.0",
    size="nothing on disk",
    access="made when it is used",
    reference="docs/data.md",
    datamodule=f"{__name__}.simulated_datamodule:SimulatedBrainDataModule",
    by_hand="SimulatedBrainDataModule makes its data when it is used: there is nothing to get.",
)
