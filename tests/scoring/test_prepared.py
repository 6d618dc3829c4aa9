"""Features of a prepared trajectory are those that a scoring reads."""

import pytest
import torch

from nfas_lightning.functional import dmd, stable_mode
from nfas_lightning.functional.dmd import center_depths
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.prepared import prepare
from tests.helpers.scoring import brain, trajectory


@pytest.mark.parametrize("name", ["stable_mode", "last_block", "mean_depth", "all_blocks"])
def test_features_come_from_one_centered_trajectory(name):
    track = trajectory(n=40)
    device = torch.device("cpu")
    prepared = prepare(track, brain(track), ScoringSettings(), model="net", device=device)
    H = track.stack()
    Z = center_depths(H, dmd(H))
    expected = {"stable_mode": stable_mode(H), "last_block": Z[:, -1]}
    expected |= {"mean_depth": Z.mean(1), "all_blocks": Z.flatten(1)}
    features, scaling = prepared.feature(name, device)
    torch.testing.assert_close(features, expected[name])
    assert scaling == "unit"
