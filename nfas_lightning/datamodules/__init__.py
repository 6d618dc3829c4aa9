"""Benchmarks as LightningDataModules: stimuli in batches, responses beside them.

A folder here is one benchmark: its reader, its datamodule, where it comes from and what is checked of it.
Its ``__init__.py`` declares it, see `nfas_lightning.datamodules.catalogue.benchmark`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfas_lightning.datamodules.algonauts2021.algonauts_datamodule import Algonauts2021DataModule
    from nfas_lightning.datamodules.alice.alice_datamodule import AliceDataModule
    from nfas_lightning.datamodules.array import ArrayDataModule
    from nfas_lightning.datamodules.base import BrainDataModule
    from nfas_lightning.datamodules.bold_moments.bold_moments_datamodule import BoldMomentsDataModule
    from nfas_lightning.datamodules.catalogue.benchmark import Benchmark
    from nfas_lightning.datamodules.clips.clip_datamodule import ClipDataModule
    from nfas_lightning.datamodules.folder import FolderDataModule
    from nfas_lightning.datamodules.little_prince.little_prince_datamodule import LittlePrinceDataModule
    from nfas_lightning.datamodules.narratives.narratives_datamodule import NarrativesDataModule
    from nfas_lightning.datamodules.natural_sounds.natural_sounds_datamodule import NaturalSoundsDataModule
    from nfas_lightning.datamodules.recordings.epochs_datamodule import EpochsDataModule
    from nfas_lightning.datamodules.recordings.neuralset_datamodule import NeuralSetDataModule
    from nfas_lightning.datamodules.recordings.recording_datamodule import RecordingDataModule
    from nfas_lightning.datamodules.simulated.film import SimulatedFilmDataModule
    from nfas_lightning.datamodules.simulated.recording import SimulatedRecordingDataModule
    from nfas_lightning.datamodules.simulated.simulated_datamodule import SimulatedBrainDataModule
    from nfas_lightning.datamodules.stories.story_datamodule import StoryDataModule
    from nfas_lightning.datamodules.streams import StreamsDataModule

# loaded on first use: what asks for a benchmark's files alone does without Lightning
SHARED = {
    "ArrayDataModule": "array",
    "BrainDataModule": "base",
    "ClipDataModule": "clips.clip_datamodule",
    "EpochsDataModule": "recordings.epochs_datamodule",
    "FolderDataModule": "folder",
    "NeuralSetDataModule": "recordings.neuralset_datamodule",
    "RecordingDataModule": "recordings.recording_datamodule",
    "SimulatedFilmDataModule": "simulated.film",
    "SimulatedRecordingDataModule": "simulated.recording",
    "StoryDataModule": "stories.story_datamodule",
    "StreamsDataModule": "streams",
}

__all__ = [
    "Algonauts2021DataModule",
    "AliceDataModule",
    "ArrayDataModule",
    "BoldMomentsDataModule",
    "BrainDataModule",
    "ClipDataModule",
    "EpochsDataModule",
    "FolderDataModule",
    "LittlePrinceDataModule",
    "NarrativesDataModule",
    "NaturalSoundsDataModule",
    "NeuralSetDataModule",
    "RecordingDataModule",
    "SimulatedBrainDataModule",
    "SimulatedFilmDataModule",
    "SimulatedRecordingDataModule",
    "StoryDataModule",
    "StreamsDataModule",
]


def __getattr__(name: str) -> Any:
    if name in SHARED:
        found = getattr(import_module(f"{__name__}.{SHARED[name]}"), name)
    elif not name.startswith("_") and (benchmark := _benchmark_classes().get(name)) is not None:
        found = benchmark.load("datamodule")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # kept: a command asks some eighty times, and every search reads what all distributions register
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    return sorted({*globals(), *SHARED, *_benchmark_classes()})


def _benchmark_classes() -> dict[str, Benchmark]:
    """Benchmarks by the name of their datamodule, those that other distributions bring too."""
    from nfas_lightning.datamodules.catalogue.benchmark import benchmarks

    return {b.datamodule.rpartition(":")[2]: b for b in benchmarks().values() if b.datamodule}
