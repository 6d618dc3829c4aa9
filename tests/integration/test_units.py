"""Units and ranges: what is on another scale than it says is refused or said, never clipped in silence."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from nfas_lightning.data import TextStimulus, read_image, read_sound
from nfas_lightning.data.events import check_durations
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.temporal import fir_operators
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.space.matrix import check_range

TEXTS = [f"sentence {i}" for i in range(20)]


@pytest.mark.parametrize("step", [0.3, 3.0])
@pytest.mark.parametrize("milliseconds", [200.0, 500.0, 3000.0])
def test_durations_in_milliseconds_are_refused(step, milliseconds):
    events = {"onset": step * np.arange(20), "duration": np.full(20, milliseconds)}
    values = torch.zeros(300, 1)
    with pytest.raises(
        ValueError, match=f"duration must be seconds, got a median of {milliseconds:g}.* 1000"
    ):
        ArrayDataModule(TEXTS, values, events=events, tr=2.0).setup()
    ArrayDataModule(
        TEXTS, values, events={**events, "duration": np.full(20, milliseconds / 1000)}, tr=2.0
    ).setup()


def test_long_events_that_overlap_are_seconds():
    onsets, times = torch.arange(100.0), torch.arange(60.0) * 2
    for duration in (0.0, 1.0, 30.0):  # windows of sound that end every second
        check_durations(onsets, torch.full((100,), duration), None, times, tr=2.0)
    runs = torch.arange(100) // 50
    check_durations(onsets % 50, torch.full((100,), 20.0), runs, times[:30].repeat(2), tr=2.0)
    check_durations(torch.zeros(1), torch.tensor([130.0]), None, times, tr=2.0)  # one block
    with pytest.raises(ValueError, match="in runs of at most 60 s"):
        check_durations(onsets % 50, torch.full((100,), 70.0), runs, times[:30].repeat(2), tr=2.0)


@pytest.mark.parametrize("scale", [32767, 2**31 - 1])
def test_floating_sound_in_the_range_of_integers_is_refused(tmp_path, scale):
    sound = np.sin(np.arange(800) * 0.1)
    wavfile.write(tmp_path / "loud.wav", 8000, (scale * sound).astype(np.float32))
    with pytest.raises(ValueError, match=r"loud\.wav must hold floating point samples in \[-1, 1\]"):
        read_sound(tmp_path / "loud.wav")
    wavfile.write(tmp_path / "over.wav", 8000, (1.2 * sound).astype(np.float32))
    with pytest.warns(UserWarning, match=r"beyond full scale, up to 1\.2: .*% of them are clipped"):
        assert read_sound(tmp_path / "over.wav")[0].max() == 1
    wavfile.write(tmp_path / "fine.wav", 8000, sound.astype(np.float32))
    np.testing.assert_allclose(read_sound(tmp_path / "fine.wav")[0], sound, atol=1e-6)


@pytest.mark.parametrize("value", [1.5, 2.0, True, "2"])
def test_gaps_delays_and_folds_are_whole_numbers(value):
    with pytest.raises(TypeError, match="gap must be a whole number of volumes, got"):
        contiguous_folds(20, gap=value)
    with pytest.raises(TypeError, match="n_folds must be a whole number"):
        contiguous_folds(20, n_folds=value)
    with pytest.raises(TypeError, match="delays must be a whole number of volumes"):
        fir_operators(torch.zeros(2), torch.arange(4.0), tr=1.0, delays=(1, value))
    for name in ("gap", "n_folds", "n_permutations"):
        with pytest.raises(TypeError, match=f"{name} must be a whole number"):
            ScoringSettings(**{name: value})
    assert len(contiguous_folds(20, gap=np.int64(1), n_folds=np.int32(4))) == 4


@pytest.mark.parametrize("rate", [True, 16000.5, "16000"])
def test_a_rate_is_a_whole_number_of_hertz(rate):
    with pytest.raises(TypeError, match="sampling_rate must be a whole number of Hz"):
        StimulusSet([torch.zeros(100)], "audio", rate)


@pytest.mark.parametrize("named", ["stable_mode", ["last_blok"], ["stable_mode", "best_block"]])
def test_features_to_test_are_named(named):
    with pytest.raises(ValueError, match=r"null_features must be a list .*'stable_mode', 'last_block'"):
        ScoringSettings(null_features=named)
    assert ScoringSettings(null_features=["stable_mode", "nuisance"]).null_features[1] == "nuisance"
    with pytest.raises(ValueError, match="without baselines, got 'last_block'"):
        ScoringSettings(null_features=["last_block"], baselines=False)


@pytest.mark.parametrize("names", [[f"texts/{i}.txt" for i in range(20)], [f"{i}.JPG" for i in range(20)]])
def test_names_of_files_are_no_texts(names):
    for options in ({}, {"modality": "language"}):
        with pytest.raises(ValueError, match=r"got the file name '.*Path.read_text; TextStimulus"):
            ArrayDataModule(names, torch.zeros(20, 1), **options).setup()
    ArrayDataModule([TextStimulus(name) for name in names], torch.zeros(20, 1), modality="language").setup()
    mixed = ["I wrote all of it into notes.txt yesterday", *names[1:]]
    ArrayDataModule(mixed, torch.zeros(20, 1), modality="language").setup()


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_an_animation_is_no_image(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), (40 * i, 0, 200)) for i in range(3)]
    frames[0].save(tmp_path / f"moving.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"moving\.{kind} must hold one picture, got 3"):
        read_image(tmp_path / f"moving.{kind}")
    frames[0].save(tmp_path / f"still.{kind}")
    assert read_image(tmp_path / f"still.{kind}").shape == (3, 8, 8)


def test_scores_of_a_space_are_in_range():
    for value, scores in (("r2", [0.0, 1.0 + 1e-7]), ("r", [-1.0, 0.5]), ("r2_joint", [0.2]), ("z", [9.0])):
        check_range(torch.tensor(scores), value)
    for value, scores in (("r2", [-0.1, 0.3]), ("r2", [30.0]), ("r", [1.2]), ("r2_partial", [-0.2])):
        with pytest.raises(ValueError, match=f"scores of value='{value}' must be"):
            check_range(torch.tensor(scores), value)
