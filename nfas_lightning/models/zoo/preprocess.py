"""From an entry's preprocessing to the callable that feeds its network."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.models.base import ModelInputs, Preprocess
from nfas_lightning.models.batch import prefix_mask
from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import AudioPreprocess, ClipPreprocess, ImagePreprocess, TextPreprocess

__all__ = ["PatchedAudioPreprocess", "RepeatedAudioPreprocess", "build_preprocess"]


def build_preprocess(values: Mapping[str, Any], tokenizer: Callable[[], Any]) -> Preprocess:
    """Return the preprocessing that an entry describes.

    Args:
        values: ``kind`` and its arguments, one of

            - ``image``: those of `ImagePreprocess`;
            - ``clip``: those of `ClipPreprocess`;
            - ``audio``: ``extractor``, a feature extractor class of transformers, its ``options``, and the
              arguments of `AudioPreprocess`;
            - ``patched_audio`` and ``repeated_audio``: ``extractor`` and ``options``;
            - ``text``: ``max_length`` and ``prefix`` of `TextPreprocess`.
        tokenizer: brings the tokenizer, and is called for ``text`` alone: the others need no file.

    Raises:
        ValueError: an unknown kind.
        TypeError: an argument that the kind does not take.
    """
    rest = {key: value for key, value in values.items() if key != "kind"}
    kind = values["kind"]
    if kind == "image":
        return ImagePreprocess(**_pixels(rest))
    if kind == "clip":
        return ClipPreprocess(rest.pop("frames"), ImagePreprocess(**_pixels(rest)))
    if kind == "text":
        return TextPreprocess(tokenizer(), **rest)
    kinds = {
        "audio": AudioPreprocess,
        "patched_audio": PatchedAudioPreprocess,
        "repeated_audio": RepeatedAudioPreprocess,
    }
    if kind not in kinds:
        raise ValueError(
            f"preprocessing: kind must be one of image, clip, text, {', '.join(kinds)}, got {kind!r}."
        )
    extractor_class = getattr(require("transformers", "audio"), rest.pop("extractor"))
    with warnings.catch_warnings():
        # AST was trained with 128 mel bands, of which the lowest hold no frequency of its spectrum
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        extractor = extractor_class(**rest.pop("options", {}))
    preprocess: Preprocess = kinds[kind](extractor.sampling_rate, extractor, **rest)
    return preprocess


def _pixels(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ImagePreprocess`; YAML has lists where it takes pairs."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class _WindowedAudio(AudioPreprocess, ABC):
    """Audio for extractors that fill a window of fixed length, and would silently cut what is longer."""

    window: int
    """Longest sound, in samples."""

    def _extract(self, sounds: list[Tensor], lengths: Tensor) -> ModelInputs:
        self._check_window(lengths, self.window)
        waves = [sound.numpy() for sound in sounds]
        features = self.feature_extractor(waves, sampling_rate=self.sampling_rate, return_tensors="pt")
        return ModelInputs(kwargs=dict(features), mask=self._tokens(lengths))

    @abstractmethod
    def _tokens(self, lengths: Tensor) -> Tensor | None:
        """The mask (B, K) over the network's tokens for sounds of so many samples; None: all are sound."""


class PatchedAudioPreprocess(_WindowedAudio):
    """Filterbanks of a fixed window, cut into patches (the Audio Spectrogram Transformer).

    The mask shows patches that lie wholly inside the sound; class and distillation tokens are never in it.
    A sound shorter than one patch shows the first.
    """

    _FRAME, _HOP = 400, 160  # samples, of the filterbank at 16 kHz
    _PATCH, _STRIDE = 16, 10  # frames, and mel bands
    _SPECIAL_TOKENS = 2

    def __init__(self, sampling_rate: int, feature_extractor: Any) -> None:
        super().__init__(sampling_rate, feature_extractor)
        self.n_frames = int(feature_extractor.max_length)
        self.window = self._FRAME + (self.n_frames - 1) * self._HOP

    def _tokens(self, lengths: Tensor) -> Tensor:
        bands = (int(self.feature_extractor.num_mel_bins) - self._PATCH) // self._STRIDE + 1
        steps = (self.n_frames - self._PATCH) // self._STRIDE + 1
        frames = (lengths - self._FRAME) // self._HOP + 1
        real = prefix_mask(((frames - self._PATCH) // self._STRIDE + 1).clamp(1, steps), steps)
        special = torch.zeros(len(lengths), self._SPECIAL_TOKENS, dtype=torch.bool)
        return torch.cat([special, real.repeat(1, bands)], dim=1)  # bands outermost, time inside


class RepeatedAudioPreprocess(_WindowedAudio):
    """Mel features of a fixed window that a short sound fills by repetition (CLAP): every token is sound."""

    def __init__(self, sampling_rate: int, feature_extractor: Any) -> None:
        super().__init__(sampling_rate, feature_extractor)
        self.window = int(feature_extractor.nb_max_samples)

    def _tokens(self, lengths: Tensor) -> None:
        return None
