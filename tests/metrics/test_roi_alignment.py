"""RoiAlignment: any features, the same encoding model, an oracle of its own."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torchmetrics import MetricCollection

from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.metrics import DMDAlignment, RoiAlignment
from tests.helpers.metrics import planted

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")


def features(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(60, 6, generator=generator, dtype=torch.float64).to(dtype)


def follow(X, seed=0, subjects=1):
    """Responses of the toy benchmark that follow features."""
    _, responses = planted()
    generator = torch.Generator().manual_seed(seed)
    signal = X.double() @ torch.randn(X.shape[1], 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(subjects, 60, 3, generator=generator, dtype=torch.float64)
    values = signal + 2 * noise
    return replace(responses, values=values, subjects=tuple(f"s{k}" for k in range(subjects)))


def update(metric, X, size=7, order=None):
    order = torch.arange(len(X)) if order is None else order
    for batch in torch.split(order, size):
        metric.update(X[batch], batch)
    return metric


def found(metric):
    """All numbers of a metric, of which compute returns the mean r."""
    torch.testing.assert_close(metric.compute(), metric.details["mean_r"], equal_nan=True)
    return metric.details


def test_equals_scikit_learn_fold_by_fold():
    X, responses = features(), follow(features())
    result = found(update(RoiAlignment(responses), X))
    x, y = X.numpy(), responses.group_mean.numpy()
    rs = []
    for test in np.array_split(np.arange(60), 5):
        train = np.setdiff1d(np.arange(60), test)
        (mx, sx), (my, sy) = ((a[train].mean(0), a[train].std(0)) for a in (x, y))
        model = RidgeCV(alphas=6 * np.logspace(-4, 5, 19), alpha_per_target=True)
        predicted = model.fit((x[train] - mx) / sx, (y[train] - my) / sy).predict((x[test] - mx) / sx)
        rs.append([np.corrcoef(predicted[:, k], y[test, k])[0, 1] for k in range(3)])
    np.testing.assert_allclose(result["r"], np.mean(rs, 0), atol=1e-8)
    np.testing.assert_allclose(result["r2"], np.mean(rs, 0).clip(0) ** 2, atol=1e-8)
    assert result["n_rois"] == 3


def test_noise_is_not_found():
    assert found(update(RoiAlignment(follow(torch.randn(60, 6))), features()))["mean_r"].abs() < 0.35
    rs = [
        float(found(update(RoiAlignment(follow(torch.zeros(60, 6), seed)), features()))["mean_r"])
        for seed in range(20)
    ]
    assert abs(np.mean(rs)) < 0.08


def test_order_batching_and_duplicates_do_not_matter():
    X, responses = features(torch.float32), follow(features())
    once = found(update(RoiAlignment(responses), X, 60))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    again = found(update(RoiAlignment(responses), X, 11, torch.cat([order, order[:9]])))
    for name, value in once.items():
        assert torch.equal(value, again[name]), name


def test_features_of_the_stable_mode_give_what_dmd_alignment_gives():
    from nfas_lightning.functional.dmd import stable_mode

    H, responses = planted(design=True)
    whole = DMDAlignment(responses)
    whole.update(H, torch.arange(60))
    part = update(RoiAlignment(responses), stable_mode(H))
    torch.testing.assert_close(found(part)["r"], found(whole)["r"])


def test_the_noise_ceiling_divides_and_masks():
    X = features()
    responses = follow(X, subjects=6)
    values = responses.values.clone()
    values[:, :, 2] = torch.randn(6, 60, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    responses = replace(responses, values=values)
    plain = found(update(RoiAlignment(responses), X))
    ceiling = noise_ceiling(values, method="split_half", fold=torch.arange(60) // 12)
    metric = RoiAlignment(responses, normalize=True, ceiling_threshold=0.6)
    with pytest.warns(UserWarning, match="1 of 3 ROIs have a noise ceiling below 0.6"):
        result = found(update(metric, X))
    torch.testing.assert_close(result["r"][:2], plain["r"][:2] / ceiling[:2])
    assert result["r"][2].isnan()
    assert result["n_rois"] == 2
    torch.testing.assert_close(result["mean_r"], result["r"][:2].mean())  # over those that could be scored
    torch.testing.assert_close(result["r2"][:2], result["r"][:2].clamp(min=0) ** 2)
    torch.testing.assert_close(result["mean_r2"], result["r2"][:2].mean())
    own = RoiAlignment(replace(responses, noise_ceiling=torch.full((3,), 0.5)), normalize=True)
    torch.testing.assert_close(found(update(own, X))["r"], plain["r"] / 0.5)
    with pytest.raises(ValueError, match="needs a noise ceiling, and 'toy' has neither"):
        RoiAlignment(follow(X), normalize=True)


def test_missing_stimuli_are_nan():
    metric = update(RoiAlignment(follow(features())), features()[:59])
    with pytest.warns(UserWarning, match="1 of the 60 stimuli"):
        result = found(metric)
    assert result["r"].isnan().all()
    assert result["n_rois"] == 0


def test_errors_say_what_came():
    metric = RoiAlignment(follow(features()))
    with pytest.raises(ValueError, match=r"features must have shape \(B, P\), got \(2, 3, 4\)"):
        metric.update(torch.zeros(2, 3, 4), torch.arange(2))
    with pytest.raises(ValueError, match="below the 60 stimuli"):
        metric.update(torch.zeros(1, 3), torch.tensor([60]))
    with pytest.raises(ValueError, match="features must be finite"):
        metric.update(torch.full((1, 3), float("inf")), torch.tensor([0]))
    metric.update(torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"features must have shape \(B, P=3\), got \(1, 4\)"):
        metric.update(torch.zeros(1, 4), torch.tensor([1]))


def test_torchmetrics_contract():
    X, responses = features(), follow(features())
    metric = update(RoiAlignment(responses), X)
    result = found(metric)
    for other in (metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(found(other), result)
        other.reset()
        torch.testing.assert_close(found(update(other, X)), result)
    metric.persistent(True)
    fresh = RoiAlignment(responses)
    fresh.persistent(True)
    fresh.load_state_dict(metric.state_dict())
    torch.testing.assert_close(found(fresh), result)
    collection = MetricCollection(
        {"five": RoiAlignment(responses), "ten": RoiAlignment(responses, n_folds=10)}
    )
    for batch in torch.split(torch.arange(60), 20):
        collection.update(X[batch], batch)
    collection.compute()
    assert list(collection.compute_groups.values()) == [["five", "ten"]]
    ax = metric.plot()[1]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(result["r"].tolist())
