"""From raw stimuli to a network's inputs, on the CPU; every class here can be pickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nfas_lightning.functional.checks import check_option, check_shape
from nfas_lightning.models.audio import AudioPreprocess
from nfas_lightning.models.base import ModelInputs
from nfas_lightning.models.batch import batch_field, prefix_mask
from nfas_lightning.models.text import TextPreprocess

__all__ = ["AudioPreprocess", "ClipPreprocess", "ImagePreprocess", "RawStimuli", "TextPreprocess"]


class RawStimuli:
    """Hand the batch's image, clip or audio to the network as it is; of clips with frames, the frames."""

    def __repr__(self) -> str:
        """Say what is done, in the form of a call."""
        return "RawStimuli()"

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return the stimuli; the mask shows the real samples of audio of unequal lengths."""
        if "image" in batch:
            return ModelInputs(args=(batch["image"],))
        if "clip" in batch:
            return ModelInputs(args=(batch["clip"],))
        if "audio" in batch:
            audio, lengths = batch["audio"], batch["n_samples"]
            padded = bool((lengths < audio.shape[1]).any())
            return ModelInputs(args=(audio,), mask=prefix_mask(lengths, audio.shape[1]) if padded else None)
        raise ValueError(
            f"Without a preprocess the batch must hold 'image', 'clip' or 'audio', got {sorted(batch)}. Give "
            f"the model a preprocess, e.g. TextPreprocess(tokenizer, max_length)."
        )


class ImagePreprocess:
    """Resize, crop and normalise images as a network was trained.

    The image is resized, in proportion, to the smallest that covers ``size / crop_pct`` on both sides, the
    centre is cut out, and a value v in [0, 1] becomes ``(v * scale - mean) / std`` in the order of channels
    that the network reads. Interpolation is antialiased, and clamped to [0, 1] since bicubic overshoots.

    Args:
        size: pixels of the network's input, one number or (height, width).
        mean: of each channel, in the network's order and after `scale`.
        std: of each channel.
        crop_pct: share of the resized image that the crop keeps.
        interpolation: ``"bicubic"`` or ``"bilinear"``.
        channel_order: ``"rgb"`` or ``"bgr"``.
        scale: factor on values in [0, 1]; 255 for networks that read bytes.

    Example:
        >>> batch = {"image": torch.ones(2, 3, 40, 50)}
        >>> pixels = ImagePreprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(batch).args[0]
        >>> pixels.shape, round(float(pixels.mean()), 3)
        (torch.Size([2, 3, 32, 32]), 1.0)
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        crop_pct: float = 1.0,
        interpolation: str = "bicubic",
        channel_order: str = "rgb",
        scale: float = 1.0,
    ) -> None:
        check_option("interpolation", interpolation, ("bicubic", "bilinear"))
        check_option("channel_order", channel_order, ("rgb", "bgr"))
        if not 0 < crop_pct <= 1:
            raise ValueError(f"crop_pct must lie in (0, 1], got {crop_pct}.")
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.mean, self.std = torch.tensor(tuple(mean)), torch.tensor(tuple(std))
        check_shape("mean", self.mean, "C", C=3)
        check_shape("std", self.std, "C", C=3)
        self.crop_pct, self.scale = crop_pct, scale
        self.interpolation, self.channel_order = interpolation, channel_order

    def __repr__(self) -> str:
        """Say what is done, in the form of a call."""
        numbers = (tuple(round(float(v), 6) for v in values) for values in (self.mean, self.std))
        return (
            f"ImagePreprocess({(self.height, self.width)}, {', '.join(map(str, numbers))}, "
            f"crop_pct={self.crop_pct:.4g}, interpolation={self.interpolation!r})"
        )

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return pixels (B, 3, height, width)."""
        image = batch_field(batch, "image")
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise ValueError(
                f"image must be a float tensor (B, 3, H, W) in [0, 1], got {tuple(image.shape)} of "
                f"{image.dtype}."
            )
        low, high = torch.aminmax(image)
        if low < 0 or high > 1:
            raise ValueError(
                f"image must lie in [0, 1], got values from {low:.3g} to {high:.3g}: divide bytes by 255, "
                f"and leave normalisation to the model."
            )
        pixels = self._crop(self._resize(image))
        if self.channel_order == "bgr":
            pixels = pixels.flip(1)
        mean, std = (v.to(pixels).view(3, 1, 1) for v in (self.mean, self.std))
        return ModelInputs(args=((pixels * self.scale - mean) / std,))

    def _resize(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        target = (round(self.height / self.crop_pct), round(self.width / self.crop_pct))
        factor = max(target[0] / height, target[1] / width)  # fills the target on both sides
        new = (max(round(height * factor), self.height), max(round(width * factor), self.width))
        if new == (height, width):
            return image
        resized = F.interpolate(image, new, mode=self.interpolation, align_corners=False, antialias=True)
        return resized.clamp(0, 1)

    def _crop(self, image: Tensor) -> Tensor:
        top = (image.shape[-2] - self.height) // 2
        left = (image.shape[-1] - self.width) // 2
        return image[..., top : top + self.height, left : left + self.width]


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
