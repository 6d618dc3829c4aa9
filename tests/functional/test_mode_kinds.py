"""Kinds of modes, and each mode of planted dynamics recovered."""

import math

import pytest
import torch

from nfas_lightning.functional import combine_depths, combine_modes, dmd, mode_kinds
from tests.helpers.dynamics import planted_modes


def test_kinds_follow_modulus_and_turn():
    pair = torch.polar(torch.tensor(0.95), torch.tensor(math.pi / 9))
    values = torch.stack([*torch.tensor([1.0, -1.0, 1.2, 0.5, 1.02, 0.0]).cfloat(), pair, pair / 4])
    found = mode_kinds(values, n_depths=9)
    assert found.kinds == (
        "persistent", "turning", "growing", "decaying", "persistent", "decaying", "turning", "decaying",
    )  # fmt: skip
    assert found.depth_constant[0] == -math.inf or found.depth_constant[0] == math.inf
    torch.testing.assert_close(found.depth_constant[3], torch.tensor(1 / math.log(2)).double())
    assert found.depth_constant[2] < 0
    torch.testing.assert_close(
        found.turn[[0, 1, 6]], torch.tensor([0.0, 180, 20]).double(), atol=1e-5, rtol=0
    )
    # the same pair has no time to turn in a network of three blocks
    assert mode_kinds(pair[None], n_depths=3).kinds == ("persistent",)
    with pytest.raises(ValueError, match="n_depths must be at least 2"):
        mode_kinds(values, n_depths=1)


def test_modes_are_the_planted_ones_and_the_stable_one_among_them():
    H, planted = planted_modes()
    result = dmd(H, svd_rank=4, centering="center")
    modes = combine_modes(H, result)
    names = [mode_kinds(result.eigenvalues[[place]], H.shape[1]).kinds[0] for place, _ in modes]
    assert names == ["persistent", "turning", "decaying"]
    for (place, features), name in zip(modes, names, strict=True):
        target = planted[name] - planted[name].mean(0)
        fitted = features @ torch.linalg.lstsq(features, target).solution
        torch.testing.assert_close(fitted, target, atol=1e-6, rtol=0)
        if place == int(result.stable_index):
            torch.testing.assert_close(features, combine_depths(H, result))
    assert sum(place == int(result.stable_index) for place, _ in modes) == 1
    with pytest.raises(ValueError, match="operator=\"joint\", got 'pooled'"):
        combine_modes(H, dmd(H, operator="pooled"))
