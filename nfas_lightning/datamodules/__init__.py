"""Benchmarks as LightningDataModules: stimuli in batches, responses beside them."""

from nfas_lightning.datamodules.algonauts2021 import Algonauts2021DataModule
from nfas_lightning.datamodules.alice import AliceDataModule
from nfas_lightning.datamodules.array import ArrayDataModule
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.bold_moments import BoldMomentsDataModule
from nfas_lightning.datamodules.clips import ClipDataModule
from nfas_lightning.datamodules.folder import FolderDataModule
from nfas_lightning.datamodules.little_prince import LittlePrinceDataModule
from nfas_lightning.datamodules.narratives import NarrativesDataModule
from nfas_lightning.datamodules.natural_sounds import NaturalSoundsDataModule
from nfas_lightning.datamodules.simulated import SimulatedBrainDataModule
from nfas_lightning.datamodules.story import StoryDataModule

__all__ = [
    "Algonauts2021DataModule",
    "AliceDataModule",
    "ArrayDataModule",
    "BoldMomentsDataModule",
    "BrainDataModule",
    "ClipDataModule",
    "FolderDataModule",
    "LittlePrinceDataModule",
    "NarrativesDataModule",
    "NaturalSoundsDataModule",
    "SimulatedBrainDataModule",
    "StoryDataModule",
]
