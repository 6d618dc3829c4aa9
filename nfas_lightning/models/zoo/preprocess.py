"""From an entry's preprocessing to the callable that feeds its network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.models.base import ModelInputs
from nfas_lightning.models.batch import batch_field, prefix_mask
from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import AudioPreprocess, ImagePreprocess, TextPreprocess

__all__ = ["ClipPreprocess", "PatchedAudioPreprocess", "RepeatedAudioPreprocess", "build_preprocess"]

Preprocess = Callable[[Mapping[str, Any]], ModelInputs]


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
    size = values["size"]
    return {**values, "size": tuple(size) if isinstance(size, list) else size}


class ClipPreprocess:
    """Choose frames of a clip, evenly spaced, and prepare each as an image.

    Args:
        frames: how many frames the network reads.
        image: preprocessing of one frame.

    Example:
        >>> image = ImagePreprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> ClipPreprocess(8, image)({"clip": torch.rand(2, 20, 3, 40, 50)}).args[0].shape
        torch.Size([2, 8, 3, 32, 32])
    """

    def __init__(self, frames: int, image: ImagePreprocess) -> None:
        self.frames, self.image = frames, image

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return pixels (B, frames, 3, height, width); a still image is a clip that does not move.

        Clips come as ``clip``, or frame after frame in ``image`` with ``n_frames``, where lengths may differ.
        """
        if "clip" in batch:
            clips = batch["clip"]
            if clips.ndim != 5 or clips.shape[2] != 3:
                raise ValueError(f"clip must have shape (B, F, 3, H, W), got {tuple(clips.shape)}.")
        else:
            image = batch_field(batch, "image")
            counts = torch.as_tensor(batch.get("n_frames", torch.ones(len(image)))).long()
            clips = torch.split(image, counts.tolist())
        chosen = torch.cat([self._spaced(clip) for clip in clips])
        pixels = self.image({"image": chosen}).args[0]
        return ModelInputs(args=(pixels.unflatten(0, (len(clips), self.frames)),))

    def _spaced(self, clip: Tensor) -> Tensor:
        """The frames in the middle of so many equal parts of the clip."""
        middles = (torch.arange(self.frames) + 0.5) * len(clip) / self.frames
        return clip[middles.long()]


class _WindowedAudio(AudioPreprocess):
    """Audio for extractors that fill a window of fixed length, and would silently cut what is longer."""

    window: int
    """Longest sound, in samples."""

    def _extract(self, sounds: list[Tensor], lengths: Tensor) -> ModelInputs:
        if int(lengths.max()) > self.window:
            raise ValueError(
                f"A sound of {int(lengths.max()) / self.sampling_rate:.4g} s is longer than the "
                f"{self.window / self.sampling_rate:.4g} s that this network hears: cut it into windows."
            )
        waves = [sound.numpy() for sound in sounds]
        features = self.feature_extractor(waves, sampling_rate=self.sampling_rate, return_tensors="pt")
        return ModelInputs(kwargs=dict(features), mask=self._tokens(lengths))

    def _tokens(self, lengths: Tensor) -> Tensor | None:
        raise NotImplementedError


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
