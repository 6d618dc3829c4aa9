"""Crops of photographs that installed packages carry."""

from __future__ import annotations

import pytest
import torch

from nfas_lightning.datamodules.simulated.sample_images import photographs, sample_crops


def test_photographs_are_installed_files_and_crops_show_something():
    assert len(photographs()) >= 2
    crops, names, files = sample_crops(20, size=32, seed=1)
    assert crops.shape == (20, 3, 32, 32)
    assert crops.dtype == torch.uint8
    assert len(set(names)) == 20
    assert all(path.is_file() for path in files.values())
    assert len({crop.numpy().tobytes() for crop in crops}) == 20
    assert crops.float().std(dim=(1, 2, 3)).min() > 255 * 0.02


def test_too_few_photographs_name_the_remedy(monkeypatch):
    monkeypatch.setattr("nfas_lightning.datamodules.simulated.sample_images.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"nfas-lightning\[demo\]"):
        photographs()
