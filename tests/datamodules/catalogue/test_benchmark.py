"""The list of benchmarks, and a toy that joins it from a folder and from a distribution of its own."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import nfas_lightning.datamodules
from nfas_lightning.cli import main
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks, find_benchmarks
from nfas_lightning.datamodules.catalogue.s3_source import S3Source
from nfas_lightning.datamodules.catalogue.source import LibrarySource, Source
from tests.helpers import checks

HOMES = Path(__file__).parents[2] / "helpers" / "benchmark_home"
NAMES = ["algonauts2021", "alice", "atlases", "bold_moments", "little_prince", "narratives", "natural_sounds"]


@pytest.fixture
def toy_in_the_package(monkeypatch):
    """The toy's folder beside those of the package's benchmarks."""
    path = [*nfas_lightning.datamodules.__path__, str(HOMES)]
    monkeypatch.setattr(nfas_lightning.datamodules, "__path__", path)
    yield
    _forget("nfas_lightning.datamodules.toy_tones")


@pytest.fixture
def toy_distribution(monkeypatch, tmp_path):
    """The toy as another distribution that is installed, with an entry point."""
    info = tmp_path / "toy_tones-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-tones\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nfas_lightning.benchmarks]\ntoy_tones = toy_tones:BENCHMARK\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(HOMES))
    yield
    _forget("toy_tones")


def _forget(package):
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    vars(nfas_lightning.datamodules).pop("toy_tones", None)


def test_the_folders_of_the_package_register_themselves():
    assert list(benchmarks()) == [*NAMES, "simulated"]


@pytest.mark.parametrize("name", [*NAMES, "simulated"])
def test_every_benchmark_says_what_the_list_shows_and_names_what_is_there(name):
    benchmark = benchmarks()[name]
    for field in ("title", "modality", "license", "size", "access", "reference"):
        assert getattr(benchmark, field), field
    source = benchmark.load("source")
    assert benchmark.source or benchmark.by_hand
    assert source is None or isinstance(source, Source | LibrarySource)
    for kind in getattr(source, "kinds", {}):
        assert kind in benchmark.access  # --kinds takes it
    if isinstance(source, S3Source):
        assert (source.name, source.dataset) == (benchmark.name, benchmark.folder)
    assert "{" not in (benchmark.by_hand + benchmark.rest).format(root="ROOT", folder="FOLDER")
    assert bool(benchmark.load("check")) == bool(benchmark.folder)
    if benchmark.datamodule:
        kind = benchmark.load("datamodule")
        assert issubclass(kind, BrainDataModule)
        assert kind is getattr(nfas_lightning.datamodules, kind.__name__)
        assert kind.__name__ in nfas_lightning.datamodules.__all__


def test_no_benchmark_is_named_outside_its_folder():
    package = Path(nfas_lightning.datamodules.__file__).parents[1]
    files = [*(package / "datamodules" / "catalogue").rglob("*.py"), *(package / "data").rglob("*.py")]
    files += (package / "cli").glob("data*.py")
    for file in files:
        found = re.findall("|".join(set(NAMES) - {"atlases"}), file.read_text())
        assert not found, (file.name, found)


def test_folders_are_found_by_the_names_in_them(tmp_path):
    words = tmp_path / "alice_fmri" / "words.csv"
    words.parent.mkdir()
    words.touch()
    for root in (tmp_path, words.parent):
        ((benchmark, folder),) = find_benchmarks(root)
        assert (benchmark.name, folder) == ("alice", words.parent)
        assert benchmark.place(root) == words.parent
    with pytest.raises(FileNotFoundError, match="must be a folder, got nothing"):
        find_benchmarks(tmp_path / "absent")
    with pytest.raises(NotADirectoryError, match="got a file"):
        find_benchmarks(words)


def test_two_benchmarks_of_one_name_are_refused(toy_in_the_package, toy_distribution):
    with pytest.raises(
        ValueError, match=r"toy_tones:BENCHMARK declares the benchmark 'toy_tones', which there is"
    ):
        benchmarks()


@pytest.mark.parametrize("how", ["toy_in_the_package", "toy_distribution"])
def test_a_toy_benchmark_is_listed_got_checked_and_loaded(request, how, tmp_path, capsys):
    request.getfixturevalue(how)

    def run(*words):
        try:
            main(["data", *map(str, words)])
        except SystemExit as end:
            return end.code
        return 0

    root = tmp_path / "data"
    root.mkdir()
    assert run("list", "--root", root) == 0
    assert "toy_tones" in capsys.readouterr().out
    assert run("get", "toy_tones", "--root", root) == 3
    assert f"Write {root / 'toy_tones' / 'tones.npz'} yourself" in capsys.readouterr().out
    assert run("check", root) == 2

    rng = np.random.default_rng(0)
    (root / "toy_tones").mkdir()
    arrays = {"tones": rng.normal(size=(12, 1600)).astype(np.float32), "responses": rng.normal(size=(12, 3))}
    np.savez(root / "toy_tones" / "tones.npz", **arrays)
    assert run("check", root) == 0
    assert "toy_tones" in capsys.readouterr().out
    assert checks.check_one(root).benchmark.name == "toy_tones"

    datamodule = nfas_lightning.datamodules.ToyTonesDataModule(root)
    assert "ToyTonesDataModule" in dir(nfas_lightning.datamodules)
    datamodule.prepare_data()
    datamodule.setup("test")
    assert datamodule.responses.values.shape == (1, 12, 3)
    assert len(datamodule.responses.stimulus_ids) == 12

    np.savez(root / "toy_tones" / "tones.npz", tones=arrays["tones"])
    assert run("check", root) == 1
    assert "must hold 'responses'" in capsys.readouterr().out
