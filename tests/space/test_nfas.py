"""The space of models: joins, statistics, and what it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.embedding import mds, pca
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.snci import snci, snci_bootstrap, snci_permutation
from nfas_lightning.plotting.style import SIMULATED
from nfas_lightning.results import COLUMNS, RunResults, few_models
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results


def scores_table(modalities=("audio", "audio", "audio", "vision", "vision", "vision"), n_rois=8, seed=0):
    """Long scores table of planted models, in the columns of a run."""
    generator = np.random.default_rng(seed)
    level = {name: generator.uniform(0.1, 0.5, n_rois) for name in sorted(set(modalities))}
    rows = [
        {
            **dict.fromkeys(COLUMNS["scores"], 0.0),
            "score": "alone",
            **{"model": f"m{i}", "modality": name, "family": "f", "dataset": name, "subject": subject},
            **{"feature": feature, "roi": f"roi{r}", "network": f"net{r % 2}", "simulated": True},
            **{"r2": (level[name][r] + 0.02 * generator.normal()) * (feature == "stable_mode")},
        }
        for i, name in enumerate(modalities)
        for subject in ("group", "s1")
        for feature in ("stable_mode", "last_block")
        for r in range(n_rois)
    ]
    return pd.DataFrame(rows)[list(COLUMNS["scores"])]


def wide(table):
    chosen = table[(table["feature"] == "stable_mode") & (table["subject"] == "group")]
    return chosen.set_index(["model", "roi"])["r2"].unstack()  # noqa: PD010  # the pivot is the oracle here


def test_from_scores_joins_on_roi_id_and_not_on_position():
    table = scores_table()
    shuffled = table.sample(frac=1, random_state=0)
    for rows in (table, shuffled):
        space = NFAS.from_scores(rows)
        expected = wide(table).loc[space.models["model"], space.rois["roi"]]
        np.testing.assert_array_equal(space.scores, expected)
        assert (
            space.rois["network"] == "net" + (space.rois["roi"].str[3:].astype(int) % 2).astype(str)
        ).all()
        assert dict(zip(space.models["model"], space.models["modality"], strict=True))["m5"] == "vision"
    assert NFAS.from_scores(table, feature="last_block").scores.sum() == 0


def test_a_model_that_scores_nowhere_does_not_take_the_others_with_it():
    table = scores_table()
    table.loc[table["model"] == "m4", "r2"] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 6 models score NaN at every ROI and were left out: \['m4'\]"):
        space = NFAS.from_scores(table)
    assert list(space.models["model"]) == ["m0", "m1", "m2", "m3", "m5"]
    without = NFAS.from_scores(table[table["model"] != "m4"])
    torch.testing.assert_close(space.scores, without.scores)
    assert "m4" in space.statistics(n_permutations=19).notes[0]
    with (
        pytest.warns(UserWarning, match="8 of 8 ROIs lack"),
        pytest.raises(ValueError, match="No ROI has a finite score"),
    ):
        NFAS.from_scores(table.assign(r2=np.nan))


def test_rois_of_a_run_describe_the_columns():
    table = scores_table()
    rois = pd.DataFrame({"roi": [f"roi{r}" for r in range(9, -1, -1)], "x": range(10)})
    empty = pd.DataFrame()
    space = NFAS.from_scores(RunResults(table, empty, empty, empty, rois))
    assert space.rois["roi"].tolist() == [f"roi{r}" for r in range(8)]
    assert space.rois["x"].tolist() == [9, 8, 7, 6, 5, 4, 3, 2]


def test_axes_that_differ_are_an_error_or_an_intersection():
    table = scores_table()
    table = table[~((table["model"] == "m4") & table["roi"].isin(["roi2", "roi5"]))]
    with pytest.raises(
        ValueError, match=r"1 of 6 models lack some: 'm4' lacks 2 of 8 \('roi2', 'roi5'\).*the 6 ROIs"
    ):
        NFAS.from_scores(table)
    space = NFAS.from_scores(table, axis="intersection")
    assert space.rois["roi"].tolist() == ["roi0", "roi1", "roi3", "roi4", "roi6", "roi7"]
    assert space.notes == ("2 of 8 ROIs were not scored for every model and left out.",)
    assert space.statistics(n_permutations=9).notes[0] == space.notes[0]


def test_rois_with_a_missing_score_are_dropped_and_reported():
    table = scores_table()
    table.loc[(table["model"] == "m1") & (table["roi"] == "roi3"), "r2"] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 8 ROIs lack a finite score.*\['roi3'\]"):
        space = NFAS.from_scores(table)
    assert "roi3" not in space.rois["roi"].tolist()
    assert space.scores.isfinite().all()
    table["r2"] = np.nan
    with (
        pytest.warns(UserWarning, match="8 of 8"),
        pytest.raises(ValueError, match="No ROI has a finite score"),
    ):
        NFAS.from_scores(table)


def test_a_model_scored_twice_is_an_error():
    table = scores_table()
    with pytest.raises(ValueError, match="'m0' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, table]))
    with pytest.raises(
        ValueError, match=r"feature must be one of the table's \['last_block', 'stable_mode'\], got 'x'"
    ):
        NFAS.from_scores(table, feature="x")
    with pytest.raises(ValueError, match="value must be a column"):
        NFAS.from_scores(table, value="rho")


def test_constructor_refuses_what_does_not_match():
    models = pd.DataFrame({"model": ["a", "b"], "modality": ["audio", "vision"]})
    rois = pd.DataFrame({"roi": ["V1", "A1", "A2"]})
    V = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"scores must have shape \(M, R\) = \(2, 3\).*got \(3, 2\)"):
        NFAS(V.T, models, rois)
    with pytest.raises(ValueError, match=r"at 1 expected 'A1', got 'A2'\. Reindex by name"):
        NFAS(pd.DataFrame(V, columns=["V1", "A2", "A1"]), models, rois)
    with pytest.raises(ValueError, match="models must name each model once"):
        NFAS(V, models.assign(model="a"), rois)
    with pytest.raises(ValueError, match="rois must have the column 'roi'"):
        NFAS(V, models, pd.DataFrame({"name": range(3)}))
    with pytest.raises(ValueError, match=r"1 missing at 1 ROIs, such as \['A1'\]"):
        NFAS(np.array([[1, np.nan, 1], [1, 1, 1]]), models, rois)
    with pytest.raises(ValueError, match="rois must be given"):
        NFAS(V, models)
    assert NFAS(pd.DataFrame(V, columns=["V1", "A1", "A2"]), models).rois["roi"].tolist() == [
        "V1",
        "A1",
        "A2",
    ]


def test_statistics_are_those_of_the_parts():
    space = NFAS.from_scores(scores_table())
    statistics = space.statistics(n_permutations=199)
    assert statistics.permanova["statistic"] == pytest.approx(
        float(space.permanova(n_permutations=199).statistic)
    )
    assert statistics.permanova["p_value"] <= 0.2
    assert statistics.silhouette["statistic"] == pytest.approx(
        statistics.silhouette_samples["silhouette"].mean()
    )
    assert statistics.coordinates["model"].tolist() == [f"m{i}" for i in range(6)]
    assert 0 < statistics.explained[1] < statistics.explained[0] < 1
    assert list(statistics.pairwise[["first", "second"]].iloc[0]) == ["audio", "vision"]
    assert list(statistics.anova.columns) == [
        "roi",
        "network",
        "statistic",
        "p_value",
        "q_value",
        "eta_squared",
    ]
    audio = statistics.snci[statistics.snci["group"] == "audio"].set_index("roi")
    expected = snci(space.scores[:3], ["audio"] * 3)[0]
    np.testing.assert_allclose(audio.loc[space.rois["roi"], "ratio"], expected)
    smallest = statistics.snci.groupby("roi")["bounded"].min()
    np.testing.assert_allclose(smallest[statistics.convergence["roi"]], statistics.convergence["convergence"])
    # three against three: 10 partitions
    assert any("can fall below 0.1" in note for note in statistics.notes)


def test_a_pair_has_one_note_for_all_that_it_lacks():
    table = scores_table()
    few = NFAS.from_scores(table[table["model"].isin(["m0", "m1"])])
    assert few.statistics(n_permutations=9).notes == (few_models("modality"),)
    assert few.statistics(n_permutations=9).is_small


def test_one_modality_has_coordinates_and_snci_and_notes():
    statistics = NFAS.from_scores(scores_table(["audio"] * 4)).statistics()
    assert len(statistics.coordinates) == 4
    assert len(statistics.snci) == 8
    assert statistics.permanova == statistics.permdisp == statistics.silhouette == {}
    assert statistics.anova.empty
    assert statistics.pairwise.empty
    assert statistics.convergence.empty
    assert any("need two modalities of two models, got {'audio': 4}" in note for note in statistics.notes)


def test_a_modality_of_one_model_is_left_out_of_the_tests():
    statistics = NFAS.from_scores(
        scores_table(["audio", "audio", "language", "vision", "vision"])
    ).statistics()
    assert len(statistics.coordinates) == 5
    assert len(statistics.silhouette_samples) == 4
    assert any(note.startswith("language: one model each") for note in statistics.notes)
    assert any("'language' has one model" in note for note in statistics.notes)
    assert statistics.convergence["convergence"].isna().all()


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_model(n):
    statistics = NFAS.from_scores(scores_table(["audio"] * n)).statistics()
    assert np.isfinite(statistics.coordinates[["PC1", "PC2"]]).all(axis=None)
    assert statistics.permanova == {}


def test_models_that_do_not_differ_have_no_significance():
    models = pd.DataFrame({"model": list("abcd"), "modality": ["x", "x", "y", "y"]})
    statistics = NFAS(np.full((4, 3), 0.2), models, pd.DataFrame({"roi": list("pqr")})).statistics()
    assert np.isnan(statistics.permanova["p_value"])
    assert np.isnan(statistics.silhouette["statistic"])
    assert statistics.anova["p_value"].isna().all()
    assert any("All distances are zero" in note for note in statistics.notes)


def test_standardized_models_are_compared_by_pattern():
    table = scores_table()
    louder = table.assign(r2=table["r2"].where(table["model"] != "m0", 0.5 * table["r2"]))
    plain, pattern = (NFAS.from_scores(louder, standardize=how) for how in ("none", "model"))
    reference = NFAS.from_scores(table, standardize="model")
    torch.testing.assert_close(pattern.distances(), reference.distances())
    assert not torch.allclose(plain.distances(), reference.distances())
    assert torch.equal(pattern.snci(), plain.snci())  # SNCI needs the level
    assert repr(pattern) == "NFAS(6 models x 8 ROIs, r2, pattern only: 3 audio, 3 vision)"
    models = pd.DataFrame({"model": ["a"], "modality": ["x"]})
    flat = NFAS([[1.0, 1.0]], models, pd.DataFrame({"roi": ["p", "q"]}), standardize="model")
    with pytest.raises(ValueError, match=r"\['a'\] score the same at every ROI"):
        flat.distances()


def test_scores_are_copied():
    V = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    models = pd.DataFrame({"model": ["a", "b"], "modality": "audio"})
    for given in (V, V.numpy()):
        space = NFAS(given, models, pd.DataFrame({"roi": list("pqr")}))
        before = space.scores.clone()
        V *= 0.5
        assert torch.equal(space.scores, before)


def test_nearest_and_select():
    space = NFAS.from_scores(scores_table())
    nearest = space.nearest("m0", 2)
    assert nearest["modality"].tolist() == ["audio", "audio"]
    assert nearest["distance"].is_monotonic_increasing
    with pytest.raises(ValueError, match="got 'resnet'"):
        space.nearest("resnet")
    for where in (
        "modality == 'vision'",
        [False] * 3 + [True] * 3,
        lambda table: table["modality"] == "vision",
    ):
        part = space.select(where)
        assert part.models["model"].tolist() == ["m3", "m4", "m5"]
        torch.testing.assert_close(part.scores, space.scores[3:])
    with pytest.raises(ValueError, match="mask of 6 booleans"):
        space.select([True])
    with pytest.raises(ValueError, match=r"Did you mean 'modality'\? Columns of a model: \['model'"):
        space.select("modalty == 'audio'")
    with pytest.raises(ValueError, match="No model of 6"):
        space.select("modality == 'smell'")
    with pytest.raises(ValueError, match="group_by must be a column"):
        space.regroup("color")


def test_geometry_delegates_with_the_chosen_metric():
    space = NFAS.from_scores(scores_table(), metric="correlation")
    assert space.pca(3).coordinates.shape == (6, 3)
    assert space.mds().coordinates.shape == (6, 2)
    torch.testing.assert_close(space.distances(), space.distances("correlation"))
    assert space.anova().p_value.shape == (8,)
    assert space.convergence().shape == (8,)
    assert (
        space.snci_bootstrap("bounded").low.shape == space.snci_permutation(n_permutations=9).shape == (2, 8)
    )
    assert space.permanova_pairwise(n_permutations=9).pairs == (("audio", "vision"),)


def test_pattern_and_metric_reach_every_statistic_that_is_of_vectors():
    table = scores_table(("vision", "vision", "audio", "audio", "audio", "vision"))
    space = NFAS.from_scores(table, standardize="model", metric="correlation")
    assert space.groups == ("audio", "vision")
    scores, labels = space.scores, space.models["modality"].tolist()
    V = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
    torch.testing.assert_close(space.vectors, V)
    D = 1 - torch.from_numpy(np.corrcoef(V.numpy()))
    torch.testing.assert_close(space.distances(), D)
    # a metric of one's own for once
    torch.testing.assert_close(space.distances("euclidean"), torch.cdist(V, V))
    torch.testing.assert_close(
        space.mds(2, "euclidean").coordinates, mds(torch.cdist(V, V), 2).coordinates, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(space.pca(2).coordinates, pca(V, 2).coordinates)
    torch.testing.assert_close(space.anova().statistic, anova(V, labels).statistic)
    torch.testing.assert_close(
        space.permanova(n_permutations=9, seed=3).statistic, permanova(D, labels, n_permutations=9).statistic
    )
    # consistency is of the scores as they are
    torch.testing.assert_close(space.snci("db"), snci(scores, labels, form="db"))
    torch.testing.assert_close(space.convergence(), snci(scores, labels, form="bounded").amin(0))
    wanted = snci_bootstrap(scores, labels, confidence=0.5, seed=4)
    torch.testing.assert_close(space.snci_bootstrap(confidence=0.5, seed=4), wanted)
    p = snci_permutation(scores, labels, n_permutations=19, seed=4)
    torch.testing.assert_close(space.snci_permutation(n_permutations=19, seed=4), p)
    # and a part of the space is read in the same way
    part = space.select([True, True, True, True, False, True])
    torch.testing.assert_close(part.distances(), D[[0, 1, 2, 3, 5]][:, [0, 1, 2, 3, 5]])
    row = D[2].clone()
    row[2] = np.inf
    found = space.nearest("m2", 4)
    assert found["model"].tolist() == [f"m{i}" for i in row.argsort()[:4].tolist()]
    np.testing.assert_allclose(found["distance"], row.sort().values[:4])


def test_tables_of_the_statistics_row_by_row():
    space = NFAS.from_scores(scores_table(("vision", "audio", "audio", "vision", "vision", "audio")))
    statistics = space.statistics(n_permutations=99, seed=5, stability=False)
    labels = space.models["modality"].tolist()
    spread = permdisp(space.distances(), labels, n_permutations=99, seed=5)
    assert statistics.permdisp["statistic"] == pytest.approx(float(spread.statistic))
    assert statistics.permdisp["p_value"] == pytest.approx(float(spread.p_value))
    p = snci_permutation(space.scores, labels, n_permutations=99, seed=5)
    interval = snci_bootstrap(space.scores, labels, seed=5)
    for g, name in enumerate(("audio", "vision")):
        rows = statistics.snci[statistics.snci["group"] == name]
        np.testing.assert_allclose(rows["ratio"], snci(space.scores, labels)[g])
        np.testing.assert_allclose(rows["ratio_low"], interval.low[g])
        np.testing.assert_allclose(rows["ratio_high"], interval.high[g])
        np.testing.assert_allclose(rows["p_value"], p[g])
        np.testing.assert_allclose(rows["q_value"], fdr(p[g]))  # over the ROIs of one modality
    coordinates = pca(space.scores, 2).coordinates
    np.testing.assert_allclose(statistics.coordinates[["PC1", "PC2"]], coordinates)
    by_pattern = mds(space.distances("correlation"), 2).coordinates
    np.testing.assert_allclose(statistics.coordinates[["MDS1", "MDS2"]], by_pattern)
    first = statistics.nearest[statistics.nearest["model"] == "m0"]
    assert first["rank"].tolist() == [1, 2, 3]
    assert first["neighbor"].tolist() == space.nearest("m0", 3)["model"].tolist()


def test_the_value_that_was_asked_for_is_the_one_that_is_read():
    table = scores_table()
    table["r"] = np.random.default_rng(7).uniform(-1, 1, size=len(table))
    chosen = table[(table["feature"] == "stable_mode") & (table["subject"] == "s1")]
    space = NFAS.from_scores(table, value="r", subject="s1")
    expected = chosen.set_index(["model", "roi"])["r"].unstack()  # noqa: PD010  # the pivot is the oracle
    np.testing.assert_array_equal(space.scores, expected.loc[space.models["model"], space.rois["roi"]])
    assert repr(space).startswith("NFAS(6 models x 8 ROIs, r:")


def subjects_table():
    """Two subjects a model and no group: s2 is s1 with a shift that differs between ROIs."""
    table = scores_table()
    first = table[table["subject"] == "s1"]
    shift = first["roi"].str[3:].astype(int) / 100
    return pd.concat([first, first.assign(subject="s2", r2=first["r2"] + shift)], ignore_index=True)


def test_without_a_group_models_stand_at_the_mean_over_subjects():
    table = subjects_table()
    stable = table[table["feature"] == "stable_mode"]
    space = NFAS.from_scores(table)
    expected = stable.groupby(["model", "roi"])["r2"].mean().unstack()  # noqa: PD010  # the oracle
    np.testing.assert_allclose(space.scores, expected.loc[space.models["model"], space.rois["roi"]])
    assert space.notes == (
        "6 of 6 models were not scored on the subjects' mean response: their scores are means over 2 "
        "subjects (s1, s2), without p values.",
    )
    assert space.notes[0] in space.statistics(n_permutations=19, stability=False).notes
    run = RunResults(table, *(pd.DataFrame() for _ in range(3)), rois=space.rois)
    torch.testing.assert_close(NFAS.from_runs(run).scores, space.scores)
    second = NFAS.from_runs(run, subject="s2")
    chosen = stable[stable["subject"] == "s2"].set_index(["model", "roi"])["r2"].unstack()  # noqa: PD010
    np.testing.assert_array_equal(second.scores, chosen.loc[second.models["model"], second.rois["roi"]])
    assert second.notes == ("Scores of one subject: s2.",)
    with pytest.raises(ValueError, match=r"subject must be one of the table's \['s1', 's2'\], got 'group'"):
        NFAS.from_scores(table, subject="group")


def test_an_average_over_subjects_does_not_hide_a_model_that_was_scored_twice():
    table = subjects_table()
    again = table[table["model"] == "m1"]
    with pytest.raises(ValueError, match="got 'm1' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, again]))
    with pytest.raises(ValueError, match="got 'm1' at 'roi0' more than once"):
        NFAS.from_scores(pd.concat([table, again.assign(dataset="other")]))


def test_report_is_written(tmp_path):
    path = NFAS.from_scores(scores_table()).report(tmp_path / "report.html", title="Six models")
    assert "Six models" in path.read_text()


def test_notes_name_what_was_grouped_by():
    table = scores_table()
    models = pd.DataFrame(
        {
            "model": [f"m{i}" for i in range(6)],
            "modality": ["audio"] * 3 + ["vision"] * 3,
            "family": ["vit", "vit", "vit", "swin", "cnn", "cnn"],
            "maker": list("abcdef"),
        }
    )
    values = wide(table).loc[models["model"]].to_numpy()
    rois = pd.DataFrame({"roi": [f"roi{r}" for r in range(8)]})
    space = NFAS(values, models, rois)
    notes = space.regroup("family").statistics(n_permutations=9).notes
    assert any("'swin' has one model and no spread: its SNCI is NaN; add models." in note for note in notes)
    assert "swin: one model each, left out of the tests between groups by family." in notes
    few = space.regroup("maker").statistics(n_permutations=9).notes
    assert few == ("A space needs three models or more of one maker: until then read the scores by ROI.",)
    assert not any("family" in note for note in space.statistics(n_permutations=9).notes)


def test_a_regrouped_space_says_what_its_groups_are_of():
    models = pd.DataFrame(
        {
            "model": list("abcdef"),
            "modality": ["audio"] * 3 + ["vision"] * 3,
            "family": ["vit"] * 3 + ["a modality's", "cnn", "cnn"],
            "maker": "one",
        }
    )
    values = np.random.default_rng(0).random((6, 4))
    space = NFAS(values, models, pd.DataFrame({"roi": list("pqrs")}))
    families = space.regroup("family")
    assert (space.group_by, families.group_by) == ("modality", "family")
    for compute in (families.snci, families.snci_bootstrap, families.snci_permutation, families.convergence):
        with pytest.warns(UserWarning, match=r"\"a modality's\" has one model and no spread"):
            compute()
    makers = families.regroup("maker")  # of a space that was regrouped before
    pd.testing.assert_frame_equal(makers.models, models)
    with pytest.raises(ValueError, match="Convergence compares .*expected at least two"):
        makers.convergence()
    assert makers.select([True] * 3 + [False] * 3).group_by == "maker"
    assert makers.statistics(n_permutations=9).group_by == "maker"
    with pytest.raises(ValueError, match="Convergence compares"):
        space.select("modality == 'audio'").convergence()


def test_names_come_with_scores_vectors_and_distances():
    space = NFAS.from_scores(scores_table(), standardize="model")
    frame = space.to_frame()
    pd.testing.assert_frame_equal(frame, wide(scores_table()).loc[frame.index, frame.columns])
    assert (frame.index.name, frame.columns.name) == ("model", "roi")
    assert float(space.to_frame("vectors").loc["m3", "roi2"]) == float(space.vectors[3, 2])
    assert float(space.to_frame("distances").loc["m1", "m4"]) == float(space.distances()[1, 4])
    with pytest.raises(ValueError, match="of must be one of"):
        space.to_frame("ranks")
    statistics = space.statistics(n_permutations=9)
    tables = space.tables(statistics)
    assert set(tables) == {"scores", "models", "rois", "distances", *statistics.tables()}
    assert tables["scores"].columns[:3].tolist() == ["model", "group", "roi0"]


def test_columns_of_ones_own():
    empty = pd.DataFrame()
    table = scores_table()
    cards = table[["model", "modality", "dataset"]].drop_duplicates()
    run = RunResults(table, empty, empty, cards, pd.DataFrame({"roi": table["roi"].unique()}))
    own = pd.DataFrame({"model": ["m5", "m2", "m0", "m1", "m3"], "lab": list("ABABA")})
    space = NFAS.from_runs(run, table=own)
    assert space.models["lab"].fillna("").tolist() == ["A", "B", "B", "A", "", "A"]
    assert list(cards) == ["model", "modality", "dataset"]  # the caller's run is left as it was
    with pytest.raises(ValueError, match=r"group_by='lab' must say of every model.*1 of 6, such as \['m4'\]"):
        space.regroup("lab")
    known = space.select("lab.notna()")
    assert known.regroup("lab").groups == ("A", "B")
    # which is what an assignment does
    known.models["again"] = list("ABBAA")
    assert known.regroup("again").permanova(n_permutations=9) == known.regroup("lab").permanova(n_permutations=9)
    with pytest.raises(ValueError, match="table must have a column 'model'"):
        NFAS.from_runs(run, table=own.rename(columns={"model": "name"}))
    with pytest.raises(ValueError, match=r"no run has \['m9'\], while \['m1', 'm4'\] have no row"):
        NFAS.from_runs(run, table=own.replace({"model": {"m1": "m9"}}))


def test_figures_of_a_simulated_space_are_marked():
    table = scores_table()
    for simulated in (True, False):
        space = NFAS.from_scores(table.assign(simulated=simulated))
        for draw in (
            space.plot_pca,
            space.plot_mds,
            space.plot_snci,
            space.plot_convergence,
            space.plot_networks,
        ):
            assert draw().get_supxlabel() == (SIMULATED if simulated else "")


def test_a_space_of_ones_own_scores_draws_without_a_mark():
    models = pd.DataFrame({"model": list("abcd"), "modality": ["audio"] * 2 + ["vision"] * 2})
    values = np.random.default_rng(0).random((4, 3))
    space = NFAS(values, models, pd.DataFrame({"roi": list("pqr")}))
    assert space.plot_pca().get_supxlabel() == ""
    axes = space.plot_networks().axes[0]
    # ROIs without a network stand for themselves, vision before audio
    assert {label.get_text() for label in axes.get_xticklabels()} == set("pqr")
    drawn = {label.get_text(): i for i, label in enumerate(axes.get_xticklabels())}
    order = [drawn[name] for name in "pqr"]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array())[:, order], values[[2, 3, 0, 1]])


@pytest.mark.parametrize("score", [None, "alone", "joint", "partial"])
def test_any_of_the_three_numbers_can_place_the_models(score):
    results = make_results(("vision", "audio"), n_models=2, n_rois=6, score="partial")
    column = {None: "r_partial", "alone": "r"}.get(score, f"r_{score}")
    space = NFAS.from_runs(results, value="r", score=score)
    stable = results.scores.query("feature == 'stable_mode'")
    wanted = stable.pivot_table(index="model", columns="roi", values=column)
    found = space.to_frame("scores")
    pd.testing.assert_frame_equal(found, wanted.loc[found.index, found.columns], check_names=False)


def test_runs_that_report_different_numbers_are_compared_by_one_that_is_named():
    runs = [
        make_results((modality,), n_models=2, n_rois=6, score=score)
        for modality, score in (("vision", "partial"), ("audio", "alone"))
    ]
    with pytest.raises(ValueError, match=r"different numbers, \['alone', 'partial'\]: say which"):
        NFAS.from_runs(runs)
    assert len(NFAS.from_runs(runs, score="joint")) == 4
    with pytest.raises(ValueError, match="score must be one of 'alone', 'joint', 'partial', got 'sum'"):
        NFAS.from_runs(runs, score="sum")


def null_run(generator, copies=()):
    """A run of models whose scores are noise; `copies` maps a model to the one whose weights it has."""
    models = [f"m{i}" for i in range(8)]
    weights = {name: f"{i:064x}" for i, name in enumerate(models)}
    vectors = {name: generator.uniform(0.1, 0.9, size=6) for name in models}
    for name, original in dict(copies).items():
        weights[name] = weights[original]
        vectors[name] = vectors[original] + 0.01 * generator.uniform(-1, 1, size=6)  # e.g. another precision
    table = pd.DataFrame(
        [
            {
                **dict.fromkeys(COLUMNS["scores"], 0.0),
                **{"model": name, "modality": "ab"[i // 4], "dataset": "d", "subject": "group"},
                "score": "alone",
                **{"feature": "stable_mode", "roi": f"V{r}", "network": "", "r2": vectors[name][r]},
            }
            for i, name in enumerate(models)
            for r in range(6)
        ]
    )
    cards = pd.DataFrame({"model": models, "weights_sha256": [weights[name] for name in models]})
    return RunResults(table, pd.DataFrame(), pd.DataFrame(), cards, pd.DataFrame({"roi": table["roi"][:6]}))


TWICE = {"m1": "m0", "m3": "m2", "m5": "m4", "m7": "m6"}


@pytest.mark.filterwarnings("ignore:.*under a second name")
def test_a_model_under_two_names_does_not_make_a_null_space_reject():
    generator = np.random.default_rng(0)
    p_once, p_twice = [], []
    for _ in range(60):
        # three independent models a group, and in one group another one three times
        run = null_run(generator, {"m1": "m0", "m2": "m0", "m3": "m0", "m5": "m4", "m6": "m4", "m7": "m4"})
        extra = null_run(generator)
        cards = extra.models.assign(model="x" + extra.models["model"])
        cards["weights_sha256"] = "f" + cards["weights_sha256"].str[1:]
        both = extra.scores.assign(model="x" + extra.scores["model"])
        run = replace(run, scores=pd.concat([run.scores, both]), models=pd.concat([run.models, cards]))
        space = NFAS.from_scores(run)
        assert len(space) == 10
        p_once.append(float(space.permanova(n_permutations=99).p_value))
        both = NFAS.from_scores(run.scores)  # without the cards nothing tells
        p_twice.append(float(both.permanova(n_permutations=99).p_value))
    assert np.mean(np.array(p_twice) <= 0.05) > 0.3
    assert np.mean(np.array(p_once) <= 0.05) <= 0.12  # 5 % of 60: at most 7 with p > .98


def test_a_model_under_two_names_counts_once_and_is_named():
    run = null_run(np.random.default_rng(0), TWICE)
    with pytest.warns(UserWarning, match=r"4 of 8 models .* m1 \(as m0\), m3 \(as m2\)"):
        space = NFAS.from_scores(run)
    assert list(space.models["model"]) == ["m0", "m2", "m4", "m6"]
    assert "m7 (as m6)" in space.notes[0]
    # one model on two datasets is no repetition, nor are networks without any weights or known hash
    cards = run.models.assign(dataset=["d", "e"] * 4)
    elsewhere = run.scores.assign(dataset=np.where(run.scores["model"].isin(TWICE), "e", "d"))
    assert len(NFAS.from_scores(replace(run, scores=elsewhere, models=cards))) == 8
    for unknown in ("", None, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"):
        blank = replace(run, models=run.models.assign(weights_sha256=unknown))
        assert len(NFAS.from_scores(blank)) == 8


def test_equal_scores_tell_a_model_too_where_no_card_does():
    table = scores_table()
    again = table[table["model"] == "m1"].assign(model="copy")
    with pytest.warns(UserWarning, match=r"1 of 7 models .* copy \(as m1\)"):
        space = NFAS.from_scores(pd.concat([table, again]))
    assert len(space) == 6
    assert len(NFAS.from_scores(table, feature="last_block")) == 6  # all zero, which tells nothing


def test_numbered_rois_of_several_datasets_are_no_axis():
    table = scores_table()
    numbered = table.assign(roi="roi_00" + table["roi"].str[3:])
    with pytest.raises(ValueError, match=r"several datasets \(audio, vision\).*roi_000, roi_001"):
        NFAS.from_scores(numbered)
    assert len(NFAS.from_scores(numbered.assign(dataset="one"))) == 6
    assert len(NFAS.from_scores(numbered, rois=numbered[["roi"]])) == 6
