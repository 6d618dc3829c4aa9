"""How many directions a depth trajectory carries: the default rank, by depth, and on planted dynamics."""

import pytest
import torch

from nfas_lightning.functional.dmd import combine_depths, dmd
from nfas_lightning.functional.encoding import ridge_cv


@pytest.mark.parametrize(("depth", "rank"), [(3, 1), (4, 1), (5, 2), (6, 2), (12, 2), (40, 2)])
@pytest.mark.parametrize("operator", ["joint", "per_stimulus"])
def test_every_direction_has_two_transitions(depth, rank, operator):
    H = torch.randn(20, depth, 8, generator=torch.Generator().manual_seed(depth), dtype=torch.float64)
    result = dmd(H, operator=operator)
    assert result.svd_rank == rank
    chosen = dmd(H, operator=operator, svd_rank=rank)
    assert torch.equal(result.mode_coefficients, chosen.mode_coefficients)
    assert dmd(H, operator=operator, svd_rank=2).svd_rank == 2  # who names a rank gets it
    # one operator on the transitions of all stimuli carries more
    assert dmd(H, operator="pooled").svd_rank == 2


def planted(seed, depth, driver, n=120, width=32, units=4):
    """Persistent, turning and decaying parts in a network whose norm grows; one of them drives the brain."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lasting, first, second, fading = (normal(n, units) for _ in range(4))
    basis = torch.linalg.qr(normal(width, width))[0][: 3 * units].view(3, units, width)
    states = []
    for block in range(depth):
        angle = torch.tensor(0.3 * block)
        turning = angle.cos() * first + angle.sin() * second
        signal = lasting @ basis[0] + 1.2 * turning @ basis[1] + 1.5 * 0.6**block * fading @ basis[2]
        states.append(1.05**block * (signal + (units / width) ** 0.5 * normal(n, width)) + 2)
    source = {"lasting": lasting, "turning": torch.cat([first, second], 1), "fading": fading}[driver]
    Y = source @ normal(source.shape[1], 6)
    return torch.stack(states, dim=1), Y / Y.std(0) + normal(n, 6)


def mean_r(depth, driver, svd_rank, n_brains=6):
    scores = []
    for seed in range(n_brains):
        H, Y = planted(seed, depth, driver)
        features = combine_depths(H, dmd(H, svd_rank=svd_rank))
        scores.append(ridge_cv(features, Y, selection="loo", scaling="common").r.mean())
    return float(torch.stack(scores).mean())


@pytest.mark.parametrize("driver", ["lasting", "turning", "fading"])
def test_four_blocks_carry_one_direction(driver):
    assert mean_r(4, driver, None) > mean_r(4, driver, 2) - 0.01
    assert driver != "fading" or mean_r(4, driver, None) > mean_r(4, driver, 2) + 0.05


def test_deeper_networks_need_two_directions_to_turn():
    assert mean_r(9, "turning", None) > mean_r(9, "turning", 1) + 0.1
    assert mean_r(9, "lasting", None) > mean_r(9, "lasting", 1) - 0.05
    # a third splits what lasts from what turns, and the mode that is chosen has one of them
    assert mean_r(9, "lasting", None) + mean_r(9, "turning", None) > mean_r(9, "lasting", 3) + mean_r(
        9, "turning", 3
    )
