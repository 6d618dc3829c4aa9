"""Stimulus features that no network computed."""

from __future__ import annotations

import pytest
import torch

from nfas_lightning.datamodules.simulated.planted_features import (
    image_features,
    principal_components,
    sound_features,
    text_features,
)
from nfas_lightning.datamodules.simulated.sample_sounds import SAMPLING_RATE


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
