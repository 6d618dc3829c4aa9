"""Generated sounds."""

from __future__ import annotations

from nfas_lightning.datamodules.simulated.sample_sounds import SAMPLING_RATE, sample_sounds


def test_sounds_are_audible_and_of_five_kinds():
    waves, names = sample_sounds(10, seed=1)
    assert waves.shape == (10, 2 * SAMPLING_RATE)
    assert waves.isfinite().all()
    assert waves.abs().max() <= 1
    level = 10 * waves.square().mean(dim=1).log10()
    assert ((level > -31) & (level < -14)).all()
    assert {name.split("_")[0] for name in names} == {"harmonic", "sweep", "noise", "syllables", "mixture"}
