"""`nfas compare`: a feature beside its baselines, and models beside each other, on what was scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nfas_lightning.cli.messages import refusing, say_loading
from nfas_lightning.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]

_NO_DRAWS = "Models are not ranked: these runs hold no draws of that number (ScoringSettings.n_bootstrap)."
_WORDS = {"alone": "alone", "joint": "with the nuisances", "partial": "beyond the nuisances"}


def compare(
    runs: list[str],
    *,
    feature: str = "stable_mode",
    value: Literal["r", "r2"] = "r",
    score: Literal["alone", "joint", "partial"] | None = None,
    subject: str | None = None,
    where: str | None = None,
    over: Literal["both", "stimuli"] = "both",
    out: str | None = None,
    out_pairs: str | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the stable mode with its baselines, and models with each other, by data set.

    A network is one unit: the mean over ROIs of its difference. Intervals are Student's t over networks, p is
    two-sided by sign flips, q corrects it for the baselines of a data set. Data sets are also taken together,
    each network once, planted responses apart from measured ones. Runs may have different ROIs.

    Models that met the same responses are ranked by their mean over ROIs: with 95 % intervals from resampled
    predictions, a test of every pair (FDR over pairs), and letters, of which models that are not told apart
    share one.

    Args:
        runs: folders of finished runs.
        feature: the one that is compared: stable_mode, last_block, mean_depth, ...
        value: ``r`` or ``r2``.
        score: what is compared: features ``alone``, ``joint`` with the nuisances, or ``partial``, what they
            add to them; else the number that the runs report.
        subject: whose scores: ``group``, or the name of one; else the group's, or the mean over subjects.
        where: which models, as a query of their table, e.g. ``"family == 'bert'"``.
        over: what the ranking's intervals hold for: ``both``, other stimuli and subjects, or ``stimuli``,
            other stimuli for the same subjects.
        out: file for the table of baselines too: its name ends in .csv, .json or .parquet.
        out_pairs: file for the table of pairs of models, likewise.
        n_permutations: draws of the test where networks are too many to try all signs.
        seed: of the draws.

    Returns:
        What `--json` prints: ``baselines``, the table of `compare_features`, and ``ranking``, the fields of
        `Ranking` by their names.
    """
    say_loading("PyTorch")
    from nfas_lightning.plotting.model_ranks import ranking_tables
    from nfas_lightning.results import RunResults, compare_models
    from nfas_lightning.results.comparison import compare_features
    from nfas_lightning.results.numbers import reported

    with refusing("nfas compare"):
        for name, path in (("out", out), ("out_pairs", out_pairs)):
            if path is not None and Path(path).suffix not in (".csv", ".json", ".parquet"):
                raise InputError(
                    f"{name} must be a file whose name ends in .csv, .json or .parquet, got {path!r}."
                )
        results = RunResults.concatenate([RunResults.load(run) for run in runs])
        if where is not None:
            results = results.select(where)
        table = compare_features(
            results.scores,
            feature=feature,
            value=value,
            score=score,
            subject=subject,
            n_permutations=n_permutations,
            seed=seed,
        )
        drawn = results.draws
        if score is not None:  # draws are of the number that a run reports
            drawn = drawn[drawn["score"] == score]
        ranking = compare_models(drawn, feature=feature, value=value, subject=subject, over=over)
        if not len(ranking.means):
            ranking = ranking._replace(notes=ranking.notes or (_NO_DRAWS,))
    shown = reported(results.scores, score)
    number = shown.loc[shown["feature"] == feature, "score"].iloc[0] if "score" in shown else "alone"
    _print(table, feature, f"{value} {_WORDS[number]}")
    from nfas_lightning.terminal import stdout_console

    console = stdout_console()
    for part in ranking_tables(ranking) if len(ranking.means) else ():
        console.print(part)
    for note in ranking.notes:
        console.print(note, markup=False)
    for path, written in ((out, table), (out_pairs, ranking.pairs)):
        if path is not None:
            _write(Path(path), written)
    return {"baselines": table, "ranking": ranking._asdict()}


def _print(table: pd.DataFrame, feature: str, score: str) -> None:
    """Print one table per data set, and what its columns mean below the last."""
    from rich.markup import escape
    from rich.table import Column, Table

    from nfas_lightning.results import FEATURES
    from nfas_lightning.terminal import stdout_console

    console = stdout_console()
    name = FEATURES.get(feature, feature)
    for dataset, part in table.groupby("dataset", sort=False):
        planted = ", simulated" if bool(part["simulated"].all()) and "simulated" not in str(dataset) else ""
        titles = ("models", name, "baseline", "difference", "95 % interval", "p", "q", "ahead")
        columns = (Column("baseline"), *(Column(title, justify="right", no_wrap=True) for title in titles))
        shown = Table(*columns, title=escape(f"{dataset}{planted}: {score}"))
        for row in part.to_dict("records"):
            several = row["n_models"] > 1
            shown.add_row(
                FEATURES.get(row["baseline"], row["baseline"]),
                str(row["n_models"]),
                f"{row['feature_mean']:.3f}",
                f"{row['baseline_mean']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['low']:+.3f} {row['high']:+.3f}" if several else "-",
                *(f"{row[name]:.3f}" if several else "-" for name in ("p_value", "q_value")),
                f"{row['ahead']} of {row['n_models']}",
            )
        console.print(shown)
    fewest = int(table["n_models"].min())
    console.print(
        f"A network is one unit. Sign flips of n networks give no p below 2 / 2^n: {2 / 2**fewest:.3g} for "
        f"{fewest}. Data sets and ROIs are fixed: nothing is said of others."
    )


def _write(path: Path, table: pd.DataFrame) -> None:
    from nfas_lightning.writing import write_csv, write_parquet, write_text

    if path.suffix == ".json":
        write_text(path, table.to_json(orient="records", indent=2, double_precision=15))
    else:
        (write_csv if path.suffix == ".csv" else write_parquet)(path, table)
