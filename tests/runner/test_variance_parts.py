"""Networks on the same responses: parts of what they explain, from networks to a table."""

import numpy as np
import pytest
import torch

from nfas_lightning import align, partition_variance
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings
from tests.datamodules.test_streams import Net as StreamNet
from tests.datamodules.test_streams import streams
from tests.helpers.suites import Net, images


def network(name, seed=0):
    layers = ["blocks.0", "blocks.1", "blocks.2"]
    return {"model": Net(seed=seed).eval(), "name": name, "layers": layers, "preprocess": RawStimuli()}


@pytest.fixture(scope="module")
def brain():
    x = images(120)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(6, 120, 3, generator=generator)
    loud = torch.randn(120, 1, generator=generator)
    seen = (x.flatten(1) - 0.5) @ Net(seed=0).blocks[0].weight.detach().T
    values = torch.stack([seen[:, :3].sum(1), loud[:, 0], 0 * loud[:, 0]], 1)
    return ArrayDataModule(
        x, values + 0.5 * noise, rois=["sees", "hears", "none"], nuisances=loud, dataset="toy"
    )


def test_twins_share_everything_and_nuisances_are_their_own_set(brain):
    pair = [network("one"), network("two")]
    table = partition_variance(pair, brain, feature="all_blocks", n_draws=60, progress=False)
    r2 = table.pivot_table(index="part", columns="roi", values="r2")
    together = ["shared by one and two", "unique to nuisances", "all"]
    assert set(r2.index) == {
        "unique to one", "unique to two", "shared by one and nuisances", "shared by two and nuisances",
        "shared by one and two and nuisances", *together,
    }  # fmt: skip
    np.testing.assert_allclose(r2.drop("all").sum(), r2.loc["all"], atol=1e-6)
    np.testing.assert_allclose(r2["mean"], r2[["sees", "hears", "none"]].mean(axis=1), atol=1e-6)
    assert r2.loc[["unique to one", "unique to two"]].abs().max(axis=None) < 0.01  # the search is one of few
    assert r2.loc["shared by one and two", "sees"] > 0.3
    assert r2.loc["unique to nuisances", "hears"] > 0.3
    assert r2.loc[:, "none"].abs().max() < 0.05
    rows = table.set_index(["part", "roi"])
    for part, roi in (("shared by one and two", "sees"), ("unique to nuisances", "hears")):
        assert rows.loc[(part, roi), "p_value"] < 0.05
        assert 0 < rows.loc[(part, roi), "low"] < r2.loc[part, roi] < rows.loc[(part, roi), "high"]
    # what a single network explains is its score
    own = align(
        network("one")["model"],
        brain,
        layers=network("one")["layers"],
        preprocess=RawStimuli(),
        progress=False,
    )
    score = own.scores.query("feature == 'all_blocks' and roi == 'sees'")["r2"].item()
    parts = table[table["sets"].str.contains("one")].query("roi == 'sees' and part != 'all'")
    assert abs(parts["r2"].sum() - score) < 0.1


def test_networks_of_several_streams_meet_on_one_brain():
    models = [
        {"model": StreamNet(seed=k), "name": name, "modality": name, "preprocess": RawStimuli()}
        for k, name in enumerate(("vision", "audio"))
    ]
    settings = ScoringSettings(regions="half", seed=3)
    brain = streams()
    brain.prepare_data()
    brain.setup()
    for stream in brain.streams.values():
        stream.responses.rois["half"] = ["a", "a", "b", "b", "b"]
    brain.responses.rois["half"] = ["a", "a", "b", "b", "b"]
    table = partition_variance(models, brain, settings=settings, n_draws=20, nuisances=False, progress=False)
    assert list(table["part"].unique()) == [
        "unique to vision",
        "unique to audio",
        "shared by vision and audio",
        "all",
    ]
    assert list(table["roi"].unique()) == ["a", "b", "mean"]
    assert table["r2"].abs().max() < 0.25  # the responses are noise
    assert (table["low"] <= table["r2"]).all()  # a part that is zero in every draw has no width


def test_a_partition_needs_two_sets_and_a_feature_that_is_one(brain):
    with pytest.raises(ValueError, match="sets must be two to 5 named feature sets, got 1"):
        partition_variance([network("one")], brain, nuisances=False, progress=False)
    with pytest.raises(ValueError, match="feature must be one of 'stable_mode'"):
        partition_variance([network("one")], brain, feature="best_block", progress=False)
    with pytest.raises(ValueError, match="n_draws must be at least 2, got 1"):
        partition_variance([network("one")], brain, n_draws=1)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 95"):
        partition_variance([network("one")], brain, confidence=95)
    with pytest.raises(ValueError, match="No model may be called 'nuisances'"):
        partition_variance([network("nuisances")], brain, progress=False)
