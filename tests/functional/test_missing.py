"""Missing responses: offsets between subjects."""

import numpy as np
import torch

from nfas_lightning.functional.missing import align_subjects

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_aligned_subjects_average_to_the_least_squares_fit():
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((3, 12, 2)) + np.array([0.0, 4.0, -9.0])[:, None, None]
    Y[rng.random(Y.shape) < 0.2] = np.nan
    Y[1, 6:] = np.nan
    runs = torch.arange(12) // 6  # the second subject has no second run
    mean = align_subjects(torch.from_numpy(Y), runs).nanmean(0).numpy()
    for rows in (slice(0, 6), slice(6, 12)):
        for column in range(2):
            subject, time = np.nonzero(~np.isnan(Y[:, rows, column]))
            design = np.column_stack([time[:, None] == np.arange(6), subject[:, None] == np.arange(3)])
            beta = np.linalg.lstsq(design.astype(float), Y[:, rows, column][subject, time], rcond=None)[0]
            difference = mean[rows, column] - beta[:6]
            observed = np.unique(time)
            np.testing.assert_allclose(difference[observed] - difference[observed].mean(), 0, atol=1e-6)


def test_complete_responses_stay_as_they_are():
    Y = normal(10, 400, 3)
    Y[:, :, 1] = float("nan")
    assert align_subjects(Y) is Y
    Y[0, 0, 0] = float("nan")
    torch.testing.assert_close(align_subjects(Y)[:, :, 2:], Y[:, :, 2:], rtol=0, atol=0)
