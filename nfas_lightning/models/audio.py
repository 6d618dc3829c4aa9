"""From raw sounds to a network's inputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.data.stimuli.acoustics import resample
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.models.batch import batch_field, prefix_mask
from nfas_lightning.models.loaded import ModelInputs

__all__ = ["AudioPreprocess", "PatchedAudioPreprocess", "RepeatedAudioPreprocess", "sounds_at"]


class AudioPreprocess:
    """Resample sounds to a network's rate and hand over waveforms or a feature extractor's output.

    Each sound is resampled by itself, over its real samples, so that padding changes nothing.

    Args:
        sampling_rate: what the network reads, in Hz.
        feature_extractor: of transformers, or None for waveforms (B, K), zero-padded on the right.
        convolutions: (kernel, stride) of each convolution in front of the network's blocks, which turn
            samples into frames; the mask then counts frames that lie wholly inside the sound.
        equal_lengths: refuse sounds of unequal lengths, for networks whose norms or convolutions carry
            padding into real frames; without padding there is nothing to mask.
        pass_mask: hand the samples' mask to the network as ``attention_mask``.

    Example:
        >>> batch = {"audio": torch.zeros(2, 800), "n_samples": torch.tensor([800, 400])}
        >>> batch["sampling_rate"] = 8_000
        >>> inputs = AudioPreprocess(16_000, convolutions=[(10, 5), (8, 4)])(batch)
        >>> inputs.args[0].shape, inputs.mask.sum(dim=1).tolist()
        (torch.Size([2, 1600]), [78, 38])
    """

    def __init__(
        self,
        sampling_rate: int,
        feature_extractor: Any = None,
        *,
        convolutions: Sequence[tuple[int, int]] = (),
        equal_lengths: bool = False,
        pass_mask: bool = False,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.feature_extractor = feature_extractor
        self.convolutions = tuple((int(kernel), int(stride)) for kernel, stride in convolutions)
        self.equal_lengths, self.pass_mask = equal_lengths, pass_mask

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return the waveforms or features, and the mask over frames (or samples)."""
        sounds = sounds_at(batch, self.sampling_rate)
        lengths = torch.tensor([len(sound) for sound in sounds])
        if self.equal_lengths and bool((lengths != lengths[0]).any()):
            raise InputError(
                f"This network's norms look across time, so that padding would change its states, and the "
                f"batch has sounds of {sorted(set(lengths.tolist()))} samples. Use batch_size=1, or windows "
                f"of one length."
            )
        if self.feature_extractor is not None:
            return self._extract(sounds, lengths)
        waves = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
        samples = prefix_mask(lengths, waves.shape[1])
        kwargs = {"attention_mask": samples.long()} if self.pass_mask else {}
        return ModelInputs(args=(waves,), kwargs=kwargs, mask=self._frames(lengths, samples))

    def _extract(self, sounds: list[Tensor], lengths: Tensor) -> ModelInputs:
        # Whisper's extractor pads to its window, and would cut what is longer without a word
        window: int | None = getattr(self.feature_extractor, "n_samples", None)
        if window is not None:
            self._check_window(lengths, window)
        features = self.feature_extractor(
            [sound.numpy() for sound in sounds],
            sampling_rate=self.sampling_rate,
            return_tensors="pt",
            return_attention_mask=True,
            padding=True if window is None else "max_length",
        )
        mask = features.pop("attention_mask")
        kwargs = dict(features)
        if self.pass_mask:
            kwargs["attention_mask"] = mask
        return ModelInputs(kwargs=kwargs, mask=self._frames(lengths, mask.bool()))

    def _check_window(self, lengths: Tensor, window: int) -> None:
        if (longest := int(lengths.max())) > window:
            raise InputError(
                f"A sound of {longest / self.sampling_rate:.4g} s is longer than the "
                f"{window / self.sampling_rate:.4g} s that this network hears: cut it into windows."
            )

    def _frames(self, lengths: Tensor, samples: Tensor) -> Tensor | None:
        if not self.convolutions:
            return None if self.equal_lengths else samples
        n_frames, longest = lengths, torch.tensor(samples.shape[1])
        for kernel, stride in self.convolutions:
            n_frames = (n_frames - kernel) // stride + 1
            longest = (longest - kernel) // stride + 1
        if bool((n_frames < 1).any()):
            raise InputError(
                f"A sound of {int(lengths.min())} samples at {self.sampling_rate} Hz is too short for one "
                f"frame of this network: pad it or leave it out."
            )
        return None if self.equal_lengths else prefix_mask(n_frames, int(longest))


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


def sounds_at(batch: Mapping[str, Any], sampling_rate: int, max_seconds: float = math.inf) -> list[Tensor]:
    """Return a batch's sounds, resampled, each (K_i,) float32 on the CPU without its padding.

    Args:
        batch: ``audio`` (B, K), ``n_samples`` (B,) and ``sampling_rate``,
            see `nfas_lightning.data.stimuli.collate`.
        sampling_rate: the model's, in Hz.
        max_seconds: what the model can take in.

    Raises:
        ValueError: the batch holds no sounds, the shapes disagree, a sound is empty, or one is longer than
            `max_seconds`.

    Example:
        >>> batch = {"audio": torch.zeros(2, 800), "n_samples": torch.tensor([800, 400])}
        >>> batch["sampling_rate"] = 8000
        >>> [len(sound) for sound in sounds_at(batch, 16_000)]
        [1600, 800]
    """
    audio, n_samples, rate = (batch_field(batch, key) for key in ("audio", "n_samples", "sampling_rate"))
    check_shape("audio", audio, "B K")
    check_shape("n_samples", n_samples, "B", B=len(audio))
    if not bool(((n_samples >= 1) & (n_samples <= audio.shape[1])).all()):
        raise InputError(f"n_samples must lie between 1 and {audio.shape[1]}, got {n_samples.tolist()}.")
    if (longest := int(n_samples.max()) / int(rate)) > max_seconds:
        raise InputError(
            f"Sounds must last at most {max_seconds:g} s for this model, got {longest:g} s: cut them into "
            f"windows of that length."
        )
    cpu = audio.detach().to("cpu", torch.float32)
    sounds = [sound[:n] for sound, n in zip(cpu, n_samples.tolist(), strict=True)]
    if int(rate) == sampling_rate:
        return sounds
    # the filter in float64: float32 would cost digits that the sound has
    wide = (resample(sound.double().numpy(), int(rate), sampling_rate) for sound in sounds)
    return [torch.from_numpy(sound).float() for sound in wide]
