"""Files as stimuli: one order of names, that of their numbers, and a word where another was given."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from nfas_lightning.data import ClipFiles, ImageFiles, SoundFiles, natural_key
from nfas_lightning.data.stimuli.stimulus_files import list_files
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet, guess_modality
from nfas_lightning.datamodules import ArrayDataModule, FolderDataModule

NAMES = [f"img{i}" for i in range(1, 13)]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in random.Random(0).sample(range(12), 12):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / f"{NAMES[i]}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image either")
    return folder


def test_digits_count_as_numbers():
    names = ["b2", "b10", "b2a", "a", "b01", "²", "b2.5", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "b01", "b2", "b2.5", "b2a", "b10", "²"]
    assert sorted(["s2/img1", "s10/img1", "s2/img10", "s2/img2"], key=natural_key) == [
        "s2/img1", "s2/img2", "s2/img10", "s10/img1",
    ]  # fmt: skip


def test_a_folder_is_read_in_the_order_of_numbers(images):
    files = ImageFiles.from_folder(images, size=4)
    assert [path.stem for path in files.paths] == NAMES
    assert [int(files[i][0, 0, 0]) for i in range(12)] == list(range(12))
    assert files.size == 4
    # the same order as the folder's own datamodule
    np.save(images.parent / "responses.npy", np.random.default_rng(0).normal(size=(12, 2)))
    folder = FolderDataModule(str(images.parent), size=4)
    folder.setup()
    assert list(folder.responses.stimulus_ids) == NAMES
    assert folder.responses.hashes["stimuli"] == StimulusSet(files, "vision").sha256()
    with pytest.raises(FileNotFoundError, match=r"must hold files \.avi, .*Not read.*img1\.png"):
        ClipFiles.from_folder(images, 4)
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        list_files(images / "img1.png", (".png",))


@pytest.mark.parametrize(
    "make",
    [ImageFiles, SoundFiles, lambda paths, **given: ClipFiles(paths, 4, **given)],
    ids=["images", "sounds", "clips"],
)
def test_text_order_is_said_where_it_is_another(make):
    paths = [f"folder/{name}.x" for name in NAMES]
    with pytest.warns(
        UserWarning, match=r"order of text, img10\.x before img2\.x.*in_order=True.*from_folder"
    ):
        make(sorted(paths))
    for order in (paths, paths[::-1], random.Random(0).sample(paths, 12), sorted(paths)[:1], paths[:9]):
        make(order)  # no question: natural, or an order of one's own
    make(sorted(paths), in_order=True)
    make(sorted(f"{i:03d}.x" for i in range(12)))


def test_sounds_are_read_when_asked_for(tmp_path):
    for i in range(4):
        samples = (3000 * np.sin(np.arange(800) * (0.1 + 0.05 * i))).astype(np.int16)
        wavfile.write(tmp_path / f"s{i}.wav", 8000, samples)
    files = SoundFiles.from_folder(tmp_path, 16_000)
    assert guess_modality(files, files.sampling_rate) == "audio"
    assert files[0].shape == (1600,)
    brain = ArrayDataModule(files, torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    brain.setup()
    assert next(iter(brain.test_dataloader()))["sampling_rate"] == 16_000
    with pytest.raises(ValueError, match="must be that of the stimuli, 16000 Hz, got 8000"):
        ArrayDataModule(files, torch.randn(4, 2), sampling_rate=8000).setup()
    assert files.sha256() != SoundFiles.from_folder(tmp_path, 8000).sha256()
    events = {"onset": [0.0, 2, 4, 6], "stim_file": [f"sounds/s{i}.wav" for i in (3, 1, 0, 2)]}
    timed = ArrayDataModule(files, torch.zeros(9, 1), events=events, tr=2.0, temporal="fir", delays=[0])
    timed.setup()
    assert timed.responses.to_volumes(torch.eye(4))[:4].argmax(dim=1).tolist() == [3, 1, 0, 2]
