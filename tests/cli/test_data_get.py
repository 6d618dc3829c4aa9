"""`nfas data get` as it is typed, against a bucket on loopback."""

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import numpy as np
import pytest

from nfas_lightning.datamodules import LittlePrinceDataModule
from nfas_lightning.datamodules.alice import alice_source
from tests.helpers.alice_release import TEXTGRID, write_release
from tests.helpers.command_line import run_data
from tests.helpers.flaky_server import FlakyBucket, serve
from tests.helpers.little_prince_tree import write_little_prince

FILES = {
    "ds003643/participants.tsv": b"participant_id\nsub-EN057\n",
    "ds003643/stimuli/task-lppEN_section-1.wav": b"e" * 3000,
    "ds003643/derivatives/sub-EN057/func/sub-EN057_task-lppEN_run-15_bold.nii.gz": b"b" * 50_000,
    "ds003643/derivatives/sub-EN058/func/sub-EN058_task-lppEN_run-01_bold.nii.gz": b"c" * 50_000,
}


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NFAS_DATA", raising=False)


@pytest.fixture
def bucket():
    with serve(FlakyBucket(dict(FILES))) as running:
        yield running


def get(bucket, root, *args) -> int:
    return run_data("get", "little_prince", "--root", root, "--bucket", bucket.address, *args)


def test_get_says_the_size_first_and_brings_the_chosen_part(bucket, tmp_path, capsys):
    bucket.drop_after[next(key for key in FILES if "EN057/" in key)] = [20_000]
    assert get(bucket, tmp_path, "--subjects", "EN057", "--dry_run") == 0
    out = capsys.readouterr().out
    assert "3 files, 53.0 kB" in out
    assert not bucket.requests
    assert not (tmp_path / "ds003643").exists()
    assert get(bucket, tmp_path, "--subjects", "EN057", "--yes") == 0
    out = capsys.readouterr().out
    assert "3 files came: MD5 compared for 3" in out
    here = {str(p.relative_to(tmp_path)) for p in (tmp_path / "ds003643").rglob("*") if p.is_file()}
    assert here - {"ds003643/.nfas-get.lock"} == {key for key in FILES if "EN058" not in key}
    assert all((tmp_path / key).read_bytes() == FILES[key] for key in here if key in FILES)
    assert get(bucket, tmp_path, "--subjects", "EN057", "--yes") == 0
    assert "0 files, 0 bytes" in capsys.readouterr().out


def test_what_was_downloaded_over_a_bad_line_is_what_the_loader_reads(bucket, tmp_path, capsys):
    (tmp_path / "original").mkdir()
    tree = write_little_prince(tmp_path / "original")
    bucket.files = {
        f"ds003643/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }
    bucket.page = 50
    for i, key in enumerate(bucket.files):
        bucket.drop_after[key] = [5000] * (i % 3 == 0)
    root = tmp_path / "data"
    assert get(bucket, root, "--subjects", "EN057,EN059", "--yes", "--workers", 3) == 0
    stories = LittlePrinceDataModule(root, strict=False).stories()
    assert len(stories) == 9
    assert {scan.subject for story in stories for scan in story.scans} == {"sub-EN057", "sub-EN059"}
    capsys.readouterr()
    # nine runs each, but of a fixture's lengths and words
    assert run_data("check", root, "--subjects", "EN057,EN059", "--deep") == 1
    out = capsys.readouterr().out
    assert "unreadable EN" not in out
    assert "missing EN lengths" in out
    assert "missing EN words: section 1: 10 words, not 1517" in out


@pytest.mark.parametrize(("answer", "code"), [("n\n", 3), ("\n", 3), ("y\n", 0)])
def test_get_asks(bucket, tmp_path, monkeypatch, answer, code):
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    assert get(bucket, tmp_path, "--kinds", "metadata") == code
    assert bool(bucket.requests) == (code == 0)


def test_get_does_not_go_on_where_nobody_can_answer(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert get(bucket, tmp_path) == 3
    assert "say --yes" in capsys.readouterr().err
    assert not bucket.requests


def test_get_tells_what_failed_by_its_code(bucket, tmp_path, capsys):
    assert get(bucket, tmp_path, "--kinds", "nonsense") == 2
    assert "there are metadata" in capsys.readouterr().err
    assert get(bucket, tmp_path, "--subjects", "EN999") == 2
    assert run_data("get", "litle_prince", "--root", tmp_path) == 2
    assert "Did you mean 'little_prince'?" in capsys.readouterr().err
    assert get(bucket, tmp_path, "--source", tmp_path) == 2
    assert "has no archives to convert" in capsys.readouterr().err
    assert run_data("get", "narratives") == 2
    assert "Give --root, or set NFAS_DATA" in capsys.readouterr().err
    bucket.forever["ds003643/participants.tsv"] = 404
    assert get(bucket, tmp_path, "--yes") == 1
    assert "failed ds003643/participants.tsv" in capsys.readouterr().err
    (tmp_path / "ds003643" / "participants.tsv").write_text("mine")
    assert get(bucket, tmp_path, "--yes") == 1
    assert "In the way" in capsys.readouterr().err
    bucket.listing = b"<html></html>"
    assert get(bucket, tmp_path, "--yes") == 1
    assert "is it a bucket's address?" in capsys.readouterr().err


def test_a_climbing_key_brings_nothing(bucket, tmp_path, capsys):
    bucket.files["ds003643/stimuli/../../../outside"] = b"x"
    root = tmp_path / "a" / "b"
    assert get(bucket, root, "--yes") == 1
    assert "no path below a folder" in capsys.readouterr().err
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_numbers_stay_names(bucket, tmp_path):
    bucket.files = {"ds002345/sub-001/func/sub-001_task-pieman_events.tsv": b"onset\n"}
    args = ("--root", tmp_path, "--bucket", bucket.address, "--kinds", "events", "--subjects", "001", "--yes")
    assert run_data("get", "narratives", *args) == 0
    assert (tmp_path / next(iter(bucket.files))).read_bytes() == b"onset\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("algonauts2021", ("non-commercial", "forms.gle", "participants_data.zip", "1102 clips")),
        ("natural_sounds", ("no license", "10.1016/j.neuron.2015.11.035", "components.npz")),
    ],
)
def test_what_may_not_be_downloaded_says_how_it_is_had(tmp_path, capsys, name, said):
    assert run_data("get", name, "--root", tmp_path) == 3
    out = capsys.readouterr().out
    assert all(word in out for word in said)
    assert not list(tmp_path.iterdir())


def test_simulated_brains_need_no_folder(capsys):
    assert run_data("get", "simulated") == 3
    assert "there is nothing to get" in capsys.readouterr().out


def test_derivatives_of_narratives_come_by_datalad(tmp_path, capsys):
    assert run_data("get", "narratives", "--root", tmp_path, "--kinds", "derivatives") == 3
    assert "datalad get derivatives/afni-nosmooth" in capsys.readouterr().out


def test_alice_without_a_release(tmp_path, capsys):
    assert run_data("get", "alice", "--root", tmp_path, "--source", tmp_path) == 1
    assert "must hold the unpacked release" in capsys.readouterr().err


@pytest.fixture
def drive(monkeypatch):
    """Google Drive on loopback: every archive under its id."""
    with serve(FlakyBucket({}, key_of=lambda url: parse_qs(url.query)["id"][0])) as running:
        monkeypatch.setattr(alice_source, "GOOGLE_DRIVE", running.address)
        yield running


def alice_zips(folder) -> dict[str, bytes]:
    """Archives of a made-up release by their id, Mac's twins and a sound among the files."""
    rng = np.random.default_rng(0)
    subjects = ["s18", "s22"]
    arrays = {"subjects": subjects, "bold_6mm": rng.normal(size=(2, 362, 6))}
    arrays |= {"bold_10mm": arrays["bold_6mm"] + 1, "motion": rng.normal(size=(2, 362, 6))}
    arrays |= {"word_rate_hrf": rng.normal(size=362), "sound_power_hrf": rng.normal(size=362)}
    release = write_release(folder, arrays, TEXTGRID.encode())
    files = {}
    for name, identity in alice_source.ARCHIVES.items():
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((release / Path(name).stem).rglob("*.*")):
                archive.write(path, str(path.relative_to(release)))
                twin = path.relative_to(release).with_name(f"._{path.name}")
                archive.writestr(f"__MACOSX/{twin}", b"\x00\x05\x16\x07")
            archive.writestr("alice_stim_shared/story.wav", b"RIFF" * 1000)
            archive.writestr("../../outside.txt", b"climbed")
        files[identity] = content.getvalue()
    return files


def test_alice_comes_from_drive_over_a_bad_line(drive, tmp_path, capsys):
    drive.files = alice_zips(tmp_path / "made")
    drive.drop_after = {
        identity: [None, 20_000] for identity in drive.files
    }  # the first request asks the size
    root = tmp_path / "a" / "data"
    assert run_data("get", "alice", "--root", root, "--dry_run") == 0
    assert "2 files" in capsys.readouterr().out
    assert not root.exists()
    drive.drop_after = {identity: [None, 20_000] for identity in drive.files}
    assert run_data("get", "alice", "--root", root, "--yes") == 0
    out = capsys.readouterr().out
    assert "size alone for 2" in out
    assert "2 listeners and the words are in" in out
    alice = root / "alice_fmri"
    kept = {str(path.relative_to(alice)) for path in alice.rglob("*") if path.is_file()}
    archives = {f"release/{name}" for name in alice_source.ARCHIVES}
    assert kept == archives | {"release/.nfas-get.lock", "roi_timeseries.npz", "words.csv"}
    assert not list(tmp_path.rglob("outside.txt"))
    assert "Alice,20.0000" in (alice / "words.csv").read_text()
    # nothing is fetched twice
    drive.requests.clear()
    assert run_data("get", "alice", "--root", alice, "--yes") == 0
    assert len(drive.requests) == 2
    assert not any(asked for _, asked in drive.requests)


def test_alice_where_drive_sends_a_page_or_something_else(drive, tmp_path, capsys):
    good = alice_zips(tmp_path / "made")
    drive.files = good | {next(iter(good)): b"<html><title>Quota exceeded</title></html>"}
    drive.types = {next(iter(good)): "text/html; charset=utf-8"}
    assert run_data("get", "alice", "--root", tmp_path / "data", "--yes") == 1
    err = capsys.readouterr().err
    assert "sends a page (Quota exceeded)" in err
    assert "--source DIR" in err
    assert not (tmp_path / "data").exists()
    drive.types = {}
    damaged = bytearray(good[next(iter(good))])
    damaged[2000] ^= 0xFF
    drive.files = good | {next(iter(good)): bytes(damaged)}
    assert run_data("get", "alice", "--root", tmp_path / "data", "--yes") == 1
    assert "must be a whole zip archive" in capsys.readouterr().err
    kept = [path.name for path in (tmp_path / "data" / "alice_fmri").iterdir()]
    assert kept == ["release"]


def test_atlases_come_through_nilearn(tmp_path, monkeypatch, capsys):
    from nilearn import datasets

    def fetch(n_rois, yeo_networks, resolution_mm, data_dir, verbose):
        assert (yeo_networks, resolution_mm) == (7, 1)  # what load_atlas asks for
        path = Path(data_dir) / f"{n_rois}.nii.gz"
        path.write_bytes(b"x")
        return SimpleNamespace(maps=str(path))

    monkeypatch.setattr(datasets, "fetch_atlas_schaefer_2018", fetch)
    assert run_data("get", "atlases", "--root", tmp_path, "--kinds", "schaefer100,schaefer200") == 0
    assert sorted(path.name for path in (tmp_path / "atlases").iterdir()) == ["100.nii.gz", "200.nii.gz"]
    assert f"NILEARN_DATA={tmp_path / 'atlases'}" in capsys.readouterr().out
    assert run_data("get", "atlases", "--kinds", "brodmann") == 2

    def offline(**options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "fetch_atlas_schaefer_2018", offline)
    assert run_data("get", "atlases", "--root", tmp_path) == 1
    assert "no network" in capsys.readouterr().err
