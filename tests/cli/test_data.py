"""`nfas data list` and `nfas data check` as they are typed."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from nfas_lightning.cli import data
from nfas_lightning.datamodules.recordings import neuralset_datamodule
from tests.helpers.command_line import run_data


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NFAS_DATA", raising=False)


def test_list_shows_every_benchmark_and_what_is_here(tmp_path, capsys):
    assert run_data("list") == 0
    out = capsys.readouterr().out
    for word in (
        "algonauts2021",
        "CC BY 4.0",
        "none stated",
        "144 GB raw",
        "name a --root",
        "arXiv:2104.13714",
    ):
        assert word in out
    clips = tmp_path / "algonauts2021" / "AlgonautsVideos268_All_30fpsmax"
    clips.mkdir(parents=True)
    (clips / "0001_0.mp4").write_bytes(b"x")
    assert run_data("list", "--root", tmp_path) == 0
    assert "algonauts2021: 1 clips" in capsys.readouterr().out


def test_studies_of_neuralset_are_listed_where_it_is_installed(capsys, monkeypatch):
    monkeypatch.setattr(data, "has_neuralset", lambda: False)
    assert run_data("list") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "listed with Python 3.12 or later and pip install 'nfas-lightning[neuralset]'" in out
    seen = SimpleNamespace(event_types_in_query={"Image", "Eeg", "Stimulus"}, num_subjects=3)
    about = {"description": "Pictures.", "licence": "CC0", "url": "https://example.org"}
    read = SimpleNamespace(_info=seen, **about)
    slept = SimpleNamespace(_info=SimpleNamespace(event_types_in_query={"SleepStage", "Eeg"}), **about)
    catalog = {"Someone2026": read, "Asleep2026": slept, "Unknown2026": SimpleNamespace(_info=None)}
    library = SimpleNamespace(Study=SimpleNamespace(catalog=lambda: catalog))
    monkeypatch.setattr(data, "has_neuralset", lambda: True)
    monkeypatch.setattr(neuralset_datamodule, "_neuralset", lambda: library)
    assert run_data("list") == 0
    out = capsys.readouterr().out
    for word in (
        "Someone2026",
        "Pictures.",
        "Image; Eeg",
        "license: CC0",
        "3 subjects",
        "study='Someone2026'",
    ):
        assert word in out
    assert "2026" not in out.replace("Someone2026", "")  # studies without stimuli are not read


def test_the_list_is_quick():
    # the catalogue of NeuralSet itself needs PyTorch
    script = "import sys; from nfas_lightning.cli import data, main; data.has_neuralset = lambda: False"
    script += "; main(['data', 'list'])"
    script += (
        "; sys.exit(str(heavy)) if (heavy := {'torch', 'nilearn', 'pandas'} & set(sys.modules)) else None"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)


def test_check_codes(tmp_path, capsys, monkeypatch):
    assert run_data("check", tmp_path) == 2
    assert run_data("check", tmp_path / "absent") == 2
    alice = tmp_path / "alice_fmri"
    alice.mkdir()
    (alice / "words.csv").write_text("word,onset_s,offset_s,onset_scan_s\nAlice,20,20.5,0\n")
    assert run_data("check", tmp_path) == 1
    out = capsys.readouterr().out
    assert "missing series: roi_timeseries.npz" in out
    assert "NOT complete" in out
    assert run_data("check") == 2
    assert "Name it, or set NFAS_DATA" in capsys.readouterr().err
    monkeypatch.setenv("NFAS_DATA", str(tmp_path))
    assert run_data("check") == 1
    assert "missing series: roi_timeseries.npz" in capsys.readouterr().out


@pytest.mark.shared_data
def test_check_of_real_data_is_complete(shared_data, capsys):
    assert run_data("check", shared_data / "alice_fmri", "--deep") == 0
    assert "complete" in capsys.readouterr().out
