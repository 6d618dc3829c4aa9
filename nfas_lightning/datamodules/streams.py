"""Several streams of stimuli on the same responses: a film's pictures, sound and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.errors import FailureError, InputError, InputTypeError
from nfas_lightning.functional.folds import connected_groups

if TYPE_CHECKING:
    from nfas_lightning.models import FrozenModel

__all__ = ["StreamsDataModule", "stream_of"]


class StreamsDataModule(BrainDataModule):
    """Benchmarks that share their responses, one per modality: every network reads the stream of its own.

    Networks of all modalities are scored on the same responses and folds, beside the nuisances of all
    streams, so a difference between modalities is none between benchmarks.

    Args:
        streams: datamodules by modality (``"vision"``, ``"audio"``, ``"language"``). Subjects, ROIs, runs and
            responses must be equal; stimuli, their times and nuisances are each stream's own.
        dataset: name of the benchmark; None: that of the streams, which must then have one name.

    Raises:
        ValueError: fewer than two streams, or an unknown modality.
        TypeError: something that is no datamodule.
    """

    def __init__(self, streams: dict[str, BrainDataModule], *, dataset: str | None = None) -> None:
        super().__init__()
        unknown = sorted(set(streams) - set(MODALITIES))
        if unknown or len(streams) < 2:
            raise InputError(
                f"streams must give at least two datamodules by modality ({', '.join(MODALITIES)}), got "
                f"{list(streams)}."
            )
        for modality, stream in streams.items():
            if not isinstance(stream, BrainDataModule):
                raise InputTypeError(
                    f"streams must be BrainDataModules, got {type(stream).__name__} for {modality!r}."
                )
        self.streams, self.dataset = dict(streams), dataset

    def prepare_data(self) -> None:
        """Let every stream check or download its files."""
        for stream in self.streams.values():
            stream.prepare_data()

    def load(self) -> tuple[StimulusSet, Responses]:
        """Refuse: each stream loads its own."""
        raise FailureError("A StreamsDataModule loads in setup(), stream by stream.")

    def setup(self, stage: str | None = None) -> None:
        """Load every stream once, check that the responses agree, and give each the nuisances of all.

        Raises:
            ValueError: streams with different responses, or of another modality than stated.
        """
        if self._responses is not None:
            return
        for stream in self.streams.values():
            stream.setup(stage)
        found = {modality: stream.responses for modality, stream in self.streams.items()}
        _check_same(found, self.dataset)
        nuisances, names = _joined_nuisances(found)
        gap = max(responses.gap for responses in found.values())
        identical = _joined_identical(found)
        first, *_ = found.values()
        for modality, responses in found.items():
            self.streams[modality]._responses = replace(
                responses,
                dataset=self.dataset or first.dataset,
                nuisances=nuisances,
                nuisance_names=names,
                gap=gap,
                identical=identical,
                noise_ceiling=first.noise_ceiling,
                subject_ceilings=first.subject_ceilings,
            )
        whole = self.streams[next(iter(found))].responses
        self._responses = replace(whole, modality=", ".join(found))

    def stream(self, modality: str) -> BrainDataModule:
        """Return the benchmark of one modality, with the responses and nuisances that all share.

        Raises:
            ValueError: there is no such stream.
        """
        if modality not in self.streams:
            raise InputError(
                f"This benchmark has streams of {', '.join(self.streams)}, got a network of modality "
                f"{modality!r}: leave it out, or name what it reads, modality={next(iter(self.streams))!r}."
            )
        return self.streams[modality]

    @property
    def stimuli(self) -> StimulusSet:
        """Refuse: there are several sets."""
        raise InputError(
            f"This benchmark has {len(self.streams)} sets of stimuli: take one of its streams, such as "
            f"datamodule.stream({next(iter(self.streams))!r})."
        )

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows before a run; stimuli are counted over all streams."""
        whole = self.streams[next(iter(self.streams))].describe()
        counts = [len(stream.responses.stimulus_ids) for stream in self.streams.values()]
        nuisances = list(self.responses.nuisance_names)
        return {**whole, "modality": self.responses.modality, "stimuli": sum(counts), "nuisances": nuisances}


def stream_of(datamodule: BrainDataModule, model: FrozenModel) -> BrainDataModule:
    """Return the benchmark whose stimuli a model reads: of several streams, that of its modality."""
    if not isinstance(datamodule, StreamsDataModule):
        return datamodule
    return datamodule.stream(model.info.modality)


def _check_same(found: Mapping[str, Responses], dataset: str | None) -> None:
    """Raise unless streams share what they are scored on."""
    (name, first), *others = found.items()
    for modality, responses in found.items():
        if responses.modality != modality:
            raise InputError(
                f"The stream {modality!r} holds stimuli of modality {responses.modality!r}: name it so."
            )
    for other, responses in others:
        differs = {
            "subjects": responses.subjects != first.subjects,
            "ROIs": list(responses.rois["roi"]) != list(first.rois["roi"]),
            "runs": not torch.equal(responses.runs, first.runs),
            "tr": responses.tr != first.tr,
            "volume times": not _equal(responses.volume_times, first.volume_times),
            "responses": not _equal(responses.values, first.values),
            "drifts": not _equal(responses.drifts, first.drifts),
            "dataset": dataset is None and responses.dataset != first.dataset,
        }
        if wrong := [what for what, is_other in differs.items() if is_other]:
            advice = " Name the whole, dataset=..." if wrong == ["dataset"] else ""
            raise InputError(
                f"Streams must share everything but stimuli, and {name!r} and {other!r} differ in their "
                f"{', '.join(wrong)}.{advice}"
            )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _joined_nuisances(found: Mapping[str, Responses]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return the nuisances (T, Q) of all streams, equal columns once, and their names."""
    kept: list[tuple[str, str, Tensor]] = []
    for modality, responses in found.items():
        if responses.nuisances is not None:
            for name, column in zip(responses.nuisance_names, responses.nuisances.T, strict=True):
                if not any(_equal(column, known) for _, _, known in kept):
                    kept.append((modality, name, column))
    if not kept:
        return None, ()
    plain = [name for _, name, _ in kept]
    names = tuple(f"{modality}_{name}" if plain.count(name) > 1 else name for modality, name, _ in kept)
    return torch.stack([column for _, _, column in kept], dim=1), names


def _joined_identical(found: Mapping[str, Responses]) -> Tensor | None:
    """Return labels (T,) of rows that any stream keeps in one fold."""
    labels = [responses.identical for responses in found.values() if responses.identical is not None]
    if not labels or any(responses.design for responses in found.values()):
        return None
    joined = labels[0]
    for other in labels[1:]:
        joined = connected_groups(joined, other)
    return joined
