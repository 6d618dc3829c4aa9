"""The planted truth: what is planted is there, what is not is not, and the same seed gives the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules.simulated.planted_brain import (
    INTEGRATIVE,
    Cause,
    plan_rois,
    schedule,
    simulate_brain,
)
from nfas_lightning.datamodules.simulated.sample_images import sample_crops
from nfas_lightning.datamodules.simulated.sample_sounds import sample_sounds
from nfas_lightning.datamodules.simulated.sample_texts import sample_sentences

# stimuli


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
        brain = simulate_brain([Cause(features, driven, timing)], networks, seed=seed)
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
        return simulate_brain([Cause(features, driven, timing)], networks, **options).ceiling[:20].mean()

    assert ceiling(n_subjects=2) < ceiling(n_subjects=8)
    assert ceiling(snr=0.3) < ceiling(snr=1.0)
    assert ceiling(snr=0.0) == 0


def test_noise_is_autoregressive_and_starts_anew_in_every_run(planted):
    features, timing, _, networks = planted
    silent = np.zeros(40, dtype=bool)
    noise = simulate_brain([Cause(features, silent, timing)], networks, autocorrelation=0.6).responses
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
    signal = simulate_brain([Cause(features, everywhere, timing)], networks, variability=0.0, seed=2).signal
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
        simulate_brain([Cause(features, driven, timing)], networks, autocorrelation=1.0)
    with pytest.raises(ValueError, match="features must have shape"):
        simulate_brain([Cause(features[:5], driven, timing)], networks)
