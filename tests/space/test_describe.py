"""Every statistic of a space against an independent oracle, and what is said of the degenerate."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist, squareform
from skbio import DistanceMatrix
from skbio.stats.distance import permanova, permdisp
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples, silhouette_score

from nfas_lightning.functional import permdisp as own_permdisp
from nfas_lightning.functional.embedding import mds, pca
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.snci import snci, snci_bootstrap, snci_permutation
from nfas_lightning.results import few_models
from nfas_lightning.space import NFAS
from tests.helpers.space import scores_table, wide


def test_permanova_and_permdisp_equal_scikit_bio(space, statistics, plain):
    wide, labels = plain
    matrix = DistanceMatrix(squareform(pdist(wide)), ids=list(wide.index))
    oracle = permanova(matrix, labels.tolist(), permutations=0)
    assert statistics.permanova["statistic"] == pytest.approx(oracle["test statistic"])
    spread = permdisp(matrix, labels.tolist(), test="centroid", permutations=0, dimensions=45)
    assert statistics.permdisp["statistic"] == pytest.approx(spread["test statistic"], rel=1e-6)
    for row in statistics.pairwise.itertuples():
        kept = labels[labels.isin([row.first, row.second])].index
        pair = permanova(matrix.filter(list(kept)), labels[kept].tolist(), permutations=0)
        assert row.statistic == pytest.approx(pair["test statistic"])
    assert len(statistics.pairwise) == 3
    np.testing.assert_allclose(
        statistics.pairwise["q_value"], stats.false_discovery_control(statistics.pairwise["p_value"])
    )


def test_silhouette_equals_scikit_learn(space, statistics, plain):
    wide, labels = plain
    assert statistics.silhouette["statistic"] == pytest.approx(silhouette_score(wide, labels))
    expected = pd.Series(silhouette_samples(wide, labels), index=wide.index)
    got = statistics.silhouette_samples.set_index("model")["silhouette"]
    np.testing.assert_allclose(got, expected[got.index])


def test_anova_equals_scipy(statistics, plain):
    wide, labels = plain
    groups = [wide[(labels == name).to_numpy()] for name in sorted(labels.unique())]
    f, p = stats.f_oneway(*groups)
    table = statistics.anova.set_index("roi").loc[wide.columns]
    np.testing.assert_allclose(table["statistic"], f)
    np.testing.assert_allclose(table["p_value"], p, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(p), rtol=1e-6, atol=1e-300)


def test_pca_equals_scikit_learn_and_mds_the_formula(space, statistics, plain):
    wide, _ = plain
    oracle = PCA(2).fit(wide.loc[space.models["model"]])
    expected = oracle.transform(wide.loc[space.models["model"]])
    got = statistics.coordinates[["PC1", "PC2"]].to_numpy()
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(statistics.explained, oracle.explained_variance_ratio_)
    # Torgerson's scaling, written plainly
    distance = cdist(wide.loc[space.models["model"]], wide.loc[space.models["model"]], "correlation")
    centering = np.eye(45) - 1 / 45
    values, vectors = np.linalg.eigh(-centering @ distance**2 @ centering / 2)
    scaled = vectors[:, [-1, -2]] * np.sqrt(values[[-1, -2]])
    got = statistics.coordinates[["MDS1", "MDS2"]].to_numpy()
    np.testing.assert_allclose(np.abs(got), np.abs(scaled), atol=1e-8)


def test_snci_intervals_and_convergence_are_those_of_the_formula(statistics, plain):
    wide, labels = plain
    bounded = {}
    for name in sorted(labels.unique()):
        part = wide[(labels == name).to_numpy()]
        mean, std = part.mean(), part.std(ddof=1)
        bounded[name] = mean**2 / (mean**2 + std**2)
        own = statistics.snci.query(f"group == '{name}'").set_index("roi").loc[wide.columns]
        np.testing.assert_allclose(own["ratio"], mean / std)
        np.testing.assert_allclose(own["bounded"], bounded[name])
        # the limits are those of the noncentral t distribution, but for the bootstrap's draws
        t = (mean / std * np.sqrt(len(part))).to_numpy()[:5]
        n, df = np.sqrt(len(part)), len(part) - 1
        for value, low, high in zip(t, own["ratio_low"], own["ratio_high"], strict=False):
            assert stats.nct.cdf(value, df, low * n) == pytest.approx(0.975, abs=0.01)
            assert stats.nct.cdf(value, df, high * n) == pytest.approx(0.025, abs=0.01)
        assert own["q_value"].ge(own["p_value"] - 1e-12).all()
    expected = pd.DataFrame(bounded).min(axis=1)
    got = statistics.convergence.set_index("roi")["convergence"]
    np.testing.assert_allclose(got, expected[got.index])


def test_neighbors_are_the_nearest_rows(space, statistics, plain):
    wide, _ = plain
    distance = pd.DataFrame(squareform(pdist(wide)), wide.index, wide.index)
    for model, part in statistics.nearest.groupby("model"):
        expected = distance[model].drop(model).nsmallest(3)
        assert part.sort_values("rank")["neighbor"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(part.sort_values("rank")["distance"], expected)


def test_leaving_a_model_out_is_the_space_without_it(space, statistics, plain):
    wide, labels = plain
    assert len(statistics.stability) == 45
    for model in ("gpt2", "resnet50", "clap"):
        row = statistics.stability.set_index("model").loc[model]
        rest, names = wide.drop(model), labels.drop(model)
        oracle = permanova(DistanceMatrix(squareform(pdist(rest))), names.tolist(), permutations=0)
        assert row["permanova"] == pytest.approx(oracle["test statistic"])
        assert row["silhouette"] == pytest.approx(silhouette_score(rest, names))

        def convergence(table, given):
            parts = [table[(given == name).to_numpy()] for name in sorted(given.unique())]
            return np.min([(p.mean() ** 2 / (p.mean() ** 2 + p.var())).to_numpy() for p in parts], axis=0)

        expected = stats.spearmanr(convergence(wide, labels), convergence(rest, names)).statistic
        assert row["convergence"] == pytest.approx(expected)
        f_all = stats.f_oneway(*(wide[(labels == g).to_numpy()] for g in sorted(labels.unique()))).statistic
        f_rest = stats.f_oneway(*(rest[(names == g).to_numpy()] for g in sorted(names.unique()))).statistic
        assert row["anova"] == pytest.approx(stats.spearmanr(f_all, f_rest).statistic)
        own = labels == labels[model]
        with_it, without = (table.mean() ** 2 / table.var() for table in (wide[own], wide[own].drop(model)))
        assert row["snci"] == pytest.approx(stats.spearmanr(with_it, without).statistic)


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


def test_tables_of_the_statistics_row_by_row():
    space = NFAS.from_scores(scores_table(("vision", "audio", "audio", "vision", "vision", "audio")))
    statistics = space.statistics(n_permutations=99, seed=5, stability=False)
    labels = space.models["modality"].tolist()
    spread = own_permdisp(space.distances(), labels, n_permutations=99, seed=5)
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


def test_without_permutations_there_are_places_and_agreement_but_no_test(space, statistics):
    drawn = space.statistics(n_permutations=0)
    pd.testing.assert_frame_equal(drawn.coordinates, statistics.coordinates)
    pd.testing.assert_frame_equal(drawn.convergence, statistics.convergence)
    columns = [name for name in statistics.snci if name not in ("p_value", "q_value")]
    pd.testing.assert_frame_equal(drawn.snci, statistics.snci[columns])
    assert drawn.permanova == drawn.permdisp == drawn.silhouette == {}
    assert drawn.pairwise.empty
    assert drawn.stability.empty
