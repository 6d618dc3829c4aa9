"""A network that several tests of capture look at."""

import pytest
import torch

from tests.helpers.encoder import Encoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder().eval().requires_grad_(False)
