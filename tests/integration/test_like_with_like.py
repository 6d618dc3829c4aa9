"""Every feature goes through the same steps: what is no property of a network changes no feature's score."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfas_lightning.data.events import volume_design
from nfas_lightning.data.responses import Responses
from nfas_lightning.datamodules import AliceDataModule
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory

CARD = {
    "name": "net", "modality": "language", "family": "toy", "source": "", "license": "", "parameters": 0,
    "weights_sha256": "", "note": "", "pooling": "mean", "weights": "pretrained", "twin_of": "",
    "seconds_capture": 0.0,
}  # fmt: skip
TWIN = {**CARD, "name": "net_random", "weights": "random", "twin_of": "net"}
NUMBERS = ["r", "r2", "r_joint", "r2_joint", "r_partial", "r2_partial"]
N, T, DEPTHS = 36, 60, 3
RARE = settings(max_examples=2, deadline=None)
SPACES = ["native", "procrustes"]
EVENTS = ["none", "hrf", "fir"]


def states_of(seed, n=N, width=5, depths=DEPTHS):
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(depths, n, width, generator=generator, dtype=torch.float64)
    return steps.cumsum(0).unbind()


def track(states):
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (state.shape[1],), state.shape[1], "torch.float64")
        for i, state in enumerate(states)
    )
    return Trajectory(tuple(states), layers, torch.arange(len(states[0])))


def brain(events, n=N, seed=3, volumes=T):
    """Two ROIs that follow the stimuli a little; with events also their rate."""
    generator = torch.Generator().manual_seed(seed)
    fields = {}
    if events != "none":
        # a pause in the middle, so that the rate varies in both designs
        onsets = torch.linspace(0, 0.9 * volumes, n) + 0.1 * volumes * (torch.arange(n) > n / 2)
        times = torch.arange(volumes).double()
        fields["design"] = volume_design(onsets.double(), times, tr=1.0, temporal=events, delays=(1, 2))
        fields |= {"tr": 1.0, "gap": 2}
    rows = volumes if fields else n
    drive = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    clean = fields["design"][0].double() @ (drive + 1) if fields else drive
    noise = torch.randn(1, rows, 2, generator=generator, dtype=torch.float64)
    return Responses(
        values=clean + clean.std() * noise,
        rois=pd.DataFrame({"roi": ["a", "b"]}),
        stimulus_ids=tuple(map(str, range(n))),
        dataset="toy",
        modality="language",
        subjects=("s",),
        runs=torch.zeros(rows, dtype=torch.long),
        **fields,
    ).with_event_rate()


def scores(states, responses, **choices):
    """Every number of every feature and block, the random twin's included."""
    choice = ScoringSettings(n_folds=3, n_permutations=0, selection="loo", **choices)
    result = score_trajectory(track(states), responses, CARD, choice)
    twin = score_trajectory(track(states), responses, TWIN, choice)
    table = pd.concat([result.scores, twin.scores]).set_index(["feature", "roi"])[NUMBERS]
    blocks = result.depth.set_index(["layer", "depth"])[["r", "r2"]].rename_axis(["feature", "roi"])
    return pd.concat([table, blocks])


@cache
def plain(space, events):
    return states_of(1), brain(events), scores(states_of(1), brain(events), state_space=space)


def same(got, wanted, atol=1e-6):
    pd.testing.assert_frame_equal(got, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("events", EVENTS)
@pytest.mark.parametrize("space", SPACES)
@given(offset=st.floats(-20, 20), seed=st.integers(0, 3))
@RARE
def test_an_offset_per_unit_changes_no_score(space, events, offset, seed):
    states, responses, wanted = plain(space, events)
    offsets = offset * torch.rand(DEPTHS, 5, generator=torch.Generator().manual_seed(seed)).double()
    moved = [state + part for state, part in zip(states, offsets, strict=True)]
    same(scores(moved, responses, state_space=space), wanted)


@pytest.mark.parametrize("events", EVENTS)
@pytest.mark.parametrize("space", SPACES)
@given(factor=st.floats(0.01, 100))
@RARE
def test_a_common_scale_changes_no_score(space, events, factor):
    states, responses, wanted = plain(space, events)
    same(scores([factor * state for state in states], responses, state_space=space), wanted)


@pytest.mark.parametrize("events", EVENTS)
@pytest.mark.parametrize("space", SPACES)
@given(order=st.permutations(range(5)))
@RARE
def test_a_permutation_of_units_changes_no_score(space, events, order):
    """In a state space each layer has its own order; in a residual stream all layers have the same."""
    states, responses, wanted = plain(space, events)
    turned = [
        state[:, list(order[i:] + order[:i] if space == "procrustes" else order)]
        for i, state in enumerate(states)
    ]
    same(scores(turned, responses, state_space=space), wanted)


@pytest.mark.parametrize("events", EVENTS)
@given(seed=st.integers(0, 50))
@RARE
def test_a_rotation_of_a_layers_units_changes_no_score_in_a_state_space(events, seed):
    states, responses, wanted = plain("procrustes", events)
    generator = torch.Generator().manual_seed(seed)
    turned = [state @ torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q for state in states]
    same(scores(turned, responses, state_space="procrustes"), wanted)


@pytest.mark.parametrize("events", ["hrf", "fir"])
@pytest.mark.parametrize("space", SPACES)
@given(value=st.floats(-50, 50), count=st.integers(1, 3))
@RARE
def test_an_event_of_weight_zero_changes_no_score(space, events, value, count):
    states, responses, wanted = plain(space, events)
    design = tuple(
        torch.cat([operator.to_dense(), torch.zeros(T, count)], dim=1) for operator in responses.design
    )
    ids = (*responses.stimulus_ids, *(f"unheard {i}" for i in range(count)))
    more = dataclasses.replace(responses, design=design, stimulus_ids=ids)
    longer = [torch.cat([state, torch.full_like(state[:count], value)]) for state in states]
    same(scores(longer, more, state_space=space), wanted)


def test_ragged_widths_are_read_from_the_state_space_and_not_from_raw_units():
    """Rotating the units of one layer changes unit-wise scaling, so raw units would score otherwise."""
    generator = torch.Generator().manual_seed(0)
    states = [
        torch.randn(N, width, generator=generator).double() * torch.arange(1, width + 1)
        for width in (6, 4, 5)
    ]
    turned = [
        state @ torch.linalg.qr(torch.randn(len(state.T), len(state.T), generator=generator).double()).Q
        for state in states
    ]
    responses = brain("hrf")
    same(scores(turned, responses), scores(states, responses))


@pytest.mark.parametrize("centering", ["none", "center", "zscore"])
def test_an_offset_changes_no_baseline_under_any_centering(centering):
    """With `none` the dynamics see the offset, so the stable mode is another; its baselines are not."""
    states, responses = states_of(0), brain("hrf")
    moved = [state + 5 for state in states]
    got, wanted = (scores(given, responses, centering=centering) for given in (moved, states))
    kept = [] if centering != "none" else ["stable_mode", "random_weights"]
    same(got.drop(kept, level="feature"), wanted.drop(kept, level="feature"))


@pytest.mark.parametrize("operator", ["per_stimulus", "pooled"])
def test_an_offset_changes_nothing_for_the_other_operators(operator):
    states, responses = states_of(0), brain("hrf")
    got = scores([state + 5 for state in states], responses, operator=operator)
    same(got, scores(states, responses, operator=operator), atol=1e-4)


def shifted_by(responses, *, n, seed=0, by=5.0):
    """What adding `by` to every unit of random numbers changes, in float32."""
    states = [state.float() for state in states_of(seed, n=n, width=16, depths=3)]
    changed = scores([state + by for state in states], responses) - scores(states, responses)
    return changed.abs().max(axis=None)


def test_random_numbers_with_five_added_move_no_feature():
    assert shifted_by(brain("hrf", n=400, volumes=150), n=400) < 1e-4


@pytest.mark.shared_data
def test_random_numbers_with_five_added_move_no_feature_on_a_story(shared_data):
    datamodule = AliceDataModule(shared_data)
    _, responses = datamodule.load()
    responses = responses.with_event_rate()
    assert shifted_by(responses, n=len(responses.stimulus_ids)) < 1e-3


def test_what_is_compared_is_read_from_one_trajectory():
    """Each block has one norm, whatever it was in the network; the mean over depth is of those."""
    states, responses = states_of(0), brain("none")
    louder = [state * factor for state, factor in zip(states, (1.0, 100.0, 0.01), strict=True)]
    same(scores(louder, responses), scores(states, responses))


def test_the_three_numbers_of_a_planted_response():
    """One ROI follows the nuisance alone, one the network alone, one both."""
    states, generator = states_of(5, n=200), torch.Generator().manual_seed(0)
    nuisance = torch.randn(200, 1, generator=generator).double()
    own = states[0][:, :1] / states[0][:, :1].std()
    noise = 0.5 * torch.randn(200, 3, generator=generator).double()
    values = torch.cat([nuisance, own, nuisance + own], dim=1) + noise
    responses = dataclasses.replace(
        brain("none", n=200),
        values=values[None],
        rois=pd.DataFrame({"roi": ["nuisance", "network", "both"]}),
        nuisances=nuisance,
        nuisance_names=("power",),
    )
    table = scores(states, responses).loc["all_blocks"]
    theory = {  # signal of unit variance in noise of variance 1/4, alone and beside another unit of variance
        "nuisance": {"r": 0.0, "r_joint": 1 / 1.25**0.5, "r_partial": 0.0},
        "network": {"r": 1 / 1.25**0.5, "r_joint": 1 / 1.25**0.5, "r_partial": 1 / 1.25**0.5},
        "both": {"r": 1 / 2.25**0.5, "r_joint": (2 / 2.25) ** 0.5, "r_partial": 1 / 1.25**0.5},
    }
    for roi, numbers in theory.items():
        for name, value in numbers.items():
            assert table.loc[roi, name] == pytest.approx(value, abs=0.2), (roi, name)
    own_row = scores(states, responses).loc["nuisance"]
    assert own_row.loc["nuisance", "r"] == pytest.approx(1 / 1.25**0.5, abs=0.05)
    assert own_row["r_partial"].isna().all()
    np.testing.assert_array_equal(own_row["r"], own_row["r_joint"])
