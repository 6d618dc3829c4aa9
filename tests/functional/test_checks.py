"""Whole numbers and seeds: one message for what is none, wherever it is given."""

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import ArrayDataModule, SimulatedBrainDataModule
from nfas_lightning.functional import contiguous_folds, noise_ceiling, permanova
from nfas_lightning.functional.checks import check_count, check_seed, seeded_generator
from nfas_lightning.models import ModelSuite
from nfas_lightning.scoring import ScoringSettings

Y = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_library(value):
    check_count("n", value, 3, 3)


@pytest.mark.parametrize("value", [True, "5", 2.0, None, [5], torch.tensor(5)])
def test_what_is_no_whole_number(value):
    with pytest.raises(TypeError, match="n must be a whole number, got"):
        check_count("n", value)


def test_bounds_are_named():
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        check_count("n", 1, 2)
    with pytest.raises(ValueError, match="n must be from 2 to 4 Hz, got 5"):
        check_count("n", 5, 2, 4, unit="Hz")


@pytest.mark.parametrize(
    "use",
    [
        lambda: ScoringSettings(n_folds="5"),
        lambda: ScoringSettings(n_permutations="10"),
        lambda: contiguous_folds(20, n_folds="5"),
        lambda: noise_ceiling(Y, method="split_half", n_splits=2.0),
        lambda: permanova(torch.zeros(4, 4), [0, 0, 1, 1], n_permutations="99"),
        lambda: ArrayDataModule(torch.rand(4, 3, 2, 2), Y[0, :4], batch_size="8"),
        lambda: SimulatedBrainDataModule(n_runs=True),
    ],
)
def test_text_is_no_number_anywhere(use):
    with pytest.raises(TypeError, match="must be a whole number"):
        use()


@pytest.mark.parametrize("seed", [2**70, 2**63, -1])
@pytest.mark.parametrize(
    "use",
    [
        check_seed,
        seeded_generator,
        lambda seed: ScoringSettings(seed=seed),
        lambda seed: ModelSuite(["xfeat"], seed=seed),
        lambda seed: SimulatedBrainDataModule(seed=seed),
        lambda seed: noise_ceiling(Y, method="split_half", seed=seed),
    ],
)
def test_a_seed_that_torch_and_numpy_do_not_both_take(use, seed):
    with pytest.raises(ValueError, match=f"seed must be from 0 to {2**63 - 1}, got {seed}"):
        use(seed)


def test_the_largest_seed_is_one():
    a, b = (torch.randn(3, generator=seeded_generator(2**63 - 1)) for _ in range(2))
    assert torch.equal(a, b)
