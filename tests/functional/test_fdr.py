"""Benjamini-Hochberg."""

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from nfas_lightning.functional.fdr import fdr

nan = float("nan")


def test_fdr_matches_scipy_around_nan():
    p = torch.rand(50, generator=torch.Generator().manual_seed(0)).double() ** 3
    p[7], p[8] = p[9], nan
    tested = ~p.isnan()
    q = fdr(p)
    np.testing.assert_allclose(q[tested], false_discovery_control(p[tested].numpy()), atol=1e-12)
    assert q[8].isnan()
    assert fdr(torch.full((3,), nan)).isnan().all()
    with pytest.raises(ValueError, match="p must lie in"):
        fdr(torch.tensor([0.5, 1.2]))
