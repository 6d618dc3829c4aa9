"""A benchmark's stimuli as a dataset, and which of them come several times."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nfas_lightning.data.stimuli.acoustics import check_sampling_rate
from nfas_lightning.data.stimuli.captioned import Captioned
from nfas_lightning.data.stimuli.collate import Collate
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_option

Modality = Literal["vision", "audio", "language"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
MEDIA = "png|jpe?g|bmp|gif|tiff?|webp|mp4|avi|mov|mkv|webm|wav|flac|mp3|ogg"
_FILE_NAME = re.compile(
    rf"^\S.*\.({MEDIA}|heic|m4[av]|aac|npy|npz|mat|pt|txt|csv|tsv|nii(\.gz)?)$", re.IGNORECASE
)


def guess_modality(stimuli: Any, sampling_rate: int | None = None) -> str:
    """Return the modality of the first stimulus, or raise where it could be several.

    Text is language, (3, H, W) or, for the frames of a clip, (F, 3, H, W) is vision, and samples in one
    dimension are audio if `sampling_rate` is given.
    """
    first = _unwrap(_as_sequence(stimuli)[0])
    first = first.image if isinstance(first, Captioned) else first
    _check_no_files([first])
    if isinstance(first, str | TextStimulus):
        return "language"
    shape = tuple(getattr(first, "shape", ()))
    if len(shape) in (3, 4) and shape[-3] == 3:
        return "vision"
    if len(shape) == 1 and sampling_rate is not None:
        return "audio"
    hint = "Pass modality='vision', 'audio' or 'language'."
    if len(shape) in (3, 4) and shape[-1] == 3:
        hint = "Move the color axis in front of the height."
    elif len(shape) == 2 or (len(shape) in (3, 4) and shape[-3] == 1):
        hint = "If it is a gray image, repeat it three times: (3, H, W). Pass modality= if it is not."
    elif len(shape) == 1:
        hint = "Pass sampling_rate= in Hz if it is sound."
    raise InputError(
        "modality is not clear from the first stimulus: expected a string or TextStimulus (language), a (3, "
        "H, W) image or (F, 3, H, W) clip (vision) or (K,) samples with sampling_rate=Hz (audio), got "
        f"{type(first).__name__} of shape {shape}. {hint}"
    )


def own_rate(stimuli: Any, sampling_rate: int | None) -> int | None:
    """Return the sampling rate of sounds: the one given, or that of their dataset; both must agree."""
    own = None if isinstance(stimuli, pd.Series | Tensor) else getattr(stimuli, "sampling_rate", None)
    if own is not None and sampling_rate not in (None, own):
        raise InputError(
            f"sampling_rate must be that of the stimuli, {own} Hz, got {sampling_rate}: leave it out."
        )
    return own if sampling_rate is None else sampling_rate


def _as_sequence(stimuli: Any) -> Any:
    """Return stimuli that go by place: a column of a table gives its values, whatever its labels."""
    if isinstance(stimuli, pd.Series):
        stimuli = stimuli.tolist()
    if isinstance(stimuli, pd.DataFrame | Mapping):
        raise InputTypeError(
            f"stimuli must be one sequence, got a {type(stimuli).__name__} with {[*map(str, stimuli)][:5]}: "
            "give the column that holds them."
        )
    if isinstance(stimuli, str) or not hasattr(stimuli, "__len__") or not hasattr(stimuli, "__getitem__"):
        raise InputTypeError(
            "stimuli must be a tensor, a list or a map-style Dataset (with __len__ and __getitem__), got "
            f"{type(stimuli).__name__}. Turn an iterable into a list."
        )
    if len(stimuli) == 0:
        raise InputError("stimuli must hold at least one stimulus, got none.")
    return stimuli


def _check_no_files(stimuli: Sequence[Any]) -> None:
    """Refuse stimuli all of which are names of files."""
    if all(isinstance(s, os.PathLike) or (isinstance(s, str) and _FILE_NAME.search(s)) for s in stimuli):
        raise InputError(
            f"stimuli must hold the stimuli themselves, got the file name {str(stimuli[0])!r}. Read files "
            "with ImageFiles, ClipFiles or SoundFiles of nfas_lightning.data, and texts with Path.read_text; "
            "TextStimulus(text) is a text whatever it looks like."
        )


class StimulusSet(Dataset[tuple[int, Any]]):
    """N stimuli of one modality, checked one by one as they are read.

    Args:
        items: N images, clips (the frames of each), waveforms or texts: a tensor, a sequence, a column of a
            table, or a map-style dataset whose entries are the stimulus, a tuple that starts with it, or a
            mapping with ``image``, ``audio`` or ``text``, or with image and text: pictures with captions, see
            `CaptionedImages`. An object with a method ``sha256()`` is hashed by
            it, not read.
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        sampling_rate: Hz, required for audio.
        as_clips: batches of clips hold ``clip`` alone, no frames as images; see `Collate`.

    Example:
        >>> StimulusSet(["a cat", "a dog"], "language")[1]
        (1, TextStimulus(text='a dog', span=None))
    """

    def __init__(
        self, items: Any, modality: str, sampling_rate: int | None = None, *, as_clips: bool = False
    ) -> None:
        check_option("modality", modality, MODALITIES)
        items = _as_sequence(items)
        if modality == "audio":
            if sampling_rate is None:
                raise InputError("Audio stimuli need sampling_rate, a number of Hz, got None.")
            check_sampling_rate(sampling_rate)
        if modality == "language" and isinstance(items, list | tuple):
            _check_no_files(items)
        self.items = items
        self.modality = modality
        self.sampling_rate = sampling_rate
        self.as_clips = as_clips

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, _READERS[self.modality](_unwrap(self.items[index]), index)

    @property
    def collate(self) -> Collate:
        """The function that makes a batch of a list of entries."""
        return Collate(self.modality, self.sampling_rate, as_clips=self.as_clips)

    def sha256(self) -> str:
        """Hash every stimulus: reads all of them once, unless they have a hash of their own."""
        digest = hashlib.sha256(f"{self.modality} {self.sampling_rate}".encode())
        if hasattr(self.items, "sha256"):
            digest.update(self.items.sha256().encode())
        elif isinstance(self.items, Tensor):
            digest.update(f"{self.items.dtype} {tuple(self.items.shape)}".encode())
            digest.update(np.ascontiguousarray(self.items.numpy(force=True)).data)
        else:
            digest.update(b"".join(self._digests))
        return digest.hexdigest()

    def identical(self) -> Tensor:
        """Return the place of the first stimulus with the same content, (N,): its own, where there is none.

        Stimuli of an object that hashes itself (`sha256()` without `hashes`) are taken to differ.
        """
        if hasattr(self.items, "hashes"):
            return first_places(self.items.hashes)
        return torch.arange(len(self)) if hasattr(self.items, "sha256") else first_places(self._digests)

    @cached_property
    def _digests(self) -> tuple[bytes, ...]:
        """The sha256 of each stimulus: all are read once."""
        digests = []
        for index in range(len(self)):
            item = self.items[index] if isinstance(self.items, Tensor) else self[index][1]
            if isinstance(item, Captioned):
                digest = hashlib.sha256(f"{item.text.text}\0{tuple(item.image.shape)}".encode())
                digest.update(np.ascontiguousarray(item.image.numpy(force=True)).data)
            elif isinstance(item, TextStimulus):
                digest = hashlib.sha256(f"{item.text}\0{item.span}\0".encode())
            else:
                digest = hashlib.sha256(f"{tuple(item.shape)}".encode())
                digest.update(np.ascontiguousarray(item.numpy(force=True)).data)
            digests.append(digest.digest())
        return tuple(digests)


def _unwrap(item: Any) -> Any:
    """Take the stimulus out of what a dataset may return around it."""
    if isinstance(item, Mapping):
        found = [key for key in ("image", "audio", "text") if key in item]
        if found == ["image", "text"]:
            return Captioned(item["image"], item["text"])
        if len(found) != 1:
            raise InputError(
                "A mapping of a stimulus dataset must have exactly one of image, audio or text, or image and "
                f"text, got the keys {sorted(map(str, item))}."
            )
        return item[found[0]]
    return item[0] if isinstance(item, tuple) else item


def _as_tensor(item: Any, index: int) -> Tensor:
    if np.ma.is_masked(item):
        raise InputError(f"Stimulus {index} must be whole, got a masked array: fill in what was shown.")
    return torch.as_tensor(item)


def _as_text(item: Any, index: int) -> TextStimulus:
    if isinstance(item, str):
        return TextStimulus(item)
    if not isinstance(item, TextStimulus):
        raise InputTypeError(
            f"Stimulus {index} must be a string or a TextStimulus, got {type(item).__name__}."
        )
    return item


def _as_picture(item: Any, index: int) -> Tensor | Captioned:
    if not isinstance(item, Captioned):
        return _as_image(item, index)
    return Captioned(_as_image(item.image, index), _as_text(item.text, index))


def _as_image(item: Any, index: int) -> Tensor:
    image = _as_tensor(item, index)
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or image.numel() == 0:
        raise InputError(
            f"Stimulus {index} must be an RGB image of shape (3, H, W), or a clip of shape (F, 3, H, W), got "
            f"{tuple(image.shape)}."
        )
    if image.dtype == torch.uint8:
        return image.float() / 255
    image = image.float()
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):  # also catches NaN
        raise InputError(
            f"Stimulus {index} must lie in [0, 1], got [{low:.3g}, {high:.3g}]: give uint8, or divide by 255."
        )
    return image


def _as_audio(item: Any, index: int) -> Tensor:
    wave = _as_tensor(item, index)
    wave = wave.float() / (32768 if wave.dtype == torch.int16 else 1)
    if wave.ndim != 1 or len(wave) == 0:
        raise InputError(f"Stimulus {index} must be mono samples of shape (K,), got {tuple(wave.shape)}.")
    peak = float(wave.abs().max())
    if not peak <= 1.0:  # also catches NaN
        raise InputError(f"Stimulus {index} must lie in [-1, 1], got a peak of {peak:.3g}: divide by it.")
    return wave


_READERS = {"vision": _as_picture, "audio": _as_audio, "language": _as_text}


def first_places(contents: Sequence[Hashable]) -> Tensor:
    """Return where each content comes first, (N,)."""
    place: dict[Hashable, int] = {}
    return torch.tensor([place.setdefault(content, i) for i, content in enumerate(contents)])


def warn_of_repeats(first: Tensor, ids: Sequence[str], runs: Tensor | None) -> None:
    """Warn of stimuli that are identical to another one that folds may part from them.

    First is (N,) of `first_places`, runs the (N,) run of each stimulus, or None in a time series.
    """
    together = torch.zeros_like(first) if runs is None else runs.to(first.device)
    sets = pd.Series(range(len(first))).groupby(first.tolist()).agg(list)
    several = [places for places in sets if len(places) > 1]
    if len(torch.unique(together)) > 1:  # whole runs are held out
        several = [places for places in several if len(torch.unique(together[places])) > 1]
    if not several:
        return
    advice = "estimate one response per stimulus, the mean over its repetitions"
    if runs is not None:
        advice = (
            "average their responses; or groups='identical' of ArrayDataModule and FolderDataModule keeps "
            "them in one fold"
        )
    warnings.warn(
        f"{sum(map(len, several))} of {len(first)} stimuli are identical to another one, {len(several)} "
        f"contents in all, such as {[ids[place] for place in several[0][:3]]}. If folds part them, scores "
        f"are too high: {advice}.",
        stacklevel=3,
    )
