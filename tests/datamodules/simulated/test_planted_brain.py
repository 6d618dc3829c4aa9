"""The planted truth: what is planted is there, what is not is not, and the same seed gives the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules.simulated.planted_brain import schedule, simulate_brain
from nfas_lightning.datamodules.simulated.planted_features import (
    image_features,
    principal_components,
    sound_features,
    text_features,
)
from nfas_lightning.datamodules.simulated.planted_rois import INTEGRATIVE, plan_rois
from nfas_lightning.datamodules.simulated.sample_images import photographs, sample_crops
from nfas_lightning.datamodules.simulated.sample_sounds import SAMPLING_RATE, sample_sounds
from nfas_lightning.datamodules.simulated.sample_texts import corpus, sample_sentences, sentences

# stimuli


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


def test_sounds_are_audible_and_of_five_kinds():
    waves, names = sample_sounds(10, seed=1)
    assert waves.shape == (10, 2 * SAMPLING_RATE)
    assert waves.isfinite().all()
    assert waves.abs().max() <= 1
    level = 10 * waves.square().mean(dim=1).log10()
    assert ((level > -31) & (level < -14)).all()
    assert {name.split("_")[0] for name in names} == {"harmonic", "sweep", "noise", "syllables", "mixture"}


def test_sentences_leave_markup_lists_and_code_behind():
    text = (
        "A title\n=======\n\nNot long enough.\n\n* a list of things that goes on for some words.\n\n"
        "The :func:`fetch <x.y>` reads *every* file of the ``folder`` in which it stands. It then "
        "closes them all and counts how many there were.\n\n"
        "    code = that(is, indented, and, should, not, be, here)\n"
    )
    assert sentences(text) == [
        "The fetch reads every file of the folder in which it stands.",
        "It then closes them all and counts how many there were.",
    ]


def test_corpus_is_plain_english_from_several_sources():
    found = corpus()
    assert {"python", "brain", "datasets"} <= set(found)
    everything = [sentence for source in found.values() for sentence in source]
    assert len(everything) == len(set(everything)) > 300
    assert not any(
        mark in sentence for sentence in everything for mark in ("`", "*", "::", "http", "\n", "=")
    )


def test_more_sentences_than_there_are():
    with pytest.raises(ValueError, match="at most the"):
        sample_sentences(10**6)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: sample_crops(6, size=16, seed=seed)[0],
        lambda seed: sample_sounds(5, seconds=0.2, seed=seed)[0],
        lambda seed: torch.tensor([hash(s) for s in sample_sentences(30, seed=seed)[0]]),
    ],
)
def test_stimuli_follow_the_seed(make):
    torch.testing.assert_close(make(3), make(3), rtol=0, atol=0)
    assert not torch.equal(make(3), make(4))


# features


def test_gabor_energy_tells_orientation_and_scale():
    x = torch.arange(96.0)
    grating = 0.5 + 0.4 * torch.sin(2 * torch.pi * x / 8)
    upright = grating.expand(3, 96, 96)  # varies along x: spatial frequency at angle 0
    lying = upright.transpose(1, 2)
    features = image_features(torch.stack([upright, lying]))[:, : 24 * 9].reshape(2, 4, 6, 9).mean(dim=-1)
    assert divmod(int(features[0].argmax()), 6) == (1, 0)  # second wavelength, orientation 0
    assert divmod(int(features[1].argmax()), 6) == (1, 3)  # the same, 90 degrees away


def test_color_features_tell_red_from_blue_and_where():
    image = torch.zeros(2, 3, 96, 96)
    image[0, 0, :32, :32] = 1  # red in the top left cell
    image[1, 2, :32, :32] = 1  # blue
    mean = image_features(image)[:, 24 * 9 :].reshape(2, 2, 3, 3, 3)[:, 0]  # means: channel, row, column
    red_green, yellow_blue = mean[:, 1], mean[:, 2]
    assert red_green[0, 0, 0] > 2
    assert red_green[0, 2, 2].abs() < 0.1
    assert yellow_blue[0, 0, 0] > 1
    assert yellow_blue[1, 0, 0] < -2


def test_sound_features_shape_and_tempo():
    t = torch.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0)) * 0.1
    slow, fast = (noise * (1 + torch.sin(2 * torch.pi * rate * t)) for rate in (2, 16))
    features = sound_features(torch.stack([slow, fast]), SAMPLING_RATE)
    assert features.shape == (2, 104)
    tempo = features[:, 64:].reshape(2, 8, 5).mean(dim=1)
    assert tempo.argmax(dim=1).tolist() == [0, 3]


def test_text_features_tell_length_rarity_and_topic():
    topics = {
        "cats": ["the cat and the kitten sleep", "a kitten and a cat play", "the cat chased a kitten away"],
        "laws": [
            "the court and the judge decide",
            "a judge and a court wait",
            "the court heard a judge today",
        ],
    }
    texts = [text for found in topics.values() for text in found]
    probes = ["the cat sleep", "the kitten play", "a judge decide", "the zebra xylophone and the court wait"]
    features = text_features(probes, texts, n_topics=2)
    assert features.shape == (4, 8)
    assert features[:, 0].argmax() == 3  # number of words
    assert features[:, 2].argmin() == 3  # rarest word
    assert features[:, 5].argmax() == 3  # most surprising step
    angle = torch.nn.functional.cosine_similarity(features[0, 6:], features[1:, 6:])
    assert angle[0] > angle[1]


def test_principal_components_are_uncorrelated_and_in_order():
    raw = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    scores = principal_components(raw, 5)
    covariance = torch.cov(scores.T, correction=0)
    torch.testing.assert_close(covariance, torch.diag(covariance.diag()), atol=1e-10, rtol=0)
    assert (covariance.diag().diff() < 0).all()
    assert covariance[0, 0].item() == pytest.approx(1)
    assert principal_components(raw[:3], 5).shape == (3, 2)


# plan, schedule, responses


@pytest.mark.parametrize("atlas", ["seitzman", "dosenbach", "power"])
def test_plan(atlas):
    plan = plan_rois(atlas)
    assert plan["integrative"].sum() == len(INTEGRATIVE)
    assert set(plan.loc[plan["integrative"], "zone"]) == set(INTEGRATIVE)
    counts = plan["driven_by"].value_counts()
    assert set(counts.index) == {"vision", "audio", "language", "all", "none"}
    assert counts.min() >= 5
    assert (plan.loc[plan["driven_by"] == "vision", "y"] < -30).mean() > 0.9  # the back of the brain


def test_schedule_shows_each_stimulus_once_within_its_run():
    timing = schedule(50, n_runs=4, tr=2.0, isi=4.0, seed=0)
    for run in range(4):
        onsets = timing.onsets[timing.event_runs == run].sort().values
        times = timing.volume_times[timing.volume_runs == run]
        assert len(onsets) in (12, 13)
        assert ((onsets.diff() >= 3.0) & (onsets.diff() <= 5.0)).all()
        assert times[0] == 0
        assert times[-1] >= onsets[-1] + 12
    with pytest.raises(ValueError, match="two stimuli"):
        schedule(3, n_runs=2, tr=2.0, isi=4.0)
    with pytest.raises(ValueError, match="isi at least"):
        schedule(30, n_runs=2, tr=2.0, isi=1.0)


@pytest.fixture(scope="module")
def planted():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(120, 6, generator=generator, dtype=torch.float64)
    timing = schedule(120, n_runs=3, tr=2.0, isi=4.0, seed=0)
    driven = np.arange(40) < 20
    networks = pd.Series(["one"] * 10 + ["two"] * 30)
    return features, timing, driven, networks


def test_ceiling_is_the_correlation_it_says(planted):
    features, timing, driven, networks = planted
    r = []
    for seed in range(4):
        brain = simulate_brain(features, driven, networks, timing, seed=seed)
        mean = brain.responses.mean(dim=0)
        stacked = torch.stack([brain.signal, mean])[:, :, :20]
        centered = torch.nn.functional.normalize(stacked - stacked.mean(dim=1, keepdim=True), dim=1)
        r.append((centered[0] * centered[1]).sum(dim=0) - brain.ceiling[:20])
        assert (brain.ceiling[20:] == 0).all()
        assert (brain.signal[:, 20:] == 0).all()
    error = torch.stack(r)
    assert error.mean().abs() < 0.01  # unbiased over 80 ROIs
    assert error.abs().max() < 0.12  # and no ROI far off


def test_more_subjects_and_less_noise_raise_the_ceiling(planted):
    features, timing, driven, networks = planted

    def ceiling(**options):
        return simulate_brain(features, driven, networks, timing, **options).ceiling[:20].mean()

    assert ceiling(n_subjects=2) < ceiling(n_subjects=8)
    assert ceiling(snr=0.3) < ceiling(snr=1.0)
    assert ceiling(snr=0.0) == 0


def test_noise_is_autoregressive_and_starts_anew_in_every_run(planted):
    features, timing, _, networks = planted
    silent = np.zeros(40, dtype=bool)
    noise = simulate_brain(features, silent, networks, timing, autocorrelation=0.6).responses
    runs = timing.volume_runs
    within = runs[1:] == runs[:-1]
    product = noise[:, 1:] * noise[:, :-1]
    assert product[:, within].mean().item() == pytest.approx(0.6, abs=0.05)
    assert product[:, ~within].mean().abs() < 0.15
    for run in range(3):  # z-scored within runs
        torch.testing.assert_close(noise[:, runs == run].mean(dim=1), torch.zeros(4, 40), atol=1e-5, rtol=0)


def test_rois_of_one_network_are_more_alike(planted):
    features, timing, _, networks = planted
    everywhere = np.ones(40, dtype=bool)
    signal = simulate_brain(features, everywhere, networks, timing, variability=0.0, seed=2).signal
    r = torch.corrcoef(signal.T)
    same = torch.zeros(40, 40, dtype=torch.bool)
    same[:10, :10] = same[10:, 10:] = True
    same.fill_diagonal_(False)
    across = torch.zeros(40, 40, dtype=torch.bool)
    across[:10, 10:] = True
    assert r[same].mean() > r[across].mean() + 0.2


def test_bad_settings(planted):
    features, timing, driven, networks = planted
    with pytest.raises(ValueError, match=r"autocorrelation in \[0, 1\)"):
        simulate_brain(features, driven, networks, timing, autocorrelation=1.0)
    with pytest.raises(ValueError, match="features must have shape"):
        simulate_brain(features[:5], driven, networks, timing)
