"""Images of the simulated benchmark: crops of photographs that installed packages carry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nfas_lightning.errors import MissingFileError

# photographs inside the wheels themselves: none of these is fetched from anywhere
_PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "palace": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
# sides of the square crops as shares of the photograph's shorter side: parts, objects, scenes
_SCALES = (0.35, 0.6, 0.95)
_MIN_CONTRAST = 0.05


def photographs() -> dict[str, Path]:
    """Return the color photographs that installed packages carry, by name.

    Nothing is imported or downloaded. scikit-learn and matplotlib come with this package's own dependencies
    and carry three; scikit-image brings the total to nine.
    """
    found = {}
    for name, (package, file) in _PHOTOGRAPHS.items():
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            if (Path(folder) / file).is_file():
                found[name] = Path(folder) / file
                break
    if len(found) < 2:
        raise MissingFileError(
            f"Expected at least two photographs inside installed packages, found {sorted(found)}: install "
            "scikit-image, pip install 'nfas-lightning[demo]'."
        )
    return found


def sample_crops(
    n_stimuli: int, *, size: int = 224, seed: int = 0
) -> tuple[Tensor, list[str], dict[str, Path]]:
    """Cut square crops at three scales from each photograph in turn.

    Crops of one photograph may overlap; nearly uniform ones are drawn again.

    Returns:
        Images (n_stimuli, 3, size, size) uint8, unique names such as ``"cat_007"``, the photographs' files.
    """
    rng = np.random.default_rng([seed, 1])
    files = photographs()
    pictures = {name: Image.open(path).convert("RGB") for name, path in files.items()}
    names, crops = [], []
    for i in range(n_stimuli):
        name = list(pictures)[i % len(pictures)]
        scale = _SCALES[i // len(pictures) % len(_SCALES)]
        crops.append(_crop(pictures[name], scale, size, rng))
        names.append(f"{name}_{i:03d}")
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous(), names, files


def equalized(crops: Tensor, *, seed: int = 0) -> Tensor:
    """Return crops in gray, of equal mean and contrast, half of them mirrored: color tells no photograph.

    Args:
        crops: (N, 3, H, W) uint8.
        seed: of the mirroring.
    """
    gray = crops.float().mean(dim=1, keepdim=True)
    mean, spread = gray.mean(dim=(2, 3), keepdim=True), gray.std(dim=(2, 3), keepdim=True)
    even = ((gray - mean) / spread.clamp(min=1.0) * 50 + 127.5).clamp(0, 255)
    mirrored = torch.from_numpy(np.random.default_rng([seed, 7]).uniform(size=len(crops)) < 0.5)
    even[mirrored] = even[mirrored].flip(-1)
    return even.round().to(torch.uint8).expand_as(crops).contiguous()


def _crop(picture: Image.Image, scale: float, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut one crop; of twenty draws the one with the most contrast if all are nearly uniform."""
    side = round(scale * min(picture.size))
    best: NDArray[np.uint8] | None = None
    for _ in range(20):
        left = int(rng.integers(picture.width - side + 1))
        top = int(rng.integers(picture.height - side + 1))
        box = (left, top, left + side, top + side)
        crop = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))
        if best is None or crop.std() > best.std():
            best = crop
        if crop.std() / 255 >= _MIN_CONTRAST:
            return crop
    assert best is not None  # the loop above ran
    return best
