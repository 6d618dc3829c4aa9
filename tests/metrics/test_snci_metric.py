"""SNCI from scores that arrive model by model."""

import numpy as np
import pytest
import torch

from nfas_lightning.functional.snci import snci
from nfas_lightning.metrics import SNCI


def test_snci_equals_the_functional_core():
    scores = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    labels = ["vision", "audio", "language"] * 3
    metric = SNCI(form="bounded")
    metric.update(scores[:2], labels[:2])
    metric.update(scores[2:3], "language")
    metric.update(scores[3:], labels[3:])
    torch.testing.assert_close(metric.compute(), snci(scores, labels, form="bounded"))
    assert metric.groups == ("audio", "language", "vision")
    numbered = SNCI()
    numbered.update(scores, [10, 2, 3] * 3)
    assert numbered.groups == (2, 3, 10)
    torch.testing.assert_close(numbered.compute(), snci(scores, [10, 2, 3] * 3))


def test_groups_are_of_one_kind():
    scores = SNCI()
    scores.update(torch.rand(2, 3), ["audio", "vision"])
    for labels in ([1, 2], ["audio", 1], torch.tensor([0, 1])):
        with pytest.raises(TypeError, match="groups must all be strings or all be integers, got int, str"):
            scores.update(torch.rand(2, 3), labels)
    for label in (True, 0.5):
        with pytest.raises(TypeError, match=f"groups must be strings or integers, got {label}"):
            SNCI().update(torch.rand(2, 3), [label, label])
    with pytest.raises(ValueError, match="must fit in 63 bytes"):
        scores.update(torch.rand(1, 3), ["x" * 64])
    # what was refused left nothing behind
    assert scores.groups == ("audio", "vision")
    assert sum(map(len, scores.scores)) == sum(map(len, scores.labels)) == 2
    numbered = SNCI()
    numbered.update(torch.rand(2, 3), [np.int64(10), np.int64(2)])
    assert numbered.groups == (2, 10)
