"""Files appear whole or not at all, whoever is killed, fails, or writes at the same time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import unicodedata
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from safetensors.torch import save_file

from nfas_lightning.cli.lightning import keep_numbered
from nfas_lightning.data.regions.parcel_cache import read_parcels, write_parcels
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.hooks.shards import read_shards, write_shard
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory
from nfas_lightning.plotting.pictures import save_figure
from nfas_lightning.results import RunFolder
from nfas_lightning.writing import (
    _machine,
    cache_dir,
    check_folder,
    load_yaml,
    safe_name,
    staging_file,
    staging_place,
    write_csv,
    write_parquet,
    write_text,
    write_whole,
)
from tests.helpers.results import model_result

TRAJECTORY = Trajectory(
    (torch.ones(2, 3),), (LayerInfo("a", 0, "Block", (5, 3), 3, "torch.float32"),), torch.tensor([0, 1])
)
PARCELS = Parcels(torch.ones(4, 2), torch.tensor([3, 5]))

WRITERS = {
    "text": lambda folder: write_text(folder / "a.txt", "new"),
    "csv": lambda folder: write_csv(folder / "a.csv", pd.DataFrame({"a": [1]})),
    "parquet": lambda folder: write_parquet(folder / "a.parquet", pd.DataFrame({"a": [1]})),
    "shard": lambda folder: write_shard(folder / "a.safetensors", TRAJECTORY),
    "parcels": lambda folder: write_parcels(folder, "key", PARCELS),
    "config": lambda folder: keep_numbered(folder, "a: 1"),
    "result": lambda folder: RunFolder(folder).write("net", "k" * 64, model_result()),
}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("kind", WRITERS)
def test_permissions_are_those_of_any_new_file(tmp_path, umask, kind):
    WRITERS[kind](tmp_path / "made" / "here")
    assert files_in(tmp_path)
    for path in tmp_path.rglob("*"):
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.parametrize("kind", WRITERS)
def test_a_writer_leaves_its_file_and_nothing_beside_it(tmp_path, kind):
    WRITERS[kind](tmp_path)
    WRITERS[kind](tmp_path)
    assert len(files_in(tmp_path)) == (4 if kind == "result" else 1)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "a" / "b" / "notes.txt"
    write_text(path, "old")
    write_text(path, "gr\u00fcn")
    assert path.read_bytes() == "gr\u00fcn".encode()


_KILLED = """
import os, signal, sys
from pathlib import Path
from nfas_lightning.writing import write_whole

def write(staging):
    with staging.open("w") as file:
        file.write("half of the new")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

write_whole(Path(sys.argv[1]), write)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.parquet"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert list(tmp_path.glob("*.parquet")) == [path]  # what it left is not taken for a result
    write_text(path, "new")  # and is in nobody's way
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(staging):
        staging.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, write)
    assert path.read_text() == "old"
    assert files_in(tmp_path) == [path]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_rename_that_fails_leaves_no_litter(tmp_path, monkeypatch, kind):
    def full_disk(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    monkeypatch.setattr(os, "link", full_disk)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[kind](tmp_path)
    assert not files_in(tmp_path)


def test_two_writers_do_not_meet(tmp_path):
    path, meet = tmp_path / "a.txt", threading.Barrier(2, timeout=30)

    def task(letter):
        def write(staging):
            with staging.open("w") as file:
                file.write(letter * 1000)
                file.flush()
                meet.wait()  # both are in the middle
                file.write(letter * 1000)

        write_whole(path, write)

    threads = [threading.Thread(target=task, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 2000, "b" * 2000)
    assert files_in(tmp_path) == [path]


def test_a_writer_may_put_a_file_of_its_own_in_the_place(tmp_path):
    def write(staging):
        other = staging.with_name("other")
        save_file({"a": torch.ones(2)}, other)
        other.rename(staging)

    write_whole(tmp_path / "a.safetensors", write)
    assert [path.name for path in files_in(tmp_path)] == ["a.safetensors"]


def test_what_was_staged_goes_unless_it_was_moved(tmp_path):
    with staging_file(tmp_path / "a.txt") as staging:
        assert staging.parent == tmp_path
        assert staging.read_bytes() == b""
    assert not files_in(tmp_path)


def test_shards_and_parcels_come_back(tmp_path):
    write_shard(tmp_path / "stage" / "a.safetensors", TRAJECTORY)
    assert torch.equal(read_shards(tmp_path / "stage").states[0], TRAJECTORY.states[0])
    write_parcels(tmp_path, "key", PARCELS)
    found, problem = read_parcels(tmp_path, "key", 2)
    assert problem is None
    assert torch.equal(found.values, PARCELS.values)


def test_configs_never_go_over_one_another(tmp_path):
    assert keep_numbered(tmp_path, "a: 1").name == "config.yaml"
    assert keep_numbered(tmp_path, "a: 1").name == "config.yaml"
    assert keep_numbered(tmp_path, "a: 2").name == "config-1.yaml"
    assert (tmp_path / "config.yaml").read_text() == "a: 1"


def test_configs_of_runs_that_start_at_once_get_a_file_each(tmp_path):
    texts = [f"a: {i}" for i in range(8)]
    threads = [threading.Thread(target=keep_numbered, args=(tmp_path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text() for path in files_in(tmp_path)) == texts


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("resnet18", "resnet18"),
        ("openai/whisper-base", "openai_whisper-base-*"),
        ("hub:a b\\c.d_e", "hub_a_b_c.d_e-*"),
        ("/abs/model.pt", "_abs_model.pt-*"),
        ("mod\u00e8le", "mod\u00e8le"),
        ("mode\u0300le", "mode_le-*"),  # the same word in two characters more
        ("ResNet", "ResNet-*"),
        ("..", "_-*"),
        (".hidden", "_hidden-*"),
        ("dot.", "dot_-*"),
        ("", "_-*"),
        ("nul.v1", "nul.v1-*"),
        ("a_b-0123abcd", "a_b-0123abcd-*"),  # which could be the hash of another one
        ("n" * 300, f"{'n' * 60}-*"),
        ("\u6a21" * 300, f"{chr(0x6A21) * 60}-*"),
    ],
)
def test_folder_names(tmp_path, text, slug):
    name = safe_name(text)
    assert fnmatchcase(name, slug.replace("*", "[0-9a-f]" * 8))
    # the folder of a run has it: another name would make a resumed run start anew
    RunFolder(tmp_path).write(text, "k" * 64, model_result())
    assert (tmp_path / "models" / name / ("k" * 16) / "card.json").is_file()
    assert len(list(tmp_path.rglob("card.json"))) == 1


def test_no_two_names_share_a_folder_even_where_case_is_ignored():
    texts = [
        "a/b",
        "a:b",
        "a b",
        "a_b",
        "A_b",
        "a_B",
        "a_b.",
        ".a_b",
        "a\\b",
        "Stra\u00dfe",
        "strasse",
        "stra\u00dfe",
    ]
    texts += [safe_name(text) for text in texts] + ["n" * 300, "n" * 301, "", ".", "..", "...", "n" * 61]
    texts = list(dict.fromkeys(texts))
    names = [unicodedata.normalize("NFC", safe_name(text)).casefold() for text in texts]
    assert len(set(names)) == len(texts)
    assert not {"", ".", ".."} & set(names)
    assert max(len(name.encode()) for name in names) <= 255


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    of_dead = f"-{ended.stdout.decode().strip()}-"
    result = tmp_path / "models" / "net"
    result.mkdir(parents=True)
    own = [staging_place(tmp_path / "figures" / "a.png"), staging_place(result / "key")]
    dead = [path.with_name(path.name.replace(f"-{os.getpid()}-", of_dead)) for path in own]
    away = [path.with_name(path.name.replace(_machine(), "0123abcd")) for path in dead]
    foreign = [tmp_path / ".notes.tmp", tmp_path / "figures" / "mine.tmp"]
    for path in [*own, *dead, *away, *foreign]:
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if path.parent == result else path.write_text("half")
    (dead[1] / "scores.parquet").write_text("half")
    check_folder(tmp_path)
    assert [path.exists() for path in [*own, *away, *foreign]] == [True] * 6
    assert not any(path.exists() for path in dead)
    os.utime(away[0], (0, 0))
    check_folder(tmp_path)
    assert [path.exists() for path in away] == [False, True]


def test_two_processes_that_draw_one_figure_never_show_half_a_picture(tmp_path, monkeypatch):
    figure = Figure(figsize=(1, 1))
    path = save_figure(figure, tmp_path / "a.png", dpi=50, formats=["pdf"])
    whole = path.read_bytes()
    seen = []

    def watch(self, file, **options):
        Path(file).write_bytes(b"half")
        seen.append(path.read_bytes())
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", watch)
    with pytest.raises(OSError, match="no space left"):
        save_figure(figure, path, dpi=50)
    assert seen == [whole]
    assert path.read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pdf", "a.png"]


# YAML from anywhere


def test_yaml_of_plain_values():
    text = "base: &b {a: 1, list: [x, 2.5, null]}\nown: {<<: *b, a: 2}\n"
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml("") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40)), "100,000"),
        ("a: &a [1, *a]", "100,000"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("{a: 1, a: 2}", "comes twice"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
    ],
    ids=["doubling", "itself", "deep", "twice", "object"],
)
def test_yaml_that_is_more_than_it_looks(text, said):
    with pytest.raises(yaml.YAMLError, match=said):
        load_yaml(text)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NFAS_CACHE", raising=False)
    assert cache_dir() == tmp_path / "xdg" / "nfas-lightning"
    monkeypatch.setenv("NFAS_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
