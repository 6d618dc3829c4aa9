"""What an encoding model yields, with and without its predictions."""

import pytest
import torch

from nfas_lightning.errors import NFASError
from nfas_lightning.functional.ridge import ridge_cv

_generator = torch.Generator().manual_seed(0)
X, Y = torch.randn(2, 40, 3, generator=_generator)


@pytest.mark.parametrize("nuisances", [None, torch.randn(40, 1, generator=_generator)])
def test_scores_are_the_same_whether_predictions_are_kept(nuisances):
    kept = ridge_cv(X, Y, nuisances=nuisances)
    scores = ridge_cv(X, Y, nuisances=nuisances, keep_preds=False)
    for name, value in vars(scores).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, getattr(kept, name), rtol=0, atol=0)
    for name in ("preds", "target", "joint_preds", "joint_target"):
        assert getattr(kept, name).shape == Y.shape
        with pytest.raises(NFASError, match="keep_preds=True"):
            getattr(scores, name)


def test_without_nuisances_joint_predictions_take_no_memory_of_their_own():
    result = ridge_cv(X, Y)
    assert result.joint_preds is result.preds
    assert result.joint_target is result.target
