"""From a forward pass to scores on an accelerator: states stay where they arise, whatever the memory."""

import warnings
from functools import partial

import pandas as pd
import pytest
import torch
from torch import nn

from nfas_lightning.functional import checks, ridge_cv, ridge_null
from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.metrics import DepthSpectrum, DMDAlignment, RoiAlignment
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.pretended_device import DEVICE, PretendedDevice, pretend, reveal
from tests.helpers.scoring import CARD, brain, trajectory

SMALL = 40  # numbers that may come to the host at a time: of depths, modes or ROIs, none of stimuli
INPUTS = torch.randn(120, 6, generator=torch.Generator().manual_seed(3))


class Block(nn.Module):
    """A layer whose weights are where its input is."""

    def __init__(self, seed, width=(6, 6)):
        super().__init__()
        self.weight = torch.randn(*width, generator=torch.Generator().manual_seed(seed)) / 2

    def forward(self, x):
        return (
            x + (x @ self.weight.to(x.device)).tanh()
            if x.shape[1] == self.weight.shape[1]
            else x @ self.weight.to(x.device)
        )


def recorded(inputs, budget=None, width=6, **options):
    """Record a network over batches of inputs, on their device."""
    network = nn.Sequential(*(Block(seed) for seed in range(4)), Block(9, (6, width)))
    recorder = DepthRecorder(network, list("01234"), memory_budget=budget, **options)
    with recorder, torch.no_grad():
        for rows in torch.arange(len(inputs)).split(16):
            network(inputs[rows[0] : rows[-1] + 1])
            recorder.collect(rows)
    return recorder.take()


def responses(**changes):
    return brain(trajectory(), nuisances=INPUTS[:, :1] ** 2, nuisance_names=("square",), **changes)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    # a pretended device is slow, and ten splits of the subjects do what a hundred do
    monkeypatch.setattr("nfas_lightning.data.responses.noise_ceiling", partial(noise_ceiling, n_splits=10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_same(found, expected, exact=False):
    for name in ("scores", "spectra", "depth", "modes"):
        one, other = getattr(found, name), getattr(expected, name)
        tolerance = {"check_exact": True} if exact else {"rtol": 1e-4, "atol": 1e-5}
        pd.testing.assert_frame_equal(one, other, **tolerance)


@pytest.mark.parametrize(
    ("choices", "width"),
    [({"modes": 3}, 6), ({"operator": "pooled", "baselines": False}, 6), ({"baselines": False}, 9)],
    ids=["joint", "pooled", "ragged"],
)
def test_nothing_of_the_size_of_the_stimuli_comes_to_the_host(choices, width):
    # draws of means are a table of their own: few, so that they are no more than the rest
    settings = ScoringSettings(n_permutations=4, n_folds=2, n_bootstrap=20, **choices)
    expected = score_trajectory(recorded(INPUTS, width=width), responses(), CARD, settings)
    with PretendedDevice() as device:
        states = recorded(pretend(INPUTS), width=width)
        assert {state.device for state in states.states} == {DEVICE}
        device.brought.clear()  # the recorder looks whether states are finite
        found = score_trajectory(states, responses(), CARD, settings)
    assert_same(found, expected)
    assert device.brought
    n_features = found.draws["feature"].nunique()
    assert max(device.brought) <= max(SMALL, 20 * n_features)


@pytest.mark.parametrize("width", [6, 9], ids=["native", "ragged"])
def test_scores_do_not_depend_on_where_states_were_spilled(width):
    settings = ScoringSettings(n_permutations=0, n_folds=2, baselines=False)
    with PretendedDevice():
        whole = score_trajectory(recorded(pretend(INPUTS), width=width), responses(), CARD, settings)
        for budget in (0, 3000):
            spilled = recorded(pretend(INPUTS), budget, width=width)
            assert torch.device("cpu") in {state.device for state in spilled.states}
            assert spilled.device == DEVICE
            found = score_trajectory(spilled, responses(), CARD, settings)
            assert_same(found, whole, exact=True)


def test_another_device_can_be_asked_for():
    settings = ScoringSettings(n_permutations=0, n_folds=2, baselines=False)
    with PretendedDevice() as device:
        states = recorded(pretend(INPUTS), device="cpu")
        device.brought.clear()
        assert {state.device for state in states.states} == {torch.device("cpu")}
        found = score_trajectory(states, responses(), CARD, settings)
        assert not device.brought  # all of it on the CPU
        other = score_trajectory(states, responses(), CARD, settings, device=DEVICE)
        assert device.brought
    assert_same(other, found)


@pytest.mark.parametrize("budget", [None, 0])
def test_metrics_keep_and_compute_on_their_device(budget):
    known = responses()
    states = recorded(INPUTS)
    metrics = [
        lambda: DMDAlignment(known, memory_budget=budget),
        lambda: RoiAlignment(known, normalize=True, memory_budget=budget),
        lambda: DepthSpectrum(memory_budget=budget),
    ]
    for make in metrics:
        metric, given = make(), states.stack()
        given = given[:, -1] if isinstance(metric, RoiAlignment) else given
        metric.update(given, torch.arange(120))
        expected, details = metric.compute(), metric.details
        with PretendedDevice() as device:
            metric = make().to(DEVICE)
            for rows in torch.arange(120).split(50):
                metric.update(pretend(given[rows]), rows)
            assert ({row.device for row in metric.rows} == {DEVICE}) == (budget is None)
            device.brought.clear()
            found = metric.compute()
            assert found.device == DEVICE
            assert budget is not None or max(device.brought) <= SMALL
            torch.testing.assert_close(reveal(found), expected, rtol=1e-4, atol=1e-5)
            for name, value in details.items():
                torch.testing.assert_close(
                    reveal(metric.details[name]), value, rtol=1e-4, atol=1e-5, equal_nan=True
                )


def test_a_device_without_float64_gives_the_same_scores(monkeypatch):
    monkeypatch.setattr(checks, "_NO_FLOAT64", {"meta"})
    settings, known = ScoringSettings(n_permutations=4, n_folds=2, baselines=False), responses()
    expected = score_trajectory(recorded(INPUTS), known, CARD, settings)
    Y = known.group_mean
    result = ridge_cv(INPUTS, Y)
    metric = DMDAlignment(known)
    metric.update(recorded(INPUTS).stack(), torch.arange(120))
    r = metric.compute()
    with PretendedDevice(float64=False):
        with pytest.raises(TypeError, match="no float64"):
            pretend(Y).double()
        found = score_trajectory(recorded(pretend(INPUTS)), known, CARD, settings)
        other = ridge_cv(pretend(INPUTS), pretend(Y))
        null = ridge_null(pretend(INPUTS), pretend(Y), other, n_permutations=9)
        assert {other.r.device, other.preds.device, null.device} == {DEVICE}
        metric = DMDAlignment(known).to(DEVICE)
        metric.update(recorded(pretend(INPUTS)).stack(), torch.arange(120))
        assert abs(float(metric.compute()) - float(r)) < 1e-3
    assert_same(found, expected)
    torch.testing.assert_close(reveal(other.r), result.r, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        reveal(null), ridge_null(INPUTS, Y, result, n_permutations=9), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("selection", ["folds", "loo"])
@pytest.mark.parametrize("steepness", [0.0, 1.0])
def test_float32_gives_the_scores_of_float64(selection, steepness):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(150, 60, generator=generator, dtype=torch.float64)
    X = X @ (
        torch.randn(60, 60, generator=generator, dtype=torch.float64)
        * torch.arange(1, 61)[:, None] ** -steepness
    )
    Y = X[:, :8] + X.std() * torch.randn(150, 8, generator=generator, dtype=torch.float64)
    exact = ridge_cv(X, Y, selection=selection)
    single = ridge_cv(X.float(), Y.float(), selection=selection)
    torch.testing.assert_close(single.r.double(), exact.r, rtol=0, atol=1e-4)
