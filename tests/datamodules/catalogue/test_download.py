"""Downloads against a bucket on loopback: bounded, in process, nothing leaves this machine."""

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from nfas_lightning.datamodules.catalogue import download
from nfas_lightning.datamodules.catalogue.download import (
    TransferError,
    UnreachableError,
    carry_out,
    fetch,
    free_bytes,
)
from nfas_lightning.datamodules.catalogue.source import Choice
from nfas_lightning.datamodules.little_prince.little_prince_source import SOURCE
from tests.helpers.flaky_server import FlakyBucket, little_prince, serve

KEY = "file.wav"
BODY = bytes(range(256)) * 4000  # about a megabyte: several chunks
SIZE = len(BODY)


@pytest.fixture
def bucket():
    with serve(FlakyBucket({KEY: BODY})) as running:
        yield running


def bring(bucket, folder, *, size=SIZE, md5=None, **options) -> Path:
    folder.mkdir(exist_ok=True)
    md5 = bucket.etag(KEY) if md5 is None else md5
    return fetch(f"{bucket.address}/{KEY}", folder, size=size, md5=md5, **options)


# ----- one file


def test_a_file_comes_whole_with_its_bytes_told(bucket, tmp_path):
    told = []
    assert bring(bucket, tmp_path, advance=told.append).read_bytes() == BODY
    assert sum(told) == SIZE
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ignore_ranges", [False, True])
def test_dropped_connections_are_tried_again(bucket, tmp_path, ignore_ranges):
    bucket.ignore_ranges = ignore_ranges
    bucket.drop_after[KEY] = [300_000, 500_000]
    told = []
    assert bring(bucket, tmp_path, advance=told.append).read_bytes() == BODY
    assert sum(told) == SIZE
    assert len(bucket.requests) == 3


@pytest.mark.parametrize("md5", [None, ""])
def test_another_length_than_the_listed_one_is_refused(bucket, tmp_path, md5):
    told = []
    with pytest.raises(TransferError, match=r"must have 1,024,001 bytes.* got something else 6 times"):
        bring(bucket, tmp_path, size=SIZE + 1, md5=md5, advance=told.append)
    assert sum(told) == 0
    assert not list(tmp_path.iterdir())


def test_a_body_shorter_than_its_stated_length_is_never_kept(bucket, tmp_path):
    bucket.declare[KEY] = SIZE + 1000
    with pytest.raises(UnreachableError, match="gave up after 6 tries"):
        # the listing lies as the headers do
        bring(bucket, tmp_path, size=SIZE + 1000)
    assert not list(tmp_path.iterdir())


def test_busy_answers_are_waited_for_and_404_is_not(bucket, tmp_path):
    bucket.statuses[KEY] = [503, 429, 500]
    assert bring(bucket, tmp_path).read_bytes() == BODY
    del bucket.files[KEY]
    with pytest.raises(TransferError, match="404 Not Found") as error:
        bring(bucket, tmp_path / "other", md5="0" * 32)
    assert not isinstance(error.value, UnreachableError)
    assert len(bucket.requests) == 1


def test_a_server_that_stays_busy_is_given_up_after_a_bounded_number_of_tries(bucket, tmp_path):
    bucket.forever[KEY] = 503
    with pytest.raises(UnreachableError, match=r"gave up after 6 tries \(503 Server Error"):
        bring(bucket, tmp_path)


def test_a_server_that_falls_silent_is_asked_again(bucket, tmp_path, monkeypatch):
    def fall_silent(key):
        if len(bucket.requests) == 1:
            time.sleep(1)

    bucket.on_file = fall_silent
    monkeypatch.setattr(download, "TIMEOUT", (5, 0.3))
    assert bring(bucket, tmp_path).read_bytes() == BODY
    assert len(bucket.requests) == 2


def test_nobody_listens(tmp_path):
    with serve(FlakyBucket({})) as gone:
        pass
    with serve(FlakyBucket({})), pytest.raises(UnreachableError, match="gave up after 6 tries"):
        fetch(f"{gone.address}/x", tmp_path, size=1)


def test_a_flipped_byte_is_noticed_and_fetched_again(bucket, tmp_path):
    bucket.corrupt[KEY] = 1
    told = []
    assert bring(bucket, tmp_path, advance=told.append).read_bytes() == BODY
    assert sum(told) == SIZE
    bucket.corrupt[KEY] = 100
    with pytest.raises(TransferError, match=rf"must have .* and MD5 {bucket.etag(KEY)}, got something else"):
        bring(bucket, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_an_empty_file(bucket, tmp_path):
    bucket.files[KEY] = b""
    assert bring(bucket, tmp_path, size=0).read_bytes() == b""


def test_stop_ends_a_download_and_leaves_nothing(bucket, tmp_path):
    stop = threading.Event()
    with pytest.raises(download._Stopped):
        bring(bucket, tmp_path, advance=lambda n: stop.set(), stop=stop)
    assert not list(tmp_path.iterdir())


# ----- a plan


def make_plan(bucket, root, **options):
    return SOURCE.plan(root / "ds003643", Choice(bucket=bucket.address, **options))


def get(bucket, root):
    plan = make_plan(bucket, root)
    return plan, carry_out(plan, workers=3, progress=False)


def test_many_files_on_a_bad_line_all_arrive(bucket, tmp_path):
    bucket.files = little_prince(n_runs=4)
    derivatives = [key for key in bucket.files if "derivatives" in key]
    for i, key in enumerate(derivatives):
        bucket.drop_after[key] = [100 * (i % 4) + 1] * (i % 3)
        bucket.statuses[key] = [503] * (i % 2)
    bucket.etags[derivatives[0]] = "f" * 32 + "-3"  # of an object that was uploaded in parts: no MD5
    plan, outcome = get(bucket, tmp_path)
    assert (outcome.checksummed, outcome.sized) == (len(plan.jobs) - 1, 1)
    assert not outcome.failed
    for job in plan.jobs:
        assert job.target.read_bytes() == bucket.files[job.name]
    here = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert here - {"ds003643/.nfas-get.lock"} == {job.name for job in plan.jobs}
    bucket.requests.clear()
    again, outcome = get(bucket, tmp_path)
    assert not again.wanted
    assert not bucket.requests


def test_files_are_as_readable_as_any_new_file(bucket, tmp_path):
    bucket.files = little_prince()
    (tmp_path / "mine").touch()
    plan, _ = get(bucket, tmp_path)
    usual = stat.S_IMODE((tmp_path / "mine").stat().st_mode)
    assert {stat.S_IMODE(job.target.stat().st_mode) for job in plan.jobs} == {usual}


def test_what_is_there_is_not_touched(bucket, tmp_path):
    bucket.files = little_prince()
    folder = tmp_path / "ds003643"
    link = folder / "stimuli" / "task-lppFR_section_1.wav"
    short = folder / "stimuli" / "task-lppEN_section-1.wav"
    short.parent.mkdir(parents=True)
    short.write_bytes(b"mine")
    link.symlink_to("../.git/annex/objects/xx")
    plan, _ = get(bucket, tmp_path)
    assert {job.target for job, _ in plan.obstructed} == {short, link}
    assert short.read_bytes() == b"mine"
    assert link.is_symlink()
    assert (folder / "dataset_description.json").read_bytes() == b"{}"


def test_one_file_that_is_gone_does_not_stop_the_others(bucket, tmp_path):
    bucket.files = little_prince()
    gone = "ds003643/stimuli/task-lppFR_section_1.wav"
    bucket.forever[gone] = 404
    plan, outcome = get(bucket, tmp_path)
    assert list(outcome.failed) == [gone]
    assert "404" in outcome.failed[gone]
    assert outcome.checksummed == len(plan.jobs) - 1


def test_a_lost_connection_ends_it_and_the_next_call_brings_the_rest(bucket, tmp_path):
    bucket.files = little_prince(n_runs=9)
    key = next(key for key in bucket.files if "derivatives" in key)
    bucket.forever[key] = 503
    plan = make_plan(bucket, tmp_path, kinds=["derivatives"])
    outcome = carry_out(plan, workers=1, progress=False)
    assert list(outcome.failed) == [key]
    assert outcome.checksummed + outcome.not_tried == len(plan.jobs) - 1
    assert outcome.not_tried > 0
    del bucket.forever[key]
    plan = make_plan(bucket, tmp_path, kinds=["derivatives"])
    second = carry_out(plan, workers=3, progress=False)
    assert len(plan.wanted) == second.checksummed == outcome.not_tried + 1
    assert all(job.target.read_bytes() == bucket.files[job.name] for job in plan.jobs)


def test_ctrl_c_keeps_what_is_finished(bucket, tmp_path):
    bucket.files = little_prince(n_runs=9)
    hit = threading.Event()

    def interrupt(key):
        if len(bucket.requests) == 6 and not hit.is_set():
            hit.set()
            signal.raise_signal(signal.SIGINT)  # Python hands it to the main thread
            time.sleep(0.2)

    bucket.on_file = interrupt
    plan = make_plan(bucket, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, workers=2, progress=False)
    finished = [job for job in plan.jobs if job.target.exists()]
    assert 0 < len(finished) < len(plan.jobs)
    assert all(job.target.read_bytes() == bucket.files[job.name] for job in finished)
    plan, outcome = get(bucket, tmp_path)
    assert outcome.checksummed == len(plan.jobs) - len(finished)
    assert not list(plan.folder.glob(".nfas-get-*"))


def test_what_a_killed_process_left_is_removed(bucket, tmp_path):
    bucket.files = little_prince()
    left = tmp_path / "ds003643" / ".nfas-get-abc" / "tmp123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    get(bucket, tmp_path)
    assert not left.parent.exists()


def test_a_disk_that_is_too_small_is_told_before(bucket, tmp_path, monkeypatch):
    bucket.files = little_prince()
    plan = make_plan(bucket, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("", (), {"free": 1000})())
    assert free_bytes(tmp_path / "a" / "b") == 1000
    with pytest.raises(OSError, match=r"must have room for [\d,]+ bytes, its disk has 1,000 free"):
        carry_out(plan, progress=False)
    assert not bucket.requests
    assert not plan.folder.exists()


def test_a_disk_that_fills_up_stops_everything(bucket, tmp_path, monkeypatch):
    bucket.files = little_prince(n_runs=9)
    plan = make_plan(bucket, tmp_path)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        carry_out(plan, workers=1, progress=False)
    assert len(bucket.requests) < len(plan.jobs)
    assert not list(plan.folder.glob(".nfas-get-*"))


def test_two_downloads_into_one_folder(bucket, tmp_path):
    bucket.files = little_prince()
    plan = make_plan(bucket, tmp_path)
    plan.folder.mkdir()
    with (
        FileLock(plan.folder / ".nfas-get.lock"),
        pytest.raises(RuntimeError, match="Another `nfas data get` is writing"),
    ):
        carry_out(plan, progress=False)
