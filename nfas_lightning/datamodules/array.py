"""Your own data: stimuli and responses that are already in memory, in ten lines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from nfas_lightning.data.in_memory import InMemory
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import Modality, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule


class ArrayDataModule(BrainDataModule):
    """Stimuli and responses that you already have.

    Without `events`, row t of the responses is the response to stimulus t. With `events` and `tr`, the
    responses are time series: volume t of each run was taken t * `tr` seconds after the run began (or at
    `volume_times`), and onsets are on the same clock. Row i of `events` is stimulus i, not the i-th that was
    presented, unless a column names the stimulus of each event. All subjects share one table of events.

    Pandas tables are paired by their index where two have the same labels (for responses, these may also be
    `stimulus_ids` or file names), else row by row. An unsorted index that matches nothing, as that of a
    shuffled table, is an error.

    Args:
        stimuli: N of them: a tensor (N, 3, H, W) in [0, 1], a list or Series of strings or `TextStimulus`, a
            list of (K,) waveforms, or a map-style dataset of such.
        responses: (T, R), or (S, T, R) for S subjects, or a list of tables, one per subject; a table's
            columns name the ROIs. NaN, or the mask of a masked array, marks missing values.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: told from the first stimulus.
        sampling_rate: Hz, for audio; None: that of `SoundFiles` or of the windows of `audio_stimuli`.
        carrier: phrase around each text, for single words, such as ``"The word is {}"``: the word's own
            tokens are pooled, see `carried`. None: texts as they are.
        runs: (T,) run of each row, numbers or any labels; None: one run.
        groups: ``"identical"`` keeps the responses to stimuli of the same content in one fold, where each row
            is the response to one stimulus; None: contiguous rows, or whole runs, are held out.
        rois: R names, or a table with a column ``roi`` (and network, hemisphere, x, y, z in MNI mm, if
            known); in any order where the columns of the responses have names. None: the columns of a
            `responses` table, else numbers, ``roi_000``; such a run can't be joined with other responses.
        events: table, mapping, or path of a csv or tsv file, with ``onset`` (s) and, if known, ``duration``
            (s) and ``run`` (labels as in `runs`). Without a duration, sounds and `ClipFiles` last as long as
            they are, and everything else is an instant. N rows, stimulus by stimulus; or any number of rows
            and a column that names the stimulus of each: ``stim_file``, as in BIDS, holds file names of
            `ImageFiles`, `ClipFiles` or `SoundFiles`, or `stimulus_ids`; ``stimulus`` holds `stimulus_ids`
            or, without those, places from 0. The events of one stimulus are summed.
        tr: repetition time in seconds; required with `events`.
        volume_times: (T,) seconds since the start of the run; None: multiples of `tr`.
        temporal: ``"hrf"``, ``"fir"`` or ``"none"``; None: ``"hrf"`` with `events`, else ``"none"``.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        nuisances: (T, Q) regressors, a tensor or a table whose columns name them.
        noise_ceiling: (R,) correlation that an ideal model of the subjects' mean could reach, if you know it.
        stimulus_ids: N unique labels of any kind, which become strings; None: numbers.
        subject_names: S unique labels, likewise; None: numbers.
        dataset: name of the benchmark in the results.
        **options: of `BrainDataModule`: batch_size, num_workers, subjects and event_rate.

    Raises:
        ValueError: at `setup`, with what was expected and what came, if counts, shapes or options disagree.

    Example:
        >>> import torch
        >>> images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> datamodule = ArrayDataModule(images, torch.zeros(20, 2), rois=["V1", "V2"], dataset="mine")
        >>> datamodule.setup()
        >>> datamodule.responses.values.shape, datamodule.describe()["modality"]
        (torch.Size([1, 20, 2]), 'vision')
    """

    def __init__(
        self,
        stimuli: Any,
        responses: ArrayLike | Tensor,
        *,
        modality: Modality | None = None,
        sampling_rate: int | None = None,
        carrier: str | None = None,
        runs: Sequence[Any] | ArrayLike | Tensor | None = None,
        groups: Literal["identical"] | None = None,
        rois: Sequence[str] | pd.DataFrame | None = None,
        events: pd.DataFrame | Mapping[str, ArrayLike] | str | os.PathLike[str] | None = None,
        tr: float | None = None,
        volume_times: ArrayLike | Tensor | None = None,
        temporal: Literal["hrf", "fir", "none"] | None = None,
        hrf: Literal["spm", "glover"] = "spm",
        delays: Sequence[int] = (1, 2, 3, 4),
        nuisances: pd.DataFrame | ArrayLike | Tensor | None = None,
        noise_ceiling: ArrayLike | Tensor | None = None,
        stimulus_ids: Sequence[Any] | ArrayLike | Tensor | None = None,
        subject_names: Sequence[Any] | ArrayLike | Tensor | None = None,
        dataset: str = "array",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.given = InMemory(
            stimuli,
            responses,
            modality=modality,
            sampling_rate=sampling_rate,
            carrier=carrier,
            runs=runs,
            groups=groups,
            rois=rois,
            events=events,
            tr=tr,
            volume_times=volume_times,
            temporal=temporal,
            hrf=hrf,
            delays=delays,
            nuisances=nuisances,
            noise_ceiling=noise_ceiling,
            stimulus_ids=stimulus_ids,
            subject_names=subject_names,
            dataset=dataset,
        )

    def load(self) -> tuple[StimulusSet, Responses]:
        """Check and pair what the constructor was given."""
        return self.given.pair(self.subjects)
