"""Image files as stimuli."""

import numpy as np
import pytest
import torch
from PIL import Image

from nfas_lightning.data import ImageFiles, read_image
from nfas_lightning.datamodules import ArrayDataModule


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(folder, name, array, **options):
    path = folder / name
    Image.fromarray(array).save(path, **options)
    return path


def test_pixels_are_the_files_own(tmp_path, pixels):
    image = read_image(saved(tmp_path, "ä b.png", pixels))
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))


def test_gray_is_repeated_and_size_is_a_square_about_the_center(tmp_path, pixels):
    gray = read_image(saved(tmp_path, "gray.png", pixels[..., 0]))
    assert torch.equal(gray, torch.from_numpy(pixels[..., 0]).expand(3, -1, -1))
    halves = np.zeros((8, 24, 3), np.uint8)
    halves[:, 8:16] = 255
    assert bool((read_image(saved(tmp_path, "wide.png", halves), size=8)[..., 1:-1] == 255).all())


def test_turned_as_its_tag_says(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image = read_image(saved(tmp_path, "turned.png", pixels, exif=exif))
    assert torch.equal(image, torch.from_numpy(np.rot90(pixels, -1).copy()).permute(2, 0, 1))


def test_what_can_not_be_shown_is_refused(tmp_path, pixels):
    whole = saved(tmp_path, "whole.png", np.repeat(np.repeat(pixels, 20, 0), 20, 1))
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(ValueError, match="whole image file"):
        read_image(cut)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="whole image file"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ValueError, match="8 bits per channel"):
        read_image(saved(tmp_path, "deep.png", np.zeros((4, 4), np.uint16)))
    alpha = np.dstack([pixels, np.full((6, 9), 255, np.uint8)])
    assert read_image(saved(tmp_path, "opaque.png", alpha)).shape == (3, 6, 9)
    alpha[0, 0, 3] = 0
    with pytest.raises(ValueError, match="must be opaque"):
        read_image(saved(tmp_path, "alpha.png", alpha))
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "nothing.png")
    for wrong in ("images", []):
        with pytest.raises(ValueError, match="must list image files"):
            ImageFiles(wrong)


def test_files_are_a_benchmarks_stimuli(tmp_path, pixels):
    paths = [saved(tmp_path, f"{i}.png", np.roll(pixels, i, axis=1)) for i in range(6)]
    brain = ArrayDataModule(ImageFiles(paths, size=8), torch.randn(6, 2))
    brain.setup()
    assert brain.describe()["modality"] == "vision"
    assert next(iter(brain.test_dataloader()))["image"].shape == (6, 3, 8, 8)
    other = ArrayDataModule(ImageFiles(paths[::-1], size=8), torch.randn(6, 2))
    other.setup()
    assert other.responses.hashes != brain.responses.hashes


@pytest.mark.parametrize("size", ["224", 0, 2.5, (8, 8), True, 10**6])
def test_a_size_is_a_whole_number_of_pixels(size):
    number = type(size) is int
    said = r"size must be from 1 to 8192 pixels" if number else r"size must be a whole number of pixels, got"
    with pytest.raises(ValueError if number else TypeError, match=said):
        ImageFiles(["a.png"], size=size)


def test_a_drawing_in_postscript_is_not_run(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="PostScript"):
        read_image(tmp_path / "a.png")
