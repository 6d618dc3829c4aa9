"""A training set for the examples: the 1,797 handwritten digits of scikit-learn."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate
from torch.utils.data import TensorDataset


def digits(n: int = 1797) -> TensorDataset:
    """Return n digits as (3, 32, 32) images in [0, 1], and their labels."""
    data = load_digits()
    images = torch.from_numpy(data.images[:n, None] / 16).float().repeat(1, 3, 1, 1)
    return TensorDataset(interpolate(images, 32), torch.from_numpy(data.target[:n]))
