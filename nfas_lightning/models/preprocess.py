"""From raw images and clips to a network's inputs, on the CPU; every class here can be pickled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count, check_option, check_shape
from nfas_lightning.models.batch import batch_field, prefix_mask
from nfas_lightning.models.loaded import ModelInputs

__all__ = ["ClipPreprocess", "ImagePreprocess", "RawStimuli", "resize_image"]

_INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")
_LOBES = 3  # of the Lanczos filter


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
        raise InputError(
            f"Without a preprocess the batch must hold 'image', 'clip' or 'audio', got {sorted(batch)}. Give "
            f"the model a preprocess, e.g. TextPreprocess(tokenizer, max_length)."
        )


class ImagePreprocess:
    """Resize, crop and normalize images as a network was trained.

    The image is resized, the center is cut out, and a value v in [0, 1] becomes ``(v * scale - mean) / std``
    in the order of channels that the network reads.

    By default this is what timm and torchvision do: the shorter side is resized to ``size / crop_pct``,
    rounded down, the longer side in proportion. Numbers of pixels are theirs, so that the same pixels are
    seen.

    Args:
        size: pixels of the network's input, one number or (height, width).
        mean: of each channel, in the network's order and after `scale`.
        std: of each channel.
        crop_pct: share of the resized image that the crop keeps.
        interpolation: ``"bicubic"``, ``"bilinear"`` or ``"lanczos"``.
        channel_order: ``"rgb"`` or ``"bgr"``.
        scale: factor on values in [0, 1]; 255 for networks that read bytes.
        resize: what the image is resized to before the crop: ``"cover"``, in proportion, so that it covers
            ``size / crop_pct``; ``"squash"``, to ``size / crop_pct`` on both sides, whatever its proportions;
            a number, the pixels of the shorter side, in proportion; or (height, width), squashed. The last
            two take no `crop_pct`.
        antialias: smooth before an image is made smaller; bytes are. torchvision's video transforms do not.
        crop_rounding: where a crop can't be centered, the margin at the top and left is half of what is left
            over, rounded to ``"even"`` (timm, torchvision) or ``"down"`` (processors of transformers).

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
        resize: int | tuple[int, int] | str = "cover",
        crop_rounding: str = "even",
        antialias: bool = True,
    ) -> None:
        check_option("interpolation", interpolation, _INTERPOLATIONS)
        check_option("crop_rounding", crop_rounding, ("even", "down"))
        check_option("channel_order", channel_order, ("rgb", "bgr"))
        if not antialias:
            check_option("interpolation without antialias", interpolation, ("bilinear", "bicubic"))
        if not 0 < crop_pct <= 1:
            raise InputError(f"crop_pct must lie in (0, 1], got {crop_pct}.")
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.mean, self.std = torch.tensor(tuple(mean)), torch.tensor(tuple(std))
        check_shape("mean", self.mean, "C", C=3)
        check_shape("std", self.std, "C", C=3)
        self.crop_pct, self.scale = crop_pct, scale
        self.interpolation, self.channel_order = interpolation, channel_order
        self.resize, self.crop_rounding, self.antialias = resize, crop_rounding, antialias
        if isinstance(resize, str):
            check_option("resize", resize, ("cover", "squash"))
            return
        if crop_pct != 1:
            raise InputError(
                f"Give resize in pixels or crop_pct, which both say how much is cut off, got resize={resize} "
                f"and crop_pct={crop_pct}."
            )
        rows, columns = resize if isinstance(resize, tuple) else (resize, resize)
        if rows < self.height or columns < self.width:
            raise InputError(
                f"resize must cover the {self.height} x {self.width} pixels that are cut out, got {resize}."
            )

    def __repr__(self) -> str:
        """Say what is done, in the form of a call."""
        numbers = (tuple(round(float(v), 6) for v in values) for values in (self.mean, self.std))
        share = f"crop_pct={self.crop_pct:.4g}" if isinstance(self.resize, str) else f"resize={self.resize}"
        squash = ", resize='squash'" if self.resize == "squash" else ""
        return (
            f"ImagePreprocess({(self.height, self.width)}, {', '.join(map(str, numbers))}, "
            f"{share}, interpolation={self.interpolation!r}{squash})"
        )

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return pixels (B, 3, height, width)."""
        image = batch_field(batch, "image")
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise InputError(
                f"image must be a float tensor (B, 3, H, W) in [0, 1], got {tuple(image.shape)} of "
                f"{image.dtype}."
            )
        low, high = torch.aminmax(image)
        if low < 0 or high > 1:
            raise InputError(
                f"image must lie in [0, 1], got values from {low:.3g} to {high:.3g}: divide bytes by 255, "
                f"and leave normalization to the model."
            )
        pixels = self._crop(self._resize(image))
        if self.channel_order == "bgr":
            pixels = pixels.flip(1)
        mean, std = (v.to(pixels).view(3, 1, 1) for v in (self.mean, self.std))
        return ModelInputs(args=((pixels * self.scale - mean) / std,))

    def _resize(self, image: Tensor) -> Tensor:
        new = self._resized(*image.shape[-2:])
        if new == tuple(image.shape[-2:]):
            return image
        if not self.antialias:
            return F.interpolate(image, new, mode=self.interpolation, align_corners=False)
        return resize_image(image, new, self.interpolation)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the crop."""
        if isinstance(self.resize, tuple):
            return self.resize
        target = tuple(math.floor(side / self.crop_pct + 1e-9) for side in (self.height, self.width))
        if self.resize == "squash":
            return target[0], target[1]
        if self.resize == "cover" and target[0] != target[1]:
            factor = max(target[0] / height, target[1] / width)
            return max(round(height * factor), target[0]), max(round(width * factor), target[1])
        edge = self.resize if isinstance(self.resize, int) else target[0]
        if height <= width:
            return edge, int(edge * width / height)
        return int(edge * height / width), edge

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (self._margin(image.shape[-2] - self.height), self._margin(image.shape[-1] - self.width))
        return image[..., top : top + self.height, left : left + self.width]

    def _margin(self, left_over: int) -> int:
        return left_over // 2 if self.crop_rounding == "down" else round(left_over / 2)


class ClipPreprocess:
    """Choose frames of a clip and prepare each as an image.

    Args:
        frames: how many frames the network reads.
        image: preprocessing of one frame.
        stride: frames of the clip from one chosen frame to the next, around the clip's middle: the time step
            that the network was trained with, in frames of the benchmark. None: evenly spaced over the clip.
        channels_first: return (B, 3, frames, height, width).

    Example:
        >>> image = ImagePreprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> ClipPreprocess(8, image)({"clip": torch.rand(2, 20, 3, 40, 50)}).args[0].shape
        torch.Size([2, 8, 3, 32, 32])
    """

    def __init__(
        self, frames: int, image: ImagePreprocess, *, stride: int | None = None, channels_first: bool = False
    ) -> None:
        check_count("frames", frames, 1)
        if stride is not None:
            check_count("stride", stride, 1)
        self.frames, self.image, self.stride, self.channels_first = frames, image, stride, channels_first

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return pixels (B, frames, 3, height, width); a still image is a clip that does not move.

        Clips come as ``clip``, or frame after frame in ``image`` with ``n_frames``, where lengths may differ.
        """
        if "clip" in batch:
            clips = batch["clip"]
            if clips.ndim != 5 or clips.shape[2] != 3:
                raise InputError(f"clip must have shape (B, F, 3, H, W), got {tuple(clips.shape)}.")
        else:
            image = batch_field(batch, "image")
            counts = torch.as_tensor(batch.get("n_frames", torch.ones(len(image)))).long()
            clips = torch.split(image, counts.tolist())
        chosen = torch.cat([self._spaced(clip) for clip in clips])
        pixels = self.image({"image": chosen}).args[0]
        pixels = pixels.unflatten(0, (len(clips), self.frames))
        return ModelInputs(args=(pixels.transpose(1, 2) if self.channels_first else pixels,))

    def _spaced(self, clip: Tensor) -> Tensor:
        """The frames in the middle of so many equal parts of the clip, or of its middle; a still repeats."""
        span = len(clip) if self.stride is None or len(clip) == 1 else self.frames * self.stride
        if span > len(clip):
            raise InputError(
                f"A clip must have {span} frames for {self.frames} at a stride of {self.stride}, got "
                f"{len(clip)}: take more frames per second or longer clips, or leave stride out."
            )
        middles = (len(clip) - span) // 2 + (torch.arange(self.frames) + 0.5) * span / self.frames
        return clip[middles.long()]


def resize_image(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize images with an antialiased filter, one axis after the other, as images of bytes are resized.

    Args:
        image: (B, C, H, W), in [0, 1].
        size: new (height, width).
        interpolation: ``"bicubic"``, ``"bilinear"`` or ``"lanczos"``. Bicubic and Lanczos overshoot at edges;
            what does is clamped after each axis, since bytes hold no more.

    Returns:
        (B, C, height, width), in [0, 1].

    Example:
        >>> resize_image(torch.ones(1, 3, 8, 8), (5, 4), "lanczos").shape
        torch.Size([1, 3, 5, 4])
    """
    height, width = size
    if interpolation == "lanczos":  # which torch has in its newest versions alone
        image = (image @ _lanczos(image.shape[-1], width).to(image).T).clamp(0, 1)
        return (_lanczos(image.shape[-2], height).to(image) @ image).clamp(0, 1)
    for new in ((image.shape[-2], width), (height, width)):
        if new != tuple(image.shape[-2:]):
            image = F.interpolate(image, new, mode=interpolation, align_corners=False, antialias=True)
            image = image.clamp(0, 1)
    return image


def _lanczos(old: int, new: int) -> Tensor:
    """Weights (new, old) of the old pixels in each new one; each row sums to one."""
    scale = old / new
    width = max(scale, 1.0)  # a smaller image is smoothed first
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(old, dtype=torch.float64) + 0.5
    distance = (pixels - centers[:, None]) / width
    weights = torch.sinc(distance) * torch.sinc(distance / _LOBES) * (distance.abs() < _LOBES)
    return weights / weights.sum(1, keepdim=True)
