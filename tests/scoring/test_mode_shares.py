"""Depth spectra of regions: planted modes recovered, nothing found in noise, parts that add up."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.results import OPTIONAL, RunFolder, RunResults
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.dynamics import planted_modes
from tests.helpers.scoring import CARD, brain

KINDS = ("persistent", "turning", "decaying")
N_NOISE = 25
# "scale" would turn depths that lose a part of their norm into other dynamics
SETTINGS = ScoringSettings(n_permutations=0, baselines=False, centering="center", modes=4)


@pytest.fixture(scope="module")
def planted():
    H, features = planted_modes(n=150, width=4)
    layers = tuple(LayerInfo(f"block.{i}", i, "Block", (4,), 4, "torch.float32") for i in range(H.shape[1]))
    track = Trajectory(tuple(H.float().unbind(1)), layers, torch.arange(len(H)))
    generator = torch.Generator().manual_seed(3)
    nothing = [torch.zeros(len(H))] * N_NOISE
    signals = torch.stack([features[kind].sum(1) for kind in KINDS] + nothing, 1)
    scaled = (signals / signals.std(0).clamp(min=1e-9)).float()
    values = scaled + 0.5 * torch.randn(3, *signals.shape, generator=generator)
    names = [*KINDS, *(f"noise{i}" for i in range(N_NOISE))]
    rois = pd.DataFrame({"roi": names, "network": ["a", "a", "b", *["none"] * N_NOISE]})
    responses = brain(track, values=values, rois=rois, runs=torch.zeros(len(H), dtype=torch.long))
    return track, responses, score_trajectory(track, responses, CARD, SETTINGS)


def test_regions_follow_the_modes_that_were_planted(planted, tmp_path):
    _, _, result = planted
    modes = result.modes
    assert list(modes) == list(OPTIONAL["modes"])
    assert len(modes) == (len(KINDS) + N_NOISE) * 3
    by_kind = modes.pivot_table(index="roi", columns="kind", values="share")
    for kind in KINDS:
        assert by_kind.loc[kind, kind] > 0.95
        assert by_kind.loc[kind].drop(kind).abs().max() < 0.05
    noise = modes[modes["network"] == "none"]
    assert noise.groupby("kind")["r2"].mean().abs().max() < 0.01
    assert modes[modes["network"] != "none"].groupby("roi")["r2_whole"].first().min() > 0.7
    np.testing.assert_allclose(
        modes.groupby("roi")["r2"].sum(), modes.groupby("roi")["r2_whole"].first(), atol=1e-6
    )
    first = noise.groupby("kind").first()
    np.testing.assert_allclose(
        first.loc["decaying", ["modulus", "turn"]].to_numpy(float), [0.5, 0], atol=1e-3
    )
    np.testing.assert_allclose(first.loc["decaying", "depth_constant"], 1 / np.log(2), rtol=1e-2)
    np.testing.assert_allclose(first.loc["turning", "turn"], np.degrees(0.7), rtol=1e-3)
    # kept with the other tables, alone and in a run
    folder = RunFolder(tmp_path)
    folder.write("net", "k" * 64, result)
    pd.testing.assert_frame_equal(folder.read("net", "k" * 64).modes, modes)
    run = folder.gather([("net", "k" * 64)], pd.DataFrame({"roi": modes["roi"].unique()}), {})
    read = RunResults.load(tmp_path)
    pd.testing.assert_frame_equal(read.modes, run.modes)
    without = replace(run, modes=run.modes[:0])
    pd.testing.assert_frame_equal(RunResults.concatenate([run, without]).modes, modes)
    assert "modes" in repr(run)
    assert "modes" not in repr(without)


def test_subjects_regions_and_nuisances(planted):
    track, responses, result = planted
    rois = responses.rois.assign(parcel=["p", "p", "q", *[""] * N_NOISE])
    settings = replace(SETTINGS, subjects="both", regions="parcel")
    modes = score_trajectory(track, replace(responses, rois=rois), CARD, settings).modes
    assert set(zip(modes["subject"], modes["roi"], strict=True)) == {
        (who, roi) for who in ("group", "s0", "s1", "s2") for roi in ("p", "q")
    }
    alone = result.modes.set_index(["kind", "roi"])["r2"]
    of_p = modes.query("subject == 'group' and roi == 'p'").set_index("kind")["r2"]
    for kind in KINDS:
        mean = (alone[kind, "persistent"] + alone[kind, "turning"]) / 2
        np.testing.assert_allclose(of_p[kind], mean, atol=1e-5)
    # a nuisance that is what a region follows leaves nothing to share
    known = planted_modes(n=150, width=4)[1]["decaying"].sum(1, keepdim=True).float()
    beside = replace(responses, nuisances=known, nuisance_names=("known",))
    partial = score_trajectory(track, beside, CARD, SETTINGS).modes
    assert partial.query("roi == 'decaying'")["r2_whole"].max() < 0.05
    same = score_trajectory(track, beside, CARD, replace(SETTINGS, score="alone")).modes
    pd.testing.assert_frame_equal(same, result.modes)


def test_modes_are_those_of_all_stimuli():
    with pytest.raises(ValueError, match='modes=4 needs operator="joint"'):
        ScoringSettings(modes=4, operator="pooled")
    with pytest.raises(ValueError, match="modes must be at least 0"):
        ScoringSettings(modes=-1)
