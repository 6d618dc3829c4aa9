"""A space beside its untrained twins: from the tables of a run to a table of differences."""

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.functional.controls import STATISTICS, compare_spaces
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.space import NFAS
from nfas_lightning.space.control import compare_control, standardized


def long_table(n_rois=4, twins="abcdef", seed=0):
    """Two modalities of three models on one benchmark, trained and (some) untrained."""
    random = np.random.default_rng(seed)
    rows = []
    for model in "abcdef":
        modality = "audio" if model in "abc" else "vision"
        for feature in ("stable_mode", "random_weights"):
            if feature == "stable_mode" or model in twins:
                rows += [
                    {
                        "model": model, "modality": modality, "family": model, "dataset": "film",
                        "feature": feature, "roi": f"roi{r}", "network": "net", "subject": "group",
                        "r2": random.uniform(0, 0.5) + (0.3 if modality == "audio" and r < 2 else 0),
                    }
                    for r in range(n_rois)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def test_twins_of_a_run_are_the_control():
    table = long_table()
    space = NFAS.from_scores(table)
    wide = table.pivot_table(index="model", columns="roi", values="r2", aggfunc="first")
    assert space.scores.numpy() == pytest.approx(wide.to_numpy())
    twins = table[table["feature"] == "random_weights"].pivot_table(index="model", columns="roi", values="r2")
    assert space.control.numpy() == pytest.approx(twins.to_numpy())
    found = space.compare_control(n_permutations=99)
    expected = compare_spaces(space.scores, space.control, space.labels, n_permutations=99)
    assert found["statistic"].tolist() == list(STATISTICS)
    assert found["p_value"].to_numpy() == pytest.approx(expected.p_value.numpy())
    assert (found["n_models"].unique().tolist(), found["n_rois"].unique().tolist()) == ([6], [4])
    statistics = space.statistics(n_permutations=99)
    assert statistics.controls.equals(space.compare_control(n_permutations=99))
    assert statistics.tables()["controls"] is statistics.controls
    assert statistics.design == "crossed"
    assert space.statistics(n_permutations=0).controls.empty


def test_models_and_rois_without_a_twin_are_left_aside():
    table = long_table(twins="abde")
    twin_at_roi0 = (table["feature"] == "random_weights") & (table["roi"] == "roi0") & (table["model"] == "a")
    table.loc[twin_at_roi0, "r2"] = np.nan
    space = NFAS.from_scores(table)
    found = space.compare_control(n_permutations=9)
    assert (found["n_models"].unique().tolist(), found["n_rois"].unique().tolist()) == ([4], [3])
    kept = torch.tensor([0, 1, 3, 4])
    expected = compare_spaces(
        space.scores[kept][:, 1:], space.control[kept][:, 1:], list("xxyy"), n_permutations=9
    )
    assert found["untrained"].to_numpy() == pytest.approx(expected.second.numpy())
    one = NFAS.from_scores(long_table(twins="ad"))
    assert one.compare_control().empty
    assert NFAS.from_scores(long_table(twins="")).control is None
    assert NFAS.from_scores(long_table(), feature="random_weights").control is None
    with pytest.raises(ValueError, match="At no ROI does every model"):
        one.gains()
    with pytest.raises(ValueError, match="no untrained twins to subtract"):
        NFAS.from_scores(long_table(twins="")).gains()


def test_gains_are_what_training_adds():
    space = NFAS.from_scores(long_table())
    gains = space.gains()
    assert torch.equal(gains.scores, space.scores - space.control)
    assert (gains.value, gains.control, gains.group_by) == ("gain of r2", None, "modality")
    assert float(gains.permanova(n_permutations=9).statistic) == pytest.approx(
        float(permanova(torch.cdist(gains.scores, gains.scores), space.labels, n_permutations=9).statistic)
    )


def test_standardized_spaces_are_compared_as_they_are_seen():
    space = NFAS.from_scores(long_table(), standardize="model")
    seen = (standardized(space.scores), standardized(space.control))
    expected = compare_spaces(
        space.scores, space.control, space.labels, vectors=seen, metric="cosine", n_permutations=9
    )
    found = compare_control(
        space.scores, space.control, space.labels, standardize=True, metric="cosine", n_permutations=9
    )
    assert found["trained"].to_numpy() == pytest.approx(expected.first.numpy())
    flat = space.control.clone()
    flat[0] = 0.25  # a twin that scores alike everywhere has no pattern
    assert compare_control(space.scores, flat, space.labels, standardize=True)["n_models"].iloc[0] == 5


def test_strata_and_units_restrict_every_test_of_the_space():
    table = long_table()
    table["dataset"] = table["model"].map(dict(zip("abcdef", "xyyxyy", strict=True)))
    free, inside, whole = (
        NFAS.from_scores(table, **by) for by in ({}, {"strata": "dataset"}, {"units": "family"})
    )
    assert inside.design.word == "crossed"
    for name in ("permanova", "silhouette", "permdisp"):
        p = [float(getattr(space, name)(n_permutations=199).p_value) for space in (free, inside)]
        assert p[0] != p[1], name
    # every model is a family of its own: the same relabelings, drawn in another way
    assert float(whole.permanova(n_permutations=4000).p_value) == pytest.approx(
        float(free.permanova(n_permutations=4000).p_value), abs=0.03
    )
    statistics = inside.statistics(n_permutations=99)
    assert statistics.permanova["p_value"] == float(inside.permanova(n_permutations=99).p_value)
    assert statistics.anova["p_value"].to_numpy() == pytest.approx(
        inside.anova(n_permutations=99).p_value.numpy(), nan_ok=True
    )
    assert any("can fall below 0.17" in note for note in statistics.notes)  # 2 x 6 relabelings, 6 partitions
    assert statistics.stability["p_value"].notna().all()
    assert inside.select("model != 'a'").strata == "dataset"
    with pytest.raises(ValueError, match="strata must be a column of the models table, got 'datset'"):
        NFAS.from_scores(table, strata="datset")
    with pytest.raises(ValueError, match="confounded"):
        NFAS.from_scores(table, strata="modality").permanova()
