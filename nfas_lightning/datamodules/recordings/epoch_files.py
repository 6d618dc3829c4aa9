"""Epochs of one subject, as MNE holds or reads them: presentations by channels by lags, and their stimuli."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.event_tables import STIMULUS_COLUMNS
from nfas_lightning.data.files import require_file
from nfas_lightning.datamodules.recordings.sensors import require_mne
from nfas_lightning.errors import InputError, InputTypeError, NFASError

__all__ = [
    "EpochOptions", "Presentations", "marked_events", "naming_option", "open_recording", "read_presentations",
]  # fmt: skip

_WHOLE = (-0.1, 0.6)  # seconds of epochs that are cut from a continuous recording


class EpochOptions(NamedTuple):
    """How epochs are cut and prepared, see `EpochsDataModule`."""

    stimulus: str | None = None
    event_names: Mapping[str, str] | None = None
    picks: Any = "data"
    tmin: float | None = None
    tmax: float | None = None
    baseline: tuple[float | None, float | None] | None = None
    decimate: int = 1
    reject: Mapping[str, float] | None = None


class Presentations(NamedTuple):
    """What one subject's brain did at each presentation.

    Attributes:
        data: (P, C, K) float32, bad channels NaN.
        names: P stimuli.
        info: `mne.Info` of the C channels.
        times: (K,) seconds after onset.
    """

    data: Tensor
    names: tuple[str, ...]
    info: Any
    times: Any


def read_presentations(source: Any, options: EpochOptions) -> Presentations:
    """Read and prepare one subject's epochs; what was given is not changed.

    Baseline correction comes first, then rejection, cropping and decimation.

    Args:
        source: `mne.Epochs`, a list of `mne.Evoked`, an `mne.io.Raw`, an `mne_bids.BIDSPath`, or a path.
        options: see `EpochOptions`.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: none of these.
        ValueError: no epoch is left, or nothing names the stimuli.
    """
    mne = require_mne()
    with mne.utils.use_log_level("ERROR"):
        epochs, names = _epochs(mne, source, options)
        kept = [place for place, name in enumerate(names) if name is not None]
        if isinstance(epochs, list):
            epochs = [epochs[place].copy() for place in kept]
            names = [names[place] for place in kept]
        else:
            # rejection takes epochs out: their names go with them
            epochs = epochs[kept]
            epochs.metadata = pd.DataFrame({"stimulus": [names[place] for place in kept]})
        _check_left(len(epochs), source)
        several = epochs if isinstance(epochs, list) else [epochs]
        for part in several:
            with naming_option("baseline", options.baseline):
                if options.baseline is not None:
                    part.apply_baseline(options.baseline)
            with naming_option("picks", options.picks):
                part.pick(options.picks, exclude=())
        if options.reject is not None:
            if isinstance(epochs, list):
                raise InputError(
                    "reject takes epochs out by their amplitude, and averages have none: leave it out."
                )
            with naming_option("reject", options.reject):
                epochs.drop_bad(reject=dict(options.reject))
            _check_left(len(epochs), source)
        for part in several:
            _check_inside(options, part)
            low, high = (
                None if limit is None else float(np.clip(limit, part.tmin, part.tmax))
                for limit in (options.tmin, options.tmax)
            )
            part.crop(low, high)
            if options.decimate > 1:
                part.decimate(options.decimate)
        if isinstance(epochs, list):
            _check_alike(epochs)
            data, first = np.stack([part.data for part in epochs]), epochs[0]
        else:
            data, first, names = epochs.get_data(), epochs, list(epochs.metadata["stimulus"])
    bad = [place for place, name in enumerate(first.ch_names) if name in first.info["bads"]]
    values = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    values[:, bad] = float("nan")
    return Presentations(values, tuple(map(str, names)), first.info, first.times)


def open_recording(source: Any) -> Any:
    """Open a continuous recording: an `mne.io.Raw`, an `mne_bids.BIDSPath` or the path of a file."""
    mne = require_mne()
    if isinstance(source, mne.io.BaseRaw):
        return source
    if hasattr(source, "fpath"):  # an mne_bids.BIDSPath, which also marks bad channels
        import mne_bids

        return mne_bids.read_raw_bids(source)
    if isinstance(source, str | os.PathLike):
        with naming_option("A recording", source):
            return mne.io.read_raw(require_file(Path(source).expanduser()))
    raise InputTypeError(
        "A recording must be mne.io.Raw, an mne_bids.BIDSPath or the path of a file that MNE reads, got "
        f"{type(source).__name__}."
    )


def _epochs(mne: Any, source: Any, options: EpochOptions) -> tuple[Any, list[str | None]]:
    """Return epochs, or a list of averages, and the stimulus of each, None for other events."""
    if isinstance(source, str | os.PathLike) and not hasattr(source, "fpath"):
        path = require_file(Path(source).expanduser())
        stem = path.name.removesuffix(".gz").removesuffix(".fif")
        if path.name != stem and stem.endswith(("epo", "epo-1")):
            source = mne.read_epochs(path)
        elif path.name != stem and stem.endswith("ave"):
            source = mne.read_evokeds(path)
        elif path.suffix == ".set" and _is_epoched(path):
            source = mne.read_epochs_eeglab(path)
    if isinstance(source, mne.Evoked):
        source = [source]
    if isinstance(source, list | tuple):
        if not source or not all(isinstance(part, mne.Evoked) for part in source):
            raise InputTypeError(
                "A list for one subject must hold mne.Evoked, one average per stimulus, got "
                f"{type(source[0]).__name__ if source else 'an empty one'}. Join runs by "
                "mne.concatenate_epochs."
            )
        return list(source), _named([part.comment for part in source], options)
    if isinstance(source, mne.BaseEpochs):
        called = {number: name for name, number in source.event_id.items()}
        source = source.copy().load_data()  # which takes out what was to be rejected
        described = [called[number] for number in source.events[:, 2]]
        return source, _stimuli(source.metadata, described, options)
    raw = open_recording(source)
    if hasattr(source, "fpath"):
        table = _bids_events(source)
        samples = raw.first_samp + raw.time_as_index(table["onset"].to_numpy(float), use_rounding=True)
        described = [str(name) for name in table.get("trial_type", [""] * len(table))]
    else:
        table = None
        samples, described = marked_events(mne, raw)
    names = _stimuli(table, described, options)
    shown = [place for place, name in enumerate(names) if name is not None]
    _check_left(len(shown), source)
    events = np.zeros((len(shown), 3), dtype=int)
    events[:, 0], events[:, 2] = samples[shown], 1
    low, high = options.tmin, options.tmax
    low, high = _WHOLE[0] if low is None else low, _WHOLE[1] if high is None else high
    if options.baseline is not None and options.baseline[0] is not None:
        low = min(low, options.baseline[0])
    metadata = pd.DataFrame({"stimulus": [names[place] for place in shown]})
    epochs = mne.Epochs(raw, events, tmin=low, tmax=high, baseline=None, metadata=metadata, preload=True)
    return epochs, list(epochs.metadata["stimulus"])


def marked_events(mne: Any, raw: Any) -> tuple[Any, list[str]]:
    """Return samples and names of annotations, or where there are none, of a stimulus channel's triggers."""
    events, numbers = mne.events_from_annotations(raw)
    called = {number: name for name, number in numbers.items()}
    if not len(events) and len(mne.pick_types(raw.info, meg=False, stim=True)):
        events = mne.find_events(raw)
    return events[:, 0], [called.get(number, str(number)) for number in events[:, 2]]


def _stimuli(table: pd.DataFrame | None, described: list[str], options: EpochOptions) -> list[str | None]:
    """Return the stimulus of each event: of a column of its table, else what the event is called."""
    if options.stimulus is not None and (table is None or options.stimulus not in table):
        there = [] if table is None else list(table)
        raise InputError(
            f"stimulus must be a column of the epochs' metadata, {there}, got {options.stimulus!r}."
        )
    columns = [options.stimulus] if options.stimulus else list(STIMULUS_COLUMNS)
    for column in columns:
        if table is not None and column in table:
            return _named(table[column], options)
    return _named(described, options)


def _named(labels: Any, options: EpochOptions) -> list[str | None]:
    texts = [None if pd.isna(label) or str(label) in ("", "n/a") else str(label) for label in labels]
    if options.event_names is None:
        return texts
    known = {str(event): str(stimulus) for event, stimulus in options.event_names.items()}
    return [None if text is None else known.get(text) for text in texts]


def _bids_events(path: Any) -> pd.DataFrame:
    file = path.copy().update(suffix="events", extension=".tsv", split=None).fpath
    return pd.read_csv(require_file(Path(file)), sep="\t", dtype=dict.fromkeys(STIMULUS_COLUMNS, str))


def _is_epoched(path: Path) -> bool:
    """Whether an EEGLAB file holds epochs: MNE's reader of continuous ones refuses them."""
    mne = require_mne()
    try:
        mne.io.read_raw_eeglab(path)
    except TypeError:
        return True
    return False


@contextmanager
def naming_option(name: str, value: Any) -> Iterator[None]:
    """Name the option that MNE refuses."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, NFASError):
            raise
        raise InputError(f"{name} must be as MNE takes it, got {value!r}: {error}") from error


def _check_inside(options: EpochOptions, part: Any) -> None:
    """Refuse lags that the epochs lack: what is cut is what was asked for, never less."""
    slack = 0.51 / part.info["sfreq"]  # MNE takes the nearest sample
    for name, limit in (("tmin", options.tmin), ("tmax", options.tmax)):
        if limit is not None and not part.tmin - slack <= limit <= part.tmax + slack:
            raise InputError(
                f"{name} must lie in the epochs, {part.tmin:g} to {part.tmax:g} s after onset, got "
                f"{limit:g}: cut longer epochs, or ask for less."
            )


def _check_alike(averages: list[Any]) -> None:
    for part in averages:
        if part.ch_names != averages[0].ch_names or len(part.times) != len(averages[0].times):
            raise InputError(
                "Averages of one subject must have the same channels and times, got "
                f"{len(averages[0].ch_names)} x {len(averages[0].times)} and {len(part.ch_names)} x "
                f"{len(part.times)} ({part.comment!r})."
            )


def _check_left(count: int, source: Any) -> None:
    if not count:
        raise InputError(
            f"{_called(source)} has no epoch left: all were rejected, or none of its events names a stimulus "
            "(see event_names)."
        )


def _called(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"The {type(source).__name__}"
