import numpy as np
import torch

from nfas_lightning.functional.stimulus_order import first_of_each


def test_first_rows_are_those_of_numpy():
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 40, 200))
    first, place = first_of_each(ids)
    distinct, wanted = np.unique(ids.numpy(), return_index=True)
    assert first.tolist() == wanted.tolist()
    assert ids[first].tolist() == distinct.tolist()
    assert torch.equal(ids[first][place], ids)


def test_nothing_has_no_first():
    first, place = first_of_each(torch.empty(0, dtype=torch.int64))
    assert (len(first), len(place)) == (0, 0)
