"""What every benchmark offers: stimuli in batches, and the responses that pair with them."""

from __future__ import annotations

import inspect
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet, warn_of_repeats
from nfas_lightning.data.stimuli.timing import Windows
from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import check_count
from nfas_lightning.lightning_packages import LightningDataModule
from nfas_lightning.notebook import card
from nfas_lightning.writing import cache_dir


class BrainDataModule(LightningDataModule):
    """Base of the benchmarks: subclasses say how to `load` stimuli and responses.

    The same stimuli, in the same order, come from the validation, test and prediction loaders; a batch's
    ``stimulus_id`` is the index into `Responses.stimulus_ids`. Nothing is read in the constructor.

    Args:
        batch_size: stimuli per batch.
        num_workers: worker processes of the loaders.
        subjects: names of the subjects to keep; None: all.
        event_rate: where stimuli are events of a time series, make their rate a nuisance, see
            `Responses.with_event_rate`.
    """

    def __init__(
        self,
        *,
        batch_size: int = 16,
        num_workers: int = 0,
        subjects: list[str] | None = None,
        event_rate: bool = True,
    ) -> None:
        super().__init__()
        check_count("batch_size", batch_size, 1)
        check_count("num_workers", num_workers)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.subjects = subjects
        self.event_rate = event_rate
        self._stimuli: StimulusSet | None = None
        self._responses: Responses | None = None

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save arguments as Lightning does, but tuples as lists and paths as text.

        YAML has neither: loggers write them with tags of Python's own, which a safe reader of hparams.yaml
        refuses.
        """
        if frame is None and (current := inspect.currentframe()) is not None:
            frame = current.f_back
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, logger=logger)
        self.hparams.update(_as_yaml(self.hparams))

    @property
    def hparams_initial(self) -> Any:
        """A copy of the arguments as they were saved, which loggers write."""
        initial = super().hparams_initial
        initial.update(_as_yaml(initial))
        return initial

    @abstractmethod
    def load(self) -> tuple[StimulusSet, Responses]:
        """Read or make the stimuli and the responses; called once, by `setup`."""

    def setup(self, stage: str | None = None) -> None:
        """Load stimuli and responses once, whatever the stage and however often it is called."""
        if self._responses is not None:
            return
        stimuli, responses = self.load()
        if len(stimuli) != len(responses.stimulus_ids):
            raise InputError(
                f"Every stimulus needs one name: got {len(stimuli)} stimuli and "
                f"{len(responses.stimulus_ids)} names."
            )
        if responses.identical is None and not _is_speech(stimuli, responses):
            first = stimuli.identical()
            warn_of_repeats(first, responses.stimulus_ids, None if responses.design else responses.runs)
        self._stimuli = stimuli
        self._responses = responses.with_event_rate() if self.event_rate else responses

    @property
    def responses(self) -> Responses:
        """The responses; there after `setup`."""
        if self._responses is None:
            raise FailureError(f"{type(self).__name__} has no responses yet: call setup() first.")
        return self._responses

    @property
    def stimuli(self) -> StimulusSet:
        """The stimuli; there after `setup`."""
        if self._stimuli is None:
            raise FailureError(f"{type(self).__name__} has no stimuli yet: call setup() first.")
        return self._stimuli

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows before a run: counts, names and units."""
        return self.responses.describe()

    def _repr_html_(self) -> str:
        if self._responses is None:
            return card(
                type(self).__name__, {"responses": "not read yet: setup() reads them", **self.hparams}
            )
        return card(type(self).__name__, self.describe())

    def val_dataloader(self) -> DataLoader[Any]:
        """All stimuli, in order."""
        return self._loader()

    def test_dataloader(self) -> DataLoader[Any]:
        """All stimuli, in order."""
        return self._loader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """All stimuli, in order; under DDP the only loader whose sampler repeats none of them."""
        return self._loader()

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self.stimuli,
            batch_size=self.batch_size,
            shuffle=False,
            num_workers=self.num_workers,
            collate_fn=self.stimuli.collate,
        )


def _is_speech(stimuli: StimulusSet, responses: Responses) -> bool:
    """Tell whether stimuli are the words or the windows of a story: words and pauses come again there."""
    if not responses.design:
        return False
    if isinstance(stimuli.items, Windows):
        return True
    return responses.modality == "language" and stimuli[0][1].span is not None


def _as_yaml(value: Any) -> Any:
    """Return a value as plain YAML has it."""
    if isinstance(value, Mapping):
        return {key: _as_yaml(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_as_yaml(held) for held in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def parcel_cache(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder of the parcel cache, None for none.

    Args:
        cache: a folder, in which ``~`` is the user's home; None for none; ``"auto"``: ``parcels`` in
            ``NFAS_CACHE`` or the user's cache folder.

    Example:
        >>> parcel_cache("~/parcels") == Path.home() / "parcels"
        True
    """
    if cache is None:
        return None
    return cache_dir() / "parcels" if cache == "auto" else Path(cache).expanduser()
