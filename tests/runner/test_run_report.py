"""The report of a run, in the terminal and as a page."""

import torch

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.runner import report_run, score_models
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.space import NFAS
from tests.helpers.suites import ROIS, Net, Other, images, spec


def subjects() -> ArrayDataModule:
    noise = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1))
    return ArrayDataModule(images(), images().flatten(1)[:, :3] + 0.2 * noise, rois=ROIS, dataset="toy")


def test_each_subject_is_scored_and_their_mean_is_reported(tmp_path, capsys):
    settings = ScoringSettings(n_permutations=19, subjects="each")
    results = score_models([spec(Net(seed=1)), spec(Other(12))], subjects(), tmp_path, settings=settings)
    assert set(results.scores["subject"]) == {"sub-01", "sub-02"}
    stable = results.scores.query("feature == 'stable_mode'")
    assert stable["p"].notna().all()
    mean = stable.groupby(["model", "roi"])[["r", "r2"]].mean()
    space = NFAS.from_scores(results)
    expected = mean["r2"].unstack().loc[space.models["model"], space.rois["roi"]]  # the oracle
    torch.testing.assert_close(space.scores, torch.tensor(expected.to_numpy(), dtype=torch.float64))
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    net = next(line for line in printed if line[:1] == ["net"] and len(line) > 6)
    assert net[1] == f"{mean.loc['net', 'r'].mean():.3f}"
    assert net[-2:] == [f"{mean.loc['net', 'r2'].mean():.3f}", mean.loc["net", "r"].idxmax()]
    v1 = [line for line in printed if line[:1] == ["V1"]]
    assert [line[1] for line in v1] == [f"{mean.loc[(name, 'V1'), 'r']:.3f}" for name in ("net", "other")]
    assert all(line[-3:-1] == ["-", "-"] for line in v1)  # p and q of a mean are not known
    assert "means over 2 subjects (sub-01, sub-02)" in (tmp_path / "report.html").read_text()
    report_run(results, tmp_path / "one", subject="sub-02")
    v1 = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["V1"]]
    own = stable.query("subject == 'sub-02' and roi == 'V1'")
    assert [line[1] for line in v1] == [f"{r:.3f}" for r in own["r"]]
    assert [line[-3] for line in v1] == [f"{p:.4f}" for p in own["p"]]
