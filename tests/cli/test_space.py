"""`nfas space` on folders of runs: tables, report, filters, groups, and what it refuses."""

import json
from dataclasses import replace
from itertools import islice

import pandas as pd
import pytest

from nfas_lightning.cli.main import main
from nfas_lightning.cli.process import run
from nfas_lightning.results import RunResults
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run per modality with three models, twelve ROIs without coordinates: rows are drawn faster."""
    folder = tmp_path_factory.mktemp("runs")
    made = make_results(n_models=3, n_rois=12)
    models = made.models.assign(
        objective=["supervised (a)", "contrastive, b", "supervised (c)"] * 3, twin_of="", weights="pretrained"
    )
    made = replace(made, rois=made.rois.drop(columns=["x", "y", "z"]), models=models)
    for modality in ("vision", "audio", "language"):
        made.select(f"modality == '{modality}'").save(folder / modality)
    return folder


def refused(capsys, *args):
    """What the command says, with the code of a wrong command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["space", *map(str, args)])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("nfas space: error: ")
    return said


def test_runs_become_a_space_with_tables_and_a_report(runs, tmp_path, capsys):
    folders = [str(runs / name) for name in ("vision", "audio", "language")]
    main(["space", *folders, "--out", str(tmp_path), "--n_permutations", "99"])
    assert "PERMANOVA" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "9 models of 3 modalities" in page
    assert (tmp_path / "figures" / "mds.png").is_file()
    space = NFAS.from_runs(folders)
    scores = pd.read_csv(tmp_path / "space" / "scores.csv", index_col="model")
    assert scores.loc["minilm_l6", space.rois["roi"][0]] == pytest.approx(
        float(space.scores[space.models["model"].tolist().index("minilm_l6"), 0])
    )
    assert len(RunResults.load(tmp_path).models) == 9
    assert json.loads((tmp_path / "meta.json").read_text())["runs"]


@pytest.mark.usefixtures("undrawn")
def test_filter_and_group(runs, tmp_path):
    folders = [str(runs / name) for name in ("vision", "audio", "language")]
    options = ["--where", "modality != 'vision'", "--group_by", "objective_kind", "--n_permutations", "99"]
    main(["space", *folders, "--out", str(tmp_path), *options])
    assert "6 models of 2 groups by objective_kind" in (tmp_path / "report.html").read_text()
    table = pd.read_parquet(tmp_path / "space" / "coordinates.parquet")
    assert set(table["group"]) == {"supervised", "contrastive"}
    models = pd.read_parquet(tmp_path / "space" / "models.parquet")
    assert set(models["modality"]) == {"audio", "language"}


@pytest.mark.usefixtures("undrawn")
def test_a_subject_is_chosen_and_otherwise_subjects_are_averaged(runs, tmp_path, capsys):
    made = RunResults.load(runs / "vision")
    parts = [
        made.scores.assign(subject=name, r2=made.scores["r2"] + more) for name, more in (("a", 0), ("b", 0.2))
    ]
    replace(made, scores=pd.concat(parts, ignore_index=True)).save(tmp_path / "run")
    for option, more in (([], 0.1), (["--subject", "b"], 0.2)):
        out = tmp_path / "".join(["out", *option])
        main(["space", str(tmp_path / "run"), "--out", str(out), "--n_permutations", "19", *option])
        placed = pd.read_parquet(out / "space" / "scores.parquet").set_index("model")
        stable = made.scores.query("feature == 'stable_mode'")
        expected = stable.pivot_table(index="model", columns="roi", values="r2") + more
        pd.testing.assert_frame_equal(placed[list(expected)].loc[expected.index], expected, check_names=False)
        printed, page = capsys.readouterr().out, (out / "report.html").read_text()
        said = "Scores of one subject: b." if option else "means over 2 subjects (a, b), without p values"
        assert said in " ".join(printed.split())
        assert said in page
    said = refused(capsys, tmp_path / "run", "--out", tmp_path / "no", "--subject", "c")
    assert "one of the table's ['a', 'b'], got 'c'" in said
    assert not (tmp_path / "no").exists()


def test_mixed_axes_and_missing_runs_are_refused(runs, tmp_path, capsys, monkeypatch):
    other = RunResults.load(runs / "audio")
    renamed = {t: getattr(other, t).assign(roi="own_" + getattr(other, t)["roi"]) for t in ("scores", "rois")}
    RunResults(**renamed, spectra=other.spectra, depth=other.depth, models=other.models).save(
        tmp_path / "own"
    )
    said = refused(capsys, runs / "vision", tmp_path / "own", "--out", tmp_path / "out")
    assert "one ROI axis, got 2 that share 0 ROIs" in said
    assert "vision; 12 ROIs (own_" in said
    assert not (tmp_path / "out").exists()
    assert "folder of a finished run" in refused(capsys, tmp_path / "nothing")
    assert "manhattan" in refused(capsys, runs / "vision", "--metric", "manhattan")
    said = refused(capsys, runs / "vision", "--group_by", "famly", "--out", tmp_path / "out")
    assert "got 'famly'. Did you mean 'family'?" in said
    assert "`--table`" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("NFAS_DEBUG", "1")
    assert run(["space", str(tmp_path / "nothing")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_figures_in_the_formats_of_papers(runs, tmp_path, capsys, monkeypatch):
    from nfas_lightning.plotting import page

    draw = page.draw_figures  # the first three are enough
    monkeypatch.setattr(page, "draw_figures", lambda *given, **named: islice(draw(*given, **named), 3))
    run = str(runs / "vision")
    options = ["--n_permutations", "9", "--formats", "pdf", "svg"]
    main(["space", run, "--out", str(tmp_path / "out"), *options])
    files = list((tmp_path / "out" / "figures").iterdir())
    assert {file.suffix for file in files} == {".png", ".pdf", ".svg"}
    assert len({file.stem for file in files}) == len(files) / 3 == 3
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["space", run, "--out", str(tmp_path / "no"), "--formats", "png", "tiff"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said == "nfas space: error: formats: expected one of 'png', 'pdf', 'svg', got 'tiff'.\n"
    assert not (tmp_path / "no").exists()


@pytest.mark.usefixtures("undrawn")
def test_notes_are_of_the_groups_that_were_asked_for(runs, tmp_path, capsys):
    folders = [str(runs / name) for name in ("vision", "audio", "language")]
    main(["space", *folders, "--out", str(tmp_path), "--group_by", "family", "--n_permutations", "9"])
    said = " ".join(capsys.readouterr().out.split())
    assert "odality '" not in said
    assert "family" in said.lower()


def test_a_file_is_no_place_for_a_space(runs, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    said = refused(capsys, runs / "vision", "--out", tmp_path / "taken")
    assert f"out must be a folder that can be written, got '{tmp_path / 'taken'}'" in said
    assert "no folder" in said


@pytest.mark.usefixtures("undrawn")
def test_columns_of_ones_own_filter_and_group(runs, tmp_path):
    folders = [str(runs / name) for name in ("vision", "audio", "language")]
    models = NFAS.from_runs(folders).models["model"].tolist()
    labs = ["", "NA", "None"] * 3  # groups may be called so; an empty cell is blank
    rows = [f"{model},{lab},{i}" for i, (model, lab) in enumerate(zip(models, labs, strict=True))]
    text = "\n".join(["model,lab,year", *reversed(rows), "of_another_run,MIT,2020"])
    (tmp_path / "mine.csv").write_text("\ufeff" + text)  # as spreadsheets save it
    asked = ["--table", str(tmp_path / "mine.csv"), "--where", "lab.notna() and year > 1"]
    options = [*asked, "--group_by", "lab", "--out", str(tmp_path / "out"), "--n_permutations", "9"]
    main(["space", *folders, *options])
    assert "5 models of 2 groups by lab" in (tmp_path / "out" / "report.html").read_text()
    placed = pd.read_parquet(tmp_path / "out" / "space" / "coordinates.parquet").set_index("model")["group"]
    expected = {m: lab for i, (m, lab) in enumerate(zip(models, labs, strict=True)) if lab and i > 1}
    assert placed.to_dict() == expected
    # and the space that was written is a run with those columns
    assert set(RunResults.load(tmp_path / "out").models["lab"]) == {"NA", "None"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,lab\nmobilnet_v2,a\n", "no run has ['mobilnet_v2'], while ['mobilenet_v2', "),
        ("model,lab\nmobilnet_v2,a\n", "Did you mean 'mobilenet_v2'?"),
        ("model;lab\nmobilenet_v2;a\n", "a column 'model' and at least one other, got ['model;lab']."),
        ("model\nmobilenet_v2\n", "at least one other, got ['model']."),
        ("model,lab\nmobilenet_v2,a\nmobilenet_v2,b\n", "name each model once, got ['mobilenet_v2']"),
        ("model,size,family\nmobilenet_v2,a,b\n", "columns that models have already, ['size', 'family']"),
        ("model,lab\nx,a\n,,,,,,\n", "in every row as many as in the first (Error tokenizing"),
        ("", "got an empty file"),
        ("model,lab\nmobilenet_v2,a\n", "group_by='lab' must say of every model which group it is in"),
        ("model,lab\nmobilenet_v2,a\n", "blank for 2 of 3, such as ['efficientnet_lite0'"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_the_runs(runs, tmp_path, capsys, text, message):
    table = tmp_path / "mine.csv"
    table.write_text(text)
    out = tmp_path / "out"
    said = refused(capsys, runs / "vision", "--table", table, "--group_by", "lab", "--out", out)
    assert message in said
    assert not out.exists()
    assert "there is no file no.csv" in refused(capsys, runs / "vision", "--table", "no.csv")
