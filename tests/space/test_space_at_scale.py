"""Forty-five models: every statistic against an independent oracle, and what filters and groups do."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist, pdist, squareform
from skbio import DistanceMatrix
from skbio.stats.distance import permanova, permdisp
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples, silhouette_score

from nfas_lightning.space import NFAS
from tests.helpers.results import ZOO, make_zoo


@pytest.fixture(scope="module")
def results():
    return make_zoo(n_rois=60)


@pytest.fixture(scope="module")
def space(results):
    return NFAS.from_scores(results)


@pytest.fixture(scope="module")
def statistics(space):
    return space.statistics(n_permutations=999)


@pytest.fixture(scope="module")
def plain(results):
    """(M, R) scores and M labels, pivoted without the package."""
    rows = results.scores.query("feature == 'stable_mode'")
    wide = rows.pivot_table(index="model", columns="roi", values="r2")
    labels = rows.drop_duplicates("model").set_index("model")["modality"].reindex(wide.index)
    return wide, labels


def ordered(space, table, column):
    return table.set_index("model").loc[space.models["model"], column].to_numpy()


def test_the_space_is_the_pivoted_table(space, plain):
    wide, labels = plain
    assert len(space) == 45
    np.testing.assert_array_equal(space.scores, wide.loc[space.models["model"], space.rois["roi"]])
    assert space.models["modality"].tolist() == labels[space.models["model"]].tolist()


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


# filters and groups


def test_cards_describe_the_models(space):
    models = space.models.set_index("model")
    assert models.loc["tinyllama_1_1b", "size"] == "large"
    assert models.loc["bert_base", "size"] == "medium"
    assert models.loc["whisper_tiny", "size"] == "small"
    assert models.loc["mae_base", "objective_kind"] == "self-supervised"
    assert models.loc["gpt2", "objective_kind"] == "causal language model"
    assert models.loc["wav2vec2_base", "family"] == "wav2vec2"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("family == 'whisper'", {"whisper_base", "whisper_small", "whisper_tiny"}),
        (
            "size == 'large' and modality == 'language'",
            {"bloom_560m", "deberta_v3_base", "qwen2_5_0_5b", "tinyllama_1_1b"},
        ),
        ("parameters < 9e6", {"densenet121", "efficientnet_b0", "whisper_tiny"}),
    ],
)
def test_a_filter_keeps_what_it_says(results, space, where, kept):
    chosen = NFAS.from_runs([results], where=where)
    assert set(chosen.models["model"]) == kept
    rows = space.models["model"].isin(kept).to_numpy().nonzero()[0]
    torch.testing.assert_close(chosen.scores, space.scores[rows])
    part = results.select(where)
    assert set(part.scores["model"]) == set(part.spectra["model"]) == set(part.depth["model"]) == kept


def test_a_filter_that_can_not_be_read_is_named(results):
    with pytest.raises(ValueError, match=r"where must be a query of the models, got.*Columns of a model: \["):
        results.select("color == 'red'")
    with pytest.raises(ValueError, match="where must be a query of the models, got 'family =='"):
        results.select("family ==")
    with pytest.raises(ValueError, match="keeps none of 45 models"):
        results.select("family == 'perceptron'")


def test_groups_of_any_column(space, plain):
    wide, _ = plain
    kinds = space.models.set_index("model")["objective_kind"]
    statistics = space.regroup("objective_kind").statistics(n_permutations=99)
    many = kinds[kinds.map(kinds.value_counts()) > 1]
    part = wide.loc[many.index]
    oracle = permanova(DistanceMatrix(squareform(pdist(part))), many.tolist(), permutations=0)
    assert statistics.permanova["statistic"] == pytest.approx(oracle["test statistic"])
    assert statistics.silhouette["statistic"] == pytest.approx(silhouette_score(part, many))
    assert statistics.group_by == "objective_kind"
    assert set(statistics.snci["group"]) == set(kinds)
    assert set(statistics.tables()["snci"].columns) >= {"group", "roi", "ratio_low"}
    assert any("objective_kind" in note for note in statistics.notes)
    with pytest.raises(ValueError, match="group_by must be a column"):
        space.regroup("color")


# several runs


def test_runs_of_one_axis_are_joined(results, space):
    runs = [results.select(f"modality == '{name}'") for name in ZOO]
    joined = NFAS.from_runs(runs)
    order = [joined.models["model"].tolist().index(name) for name in space.models["model"]]
    columns = [joined.rois["roi"].tolist().index(name) for name in space.rois["roi"]]
    torch.testing.assert_close(joined.scores[order][:, columns], space.scores)


def on_axis(results, modality, name, rename):
    """The run of one modality under a name of its own, its ROIs renamed."""
    part = results.select(f"modality == '{modality}'")
    renamed = {
        t: getattr(part, t).assign(roi=getattr(part, t)["roi"].map(rename)) for t in ("scores", "rois")
    }
    return replace(part, **renamed, meta={"name": name})


def test_mixed_axes_are_refused_and_both_named(results):
    audio = on_axis(results, "audio", "runs/sounds", str)
    other = on_axis(results, "language", "runs/story", "own_{}".format)
    message = (
        r"got 2 that share 0 ROIs: 60 ROIs \(seitzman.*runs/sounds; 60 ROIs \(own_.*runs/story.*nfas space"
    )
    with pytest.raises(ValueError, match=message) as refused:
        NFAS.from_runs([audio, other])
    assert "intersection" not in str(refused.value)  # nothing is shared: it would not help
    with pytest.raises(ValueError, match=message):
        NFAS.from_runs([audio, other], axis="intersection")
    # a filter that leaves one axis leaves nothing to refuse
    assert len(NFAS.from_runs([audio, other], where="modality == 'audio'")) == 15


def test_what_mixed_axes_share_can_be_asked_for(results):
    some = set(results.rois["roi"][:12])
    audio = on_axis(results, "audio", "runs/sounds", str)
    half = on_axis(results, "language", "runs/story", lambda roi: roi if roi in some else f"own_{roi}")
    with pytest.raises(ValueError, match="keeps the 12 ROIs that all share"):
        NFAS.from_runs([audio, half])
    assert set(NFAS.from_runs([audio, half], axis="intersection").rois["roi"]) == some


# files and figures


def test_everything_is_written_as_parquet_and_csv(space, statistics, tmp_path):
    space.save(tmp_path, statistics)
    names = {path.stem for path in tmp_path.glob("*.parquet")}
    assert names == {path.stem for path in tmp_path.glob("*.csv")}
    assert names == {
        "scores", "models", "rois", "distances", "tests", "coordinates", "pairwise", "silhouette_samples",
        "anova", "snci", "convergence", "nearest", "stability",
    }  # fmt: skip
    scores = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(scores[space.rois["roi"]], space.scores)
    tests = pd.read_parquet(tmp_path / "tests.parquet").set_index("test")
    assert tests.loc["permanova", "statistic"] == statistics.permanova["statistic"]


def test_figures_take_an_axis(space):
    from matplotlib.figure import Figure

    names = [entry[0] for group in ZOO.values() for entry in group[:4]]
    few = space.select(space.models["model"].isin(names).tolist())
    figure = Figure(figsize=(24, 16))
    axes = figure.subplots(2, 3).ravel()
    names = ("pca", "mds", "snci", "convergence", "networks", "sizes")
    drawn = [getattr(few, f"plot_{name}") for name in names]
    for ax, draw in zip(axes, drawn, strict=True):
        assert draw(ax=ax) is figure
        assert ax.has_data()
    assert axes[5].get_xscale() == "log"
    with pytest.raises(ValueError, match="must have a column 'parameters'"):
        NFAS(space.scores, space.models[["model", "modality"]], space.rois).plot_sizes()
