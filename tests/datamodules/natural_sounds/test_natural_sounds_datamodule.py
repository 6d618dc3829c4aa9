from __future__ import annotations

import numpy as np

from nfas_lightning.datamodules import NaturalSoundsDataModule
from tests.helpers.brain_data import write_sounds


def ready(root, **options) -> NaturalSoundsDataModule:
    datamodule = NaturalSoundsDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_rows_stay_with_their_sounds_in_any_order(tmp_path):
    folder = write_sounds(tmp_path)
    R = np.load(folder / "components.npz")["R"]
    audio = np.load(folder / "sounds_16k.npz")["audio"]
    for seed in (None, 0, 1):
        datamodule = ready(tmp_path, seed=seed, batch_size=12)
        responses = datamodule.responses
        order = [int(name.removeprefix("stim")) for name in responses.stimulus_ids]
        assert (order == list(range(12))) == (seed is None)
        z = (R - R.mean(axis=0)) / R.std(axis=0)
        np.testing.assert_allclose(responses.values[0].numpy(), z[order], atol=1e-5)
        batch = next(iter(datamodule.test_dataloader()))
        np.testing.assert_allclose(batch["audio"].numpy(), audio[order] / 32768, atol=1e-6)
    assert responses.design == ()
    assert responses.tr is None
    assert responses.noise_ceiling is None
