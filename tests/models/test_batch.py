"""What the preprocessing of every modality shares."""

import pytest
import torch

from nfas_lightning.models.batch import batch_field, prefix_mask


def test_the_first_of_each_row_are_true():
    mask = prefix_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_a_batch_of_another_modality_is_refused():
    batch = {"image": torch.zeros(1), "stimulus_id": torch.zeros(1)}
    assert batch_field(batch, "image") is batch["image"]
    with pytest.raises(
        ValueError, match=r"reads 'text' and the batch holds \['image', 'stimulus_id'\]: pair"
    ):
        batch_field(batch, "text")
