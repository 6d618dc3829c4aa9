"""Regions formed after the fit: means over their targets, and the p value of such a mean."""

import dataclasses
import math

import pandas as pd
import pytest
import torch

from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.regions import Regions
from tests.helpers.scoring import CARD, brain, trajectory

N_TARGETS = 12
PARCEL = ["V1"] * 4 + ["V2"] * 5 + [""] * 3


def voxels(track, parcels=PARCEL):
    """Targets of rising noise: some of V1 and V2 follow the stable mode, those of no parcel do not."""
    whole = brain(track, n_subjects=3, noise=0.5)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(3, 120, N_TARGETS, generator=generator) * torch.linspace(0.1, 4, N_TARGETS)
    table = pd.DataFrame({"roi": [f"voxel_{i}" for i in range(N_TARGETS)], "parcel": parcels})
    table["network"] = ["visual"] * 9 + [""] * 3
    table["x"] = range(N_TARGETS)
    return dataclasses.replace(whole, values=whole.values[:, :, :1] + noise, rois=table)


@pytest.mark.parametrize("subjects", ["group", "both"])
@pytest.mark.parametrize("least", [None, 0.8])
def test_a_regions_row_is_the_mean_of_its_targets_rows(subjects, least):
    track = trajectory()
    responses = voxels(track)
    settings = ScoringSettings(n_permutations=0, subjects=subjects)
    targets = score_trajectory(track, responses, CARD, settings)
    settings = dataclasses.replace(settings, regions="parcel", least_ceiling=least)
    regions = score_trajectory(track, responses, CARD, settings)
    rows = targets.scores.merge(responses.rois[["roi", "parcel"]], on="roi")
    rows = rows[(rows["parcel"] != "") & (rows["ceiling"] >= (-1 if least is None else least))]
    assert least is None or len(rows) < 9 / 12 * len(targets.scores)  # some voxels are left out
    keys = ["subject", "feature", "parcel"]
    expected = rows.groupby(keys)[["r", "r2", "r_partial", "ceiling"]].mean()
    found = regions.scores.rename(columns={"roi": "parcel"}).set_index(keys).sort_index()
    assert set(found["network"]) == {"visual"}
    expected = expected.reindex(found.index)  # NaN where no target counts
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_exact=False, rtol=1e-6)
    gained = (found["r2"] - found["r"].clip(lower=0) ** 2).dropna()  # a mean of squares beside a squared mean
    assert gained.min() > -1e-6
    assert gained.max() > 1e-4


def test_the_p_of_a_region_of_one_target_is_that_target_s_and_chance_is_not_small():
    track = trajectory()
    names = [f"p{i}" for i in range(N_TARGETS)]
    responses = voxels(track, parcels=names)
    settings = ScoringSettings(n_permutations=49, baselines=False)
    one = score_trajectory(track, responses, CARD, settings).scores
    other = score_trajectory(track, responses, CARD, dataclasses.replace(settings, regions="parcel")).scores
    assert other["roi"].tolist() == names
    for column in ("r", "r2", "p", "q", "ceiling", "n_volumes", "alpha_at_edge"):
        pd.testing.assert_series_equal(other[column], one[column], check_dtype=False)
    pooled = dataclasses.replace(settings, regions="network")
    scores = score_trajectory(track, responses, CARD, pooled).scores
    assert scores[["roi", "network"]].to_numpy().tolist() == [["visual", "visual"]]
    assert scores["p"].item() == pytest.approx(1 / 50)
    shuffled = dataclasses.replace(
        responses, values=responses.values[:, torch.randperm(120, generator=torch.Generator().manual_seed(5))]
    )
    assert score_trajectory(track, shuffled, CARD, pooled).scores["p"].item() > 0.02


def test_targets_without_a_value_do_not_count():
    regions = Regions.of(pd.DataFrame({"parcel": ["a", "a", None, "b"], "x": [1.0, 3.0, 9.0, 5.0]}), "parcel")
    assert regions.rois.to_dict("list") == {"roi": ["a", "b"], "x": [2.0, 5.0], "n_targets": [2, 1]}
    values = torch.tensor([[1.0, math.nan, 7.0, 4.0], [1.0, 2.0, 7.0, math.nan]])
    torch.testing.assert_close(
        regions.mean(values), torch.tensor([[1.0, 4.0], [1.5, math.nan]]), equal_nan=True
    )
    counted = torch.tensor([False, True, True, True])
    torch.testing.assert_close(
        regions.mean(values[1], counted), torch.tensor([2.0, math.nan]), equal_nan=True
    )


def test_a_region_whose_targets_lie_in_several_networks_is_in_none():
    table = pd.DataFrame({"parcel": ["a", "a", "b"], "network": ["n", "m", "m"]})
    assert Regions.of(table, "parcel").rois["network"].tolist() == ["", "m"]


def test_a_column_that_is_not_there_is_named_before_any_forward_pass():
    responses = brain(trajectory())
    with pytest.raises(ValueError, match="got 'parcel': the table has"):
        ScoringSettings(regions="parcel").check(responses)
    with pytest.raises(ValueError, match="regions is None"):
        ScoringSettings(least_ceiling=0.2)
    targets, choice = voxels(trajectory()), ScoringSettings(regions="parcel", least_ceiling=1.5)
    with pytest.raises(ValueError, match=r"least_ceiling=1.5 leaves no target: .* the highest is 0\.9"):
        choice.check(targets)
    alone = dataclasses.replace(targets, values=targets.values[:1], subjects=targets.subjects[:1])
    with pytest.raises(ValueError, match="of the noise ceilings none is known"):
        choice.check(alone)
    with pytest.raises(ValueError, match="got none in that column"):
        Regions.of(pd.DataFrame({"parcel": ["", ""]}), "parcel")
