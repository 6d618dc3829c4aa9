"""Downloads against a bucket on loopback: bounded, in process, nothing leaves this machine."""

import hashlib
import signal
import threading
import time
from pathlib import Path

import pytest

from nfas_lightning.datamodules.catalogue.bucket import list_bucket, object_url, safe_path
from nfas_lightning.datamodules.catalogue.download import carry_out, room_for
from nfas_lightning.datamodules.catalogue.download_plan import make_plan
from nfas_lightning.datamodules.catalogue.transfer import (
    Client,
    Stopped,
    TransferError,
    UnreachableError,
    fetch_file,
)
from tests.helpers.flaky_server import FlakyBucket, serve

KEY = "ds003643/stimuli/task-lppEN_section-1.wav"
BODY = bytes(range(256)) * 4000  # about a megabyte: several chunks
SIZE = len(BODY)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def client():
    return Client(retries=4, pause=0.01, timeout=(5, 5))


@pytest.fixture
def bucket():
    with serve(FlakyBucket({KEY: BODY})) as running:
        yield running


def fetch(client, bucket, target, *, size=SIZE, etag=None, advance=lambda n: None):
    url = object_url(bucket.address, KEY)
    return fetch_file(client, url, target, size=size, etag=etag or bucket.etag(KEY), advance=advance)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith(".part"))


# ----- one file


def test_a_file_comes_whole_with_its_checksum_compared(client, bucket, tmp_path):
    told = []
    assert fetch(client, bucket, tmp_path / "a" / "x.wav", advance=told.append) is True
    assert (tmp_path / "a" / "x.wav").read_bytes() == BODY
    assert sum(told) == len(BODY)
    assert not leftovers(tmp_path)


def test_dropped_connections_are_resumed_where_they_broke(client, bucket, tmp_path):
    bucket.drop_after[KEY] = [300_000, 300_000]
    told = []
    fetch(client, bucket, tmp_path / "x", advance=told.append)
    assert (tmp_path / "x").read_bytes() == BODY
    assert sum(told) == len(BODY)
    ranges = [asked for _, asked in bucket.requests]
    assert ranges[0] == ""
    # what came before the cut was kept: three requests, each further on
    starts = [int(asked[6:-1]) for asked in ranges[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 600_000


def test_a_server_without_ranges_starts_the_file_anew(client, bucket, tmp_path):
    bucket.ignore_ranges = True
    bucket.drop_after[KEY] = [500_000]
    told = []
    fetch(client, bucket, tmp_path / "x", advance=told.append)
    assert (tmp_path / "x").read_bytes() == BODY
    assert sum(told) == len(BODY)


def test_a_server_that_continues_elsewhere_is_not_glued(client, bucket, tmp_path):
    bucket.shift_ranges = True
    bucket.drop_after[KEY] = [500_000]
    fetch(client, bucket, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY


@pytest.mark.parametrize("declared", [len(BODY) + 1000, len(BODY) - 1000])
def test_a_length_that_is_not_the_listed_one_is_refused(client, bucket, tmp_path, declared):
    bucket.declare[KEY] = declared
    with pytest.raises(TransferError, match=rf"must have {len(BODY)} bytes .* got {declared} bytes"):
        fetch(client, bucket, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_body_shorter_than_its_stated_length_never_gets_the_name(client, bucket, tmp_path):
    size = len(BODY) + 1000
    bucket.declare[KEY] = size
    with pytest.raises(UnreachableError, match="gave up after 5 tries"):
        # the listing lies as the headers do; continuing finds nothing more
        fetch(client, bucket, tmp_path / "x", size=size)
    assert not (tmp_path / "x").exists()


def test_busy_answers_are_waited_for_and_404_is_not(client, bucket, tmp_path):
    bucket.statuses[KEY] = [503, 429, 500]
    fetch(client, bucket, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY
    del bucket.files[KEY]
    with pytest.raises(TransferError, match="404 Not Found") as error:
        fetch(client, bucket, tmp_path / "y", etag="0" * 32)
    assert not isinstance(error.value, UnreachableError)
    assert bucket.requests == [(KEY, "")]


def test_a_server_that_stays_busy_is_given_up_after_a_bounded_number_of_tries(client, bucket, tmp_path):
    bucket.forever[KEY] = 503
    with pytest.raises(UnreachableError, match=r"gave up after 5 tries in a row \(the server answers 503"):
        fetch(client, bucket, tmp_path / "x")


def test_a_server_that_falls_silent_is_asked_again(bucket, tmp_path):
    def fall_silent(key):
        if len(bucket.requests) == 1:
            time.sleep(1)

    bucket.on_file = fall_silent
    fetch(Client(retries=2, pause=0.01, timeout=(5, 0.3)), bucket, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY
    assert len(bucket.requests) == 2


def test_nobody_listens(client, tmp_path):
    with serve(FlakyBucket({})) as gone:
        pass
    with pytest.raises(UnreachableError, match="gave up after 5 tries"):
        fetch_file(client, f"{gone.address}/x", tmp_path / "x", size=1, etag="")


def test_a_flipped_byte_is_noticed_and_fetched_again_once(client, bucket, tmp_path):
    bucket.corrupt[KEY] = 1
    told = []
    fetch(client, bucket, tmp_path / "x", advance=told.append)
    assert (tmp_path / "x").read_bytes() == BODY
    assert sum(told) == len(BODY)
    bucket.corrupt[KEY] = 2
    with pytest.raises(TransferError, match=r"must have MD5 .* got another one twice"):
        fetch(client, bucket, tmp_path / "y")
    assert not (tmp_path / "y").exists()
    assert not leftovers(tmp_path)


def test_an_etag_of_parts_is_no_checksum(client, bucket, tmp_path):
    bucket.etags[KEY] = "0123456789abcdef0123456789abcdef-12"
    assert fetch(client, bucket, tmp_path / "x") is False
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_part_is_continued_by_a_later_call_but_not_one_of_another_version(client, bucket, tmp_path):
    bucket.drop_after[KEY] = [400_000]
    impatient = Client(retries=0, pause=0.01)
    with pytest.raises(UnreachableError):
        fetch(impatient, bucket, tmp_path / "x")
    assert len(leftovers(tmp_path)) == 1
    kept = (tmp_path / leftovers(tmp_path)[0]).stat().st_size
    assert 0 < kept <= 400_000
    other = bytes(reversed(BODY))
    bucket.files[KEY] = other
    with pytest.raises(TransferError, match="changed since it was listed"):
        fetch(client, bucket, tmp_path / "x", etag=hashlib.md5(BODY).hexdigest())
    bucket.requests.clear()
    fetch(client, bucket, tmp_path / "x")  # listed anew: another tag, so it starts at zero
    assert bucket.requests == [(KEY, "")]
    assert (tmp_path / "x").read_bytes() == other


def test_an_empty_file(client, bucket, tmp_path):
    bucket.files[KEY] = b""
    assert fetch(client, bucket, tmp_path / "x", size=0) is True
    assert (tmp_path / "x").read_bytes() == b""


def test_stop_leaves_the_part(client, bucket, tmp_path):
    bucket.drop_after[KEY] = [400_000]
    bucket.on_file = lambda key: client.stop.set() if len(bucket.requests) == 2 else None
    with pytest.raises(Stopped):
        fetch(client, bucket, tmp_path / "x")
    assert len(leftovers(tmp_path)) == 1


# ----- the listing


def test_a_listing_comes_in_pages(client, bucket):
    bucket.files = {f"ds1/a b/{i:03d}+é.txt": bytes(i) for i in range(25)} | {
        "ds1/top": b"x",
        "ds2/other": b"",
    }
    bucket.page = 10
    listed = list_bucket(client, bucket.address, "ds1/")
    assert [file.key for file in listed] == sorted(key for key in bucket.files if key.startswith("ds1/"))
    assert listed[7].size == 7
    assert listed[7].etag == hashlib.md5(bytes(7)).hexdigest()
    assert bucket.pages == 3
    assert [file.key for file in list_bucket(client, bucket.address, "ds1/", flat=True)] == ["ds1/top"]


def listing(contents: str, *, truncated: str = "false", token: str = "") -> bytes:
    head = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}<IsTruncated>{truncated}</IsTruncated>{token}{contents}</ListBucketResult>".encode()


def contents(key: str, size: str = "3") -> str:
    return f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>x</ETag></Contents>"


@pytest.mark.parametrize(
    "key",
    [
        "ds1/../../escape",
        "ds1/a/../../../b",
        "ds1//etc/passwd",
        "ds1/./x",
        "ds1/a\\..\\..\\b",
        "ds1/x&#x9;y",
        "../ds1/x",
        "/ds1/x",
        "other/x",
    ],
)
def test_keys_that_would_leave_the_folder_are_refused(client, bucket, key, tmp_path):
    bucket.listing = listing(contents("ds1/good") + contents(key))
    with pytest.raises(TransferError, match=r"no path below a folder|must hold keys that start so"):
        list_bucket(client, bucket.address, "ds1/")


def test_what_is_no_listing_is_refused(client, bucket):
    bomb = b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + listing(contents("ds1/&b;"))
    outside = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + listing(contents("ds1/&a;"))
    for body in (b"<html></html>", b"no xml", b"", bomb, outside, b"<ListBucketResult>"):
        bucket.listing = body
        with pytest.raises(TransferError, match="must answer with an S3 listing"):
            list_bucket(client, bucket.address, "ds1/")
    bucket.listing = listing(contents("ds1/x", size="many"))
    with pytest.raises(TransferError, match="each with a size"):
        list_bucket(client, bucket.address, "ds1/")


def test_pages_without_end_are_refused(client, bucket):
    bucket.listing = listing(contents("ds1/x"), truncated="true")
    with pytest.raises(TransferError, match="goes on, but not where"):
        list_bucket(client, bucket.address, "ds1/")
    token = "<NextContinuationToken>again</NextContinuationToken>"
    bucket.listing = listing(contents("ds1/x"), truncated="true", token=token)
    bucket.pages = 0
    with pytest.raises(TransferError, match="goes on, but not where"):
        list_bucket(client, bucket.address, "ds1/")
    assert bucket.pages == 2


def test_a_listing_is_asked_again(client, bucket):
    bucket.statuses[""] = [503, 500]
    assert len(list_bucket(client, bucket.address, "ds003643/")) == 1
    bucket.statuses[""] = [403]
    with pytest.raises(TransferError, match="403 Forbidden"):
        list_bucket(client, bucket.address, "ds003643/")


def test_a_plain_path_is_kept():
    assert str(safe_path("ds1/._.DS_Store")) == "ds1/._.DS_Store"
    assert str(safe_path("ds1/..x/y")) == "ds1/..x/y"


# ----- plans


def little_prince(n_runs: int = 2) -> dict[str, bytes]:
    files = {
        "participants.tsv": b"participant_id\nsub-EN057\n",
        "dataset_description.json": b"{}",
        "annotation/EN/lppEN_word_information.csv": b"word\n",
        "annotation/FR/lppFR_word_information.csv": b"mot\n",
        "stimuli/task-lppEN_section-1.wav": b"e" * 100,
        "stimuli/task-lppFR_section_1.wav": b"f" * 200,
    }
    for subject in ("sub-EN057", "sub-EN058", "sub-FR001"):
        for run in range(n_runs):
            name = f"{subject}_task-lpp{subject[4:6]}_run-{run:02d}"
            below = f"{subject}/func/{name}"
            files[f"derivatives/{below}_space-MNIColin27_desc-preproc_bold.nii.gz"] = bytes([run]) * 1000
            files[f"{below}_bold.nii.gz"] = bytes([run]) * 5000
        files[f"{subject}/anat/{subject}_T1w.nii.gz"] = b"t" * 7000
    return {f"ds003643/{name}": body for name, body in files.items()}


def names(plan):
    return {job.remote.key.removeprefix("ds003643/") for job in plan.jobs}


def test_parts_are_chosen_by_subject_kind_and_task(client, bucket, tmp_path):
    bucket.files = little_prince()
    bucket.page = 3

    def plan(**options):
        return make_plan("little_prince", tmp_path, client, bucket=bucket.address, **options)

    whole = plan()
    assert whole.folder == tmp_path / "ds003643"
    assert len(whole.jobs) == 12
    assert not any("anat" in name or name.startswith("sub-") for name in names(whole))
    assert whole.n_bytes == sum(job.remote.size for job in whole.jobs)
    one = plan(subjects=["EN057"])
    # sounds and words are those of the subject's language; tables come anyway
    assert {name for name in names(one) if "annotation" in name} == {
        "annotation/EN/lppEN_word_information.csv"
    }
    assert {name for name in names(one) if "wav" in name} == {"stimuli/task-lppEN_section-1.wav"}
    assert sum("desc-preproc" in name for name in names(one)) == 2
    assert sum("desc-preproc" in name for name in names(plan(subjects=["EN"]))) == 4
    assert names(plan(subjects=["sub-EN058", "FR001"], kinds=["anat"])) == {
        "sub-EN058/anat/sub-EN058_T1w.nii.gz",
        "sub-FR001/anat/sub-FR001_T1w.nii.gz",
    }
    assert names(plan(kinds=["metadata"])) == {"participants.tsv", "dataset_description.json"}
    assert len(plan(kinds=["raw"]).jobs) == 6
    assert names(plan(kinds=["stimuli"], tasks=["lppFR"])) == {"stimuli/task-lppFR_section_1.wav"}
    assert make_plan("little_prince", tmp_path / "ds003643", client, bucket=bucket.address).folder == (
        tmp_path / "ds003643"
    )


def test_unknown_parts_are_named(client, bucket, tmp_path):
    bucket.files = little_prince()

    def plan(**options):
        return make_plan("little_prince", tmp_path, client, bucket=bucket.address, **options)

    with pytest.raises(ValueError, match=r"no files of kind 'bold'; there are metadata \(tables"):
        plan(kinds=["bold"])
    with pytest.raises(ValueError, match=r"no files of kind derivatives for sub-EN999"):
        plan(subjects=["EN057", "EN999"])
    with pytest.raises(ValueError, match="no files of task lppXX"):
        plan(tasks=["lppXX", "lppEN"])
    bucket.files = {}
    with pytest.raises(ValueError, match="lists no such files"):
        plan()


def test_what_is_there_is_not_touched(client, bucket, tmp_path):
    bucket.files = little_prince()
    folder = tmp_path / "ds003643"
    whole = folder / "participants.tsv"
    short = folder / "stimuli" / "task-lppEN_section-1.wav"
    link = folder / "stimuli" / "task-lppFR_section_1.wav"
    short.parent.mkdir(parents=True)
    whole.write_bytes(bucket.files["ds003643/participants.tsv"])
    short.write_bytes(b"mine")
    link.symlink_to("../.git/annex/objects/xx")
    plan = make_plan("little_prince", tmp_path, client, kinds=["metadata", "stimuli"], bucket=bucket.address)
    states = {job.target.name: job.state for job in plan.jobs}
    assert states["participants.tsv"] == "here"
    assert states["dataset_description.json"] == "wanted"
    assert states[short.name] == "a file of 4 bytes, not 100: delete it to have it fetched"
    assert "DataLad" in states[link.name]
    carry_out(plan, client, progress=False)
    assert short.read_bytes() == b"mine"
    assert link.is_symlink()
    assert (folder / "dataset_description.json").read_bytes() == b"{}"


# ----- the whole


def download(client, bucket, root, **options):
    plan = make_plan("little_prince", root, client, bucket=bucket.address, **options)
    return plan, carry_out(plan, client, workers=3, progress=False)


def test_many_files_on_a_bad_line_all_arrive(client, bucket, tmp_path):
    bucket.files = little_prince(n_runs=4)
    derivatives = [key for key in bucket.files if "derivatives" in key]
    for i, key in enumerate(derivatives):
        bucket.drop_after[key] = [100 * (i % 4) + 1] * (i % 3)
        bucket.statuses[key] = [503] * (i % 2)
    bucket.etags[derivatives[0]] = "f" * 32 + "-3"
    plan, outcome = download(client, bucket, tmp_path)
    assert (outcome.checksummed, outcome.sized) == (len(plan.jobs) - 1, 1)
    assert not outcome.failed
    for job in plan.jobs:
        assert job.target.read_bytes() == bucket.files[job.remote.key]
    assert not leftovers(tmp_path)
    bucket.requests.clear()
    again, outcome = download(client, bucket, tmp_path)
    assert not again.wanted
    assert not bucket.requests


def test_one_file_that_is_gone_does_not_stop_the_others(client, bucket, tmp_path):
    bucket.files = little_prince()
    gone = "ds003643/stimuli/task-lppFR_section_1.wav"
    bucket.forever[gone] = 404
    plan, outcome = download(client, bucket, tmp_path)
    assert list(outcome.failed) == [gone]
    assert "404" in outcome.failed[gone]
    assert outcome.checksummed == len(plan.jobs) - 1


def test_a_lost_connection_ends_it_and_the_next_call_goes_on(client, bucket, tmp_path):
    bucket.files = little_prince(n_runs=9)
    impatient = Client(retries=1, pause=0.01, timeout=(2, 2))
    key = next(key for key in bucket.files if "derivatives" in key)
    bucket.forever[key] = 503
    plan, outcome = download(impatient, bucket, tmp_path)
    assert list(outcome.failed) == [key]
    assert outcome.checksummed + outcome.not_tried == len(plan.jobs) - 1
    assert outcome.not_tried > 0
    del bucket.forever[key]
    plan, second = download(client, bucket, tmp_path)
    assert len(plan.wanted) == second.checksummed == outcome.not_tried + 1
    assert all(job.target.read_bytes() == bucket.files[job.remote.key] for job in plan.jobs)


def test_ctrl_c_keeps_what_is_finished(client, bucket, tmp_path):
    bucket.files = little_prince(n_runs=9)
    hit = threading.Event()

    def interrupt(key):
        if len(bucket.requests) == 6 and not hit.is_set():
            hit.set()
            signal.raise_signal(signal.SIGINT)  # Python hands it to the main thread
            time.sleep(0.2)

    bucket.on_file = interrupt
    plan = make_plan("little_prince", tmp_path, client, bucket=bucket.address)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, client, workers=2, progress=False)
    finished = [job for job in plan.jobs if job.target.exists()]
    assert 0 < len(finished) < len(plan.jobs)
    assert all(job.target.read_bytes() == bucket.files[job.remote.key] for job in finished)
    fresh = Client(retries=4, pause=0.01)
    plan, outcome = download(fresh, bucket, tmp_path)
    assert outcome.checksummed == len(plan.jobs) - len(finished)
    assert not leftovers(tmp_path)


def test_a_disk_that_is_too_small_is_told_before(client, bucket, tmp_path, monkeypatch):
    bucket.files = little_prince()
    plan = make_plan("little_prince", tmp_path, client, bucket=bucket.address)
    assert room_for(plan)[0] == plan.n_bytes
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("", (), {"free": 1000})())
    with pytest.raises(OSError, match=r"must have room for [\d,]+ bytes, its disk has 1,000 free"):
        carry_out(plan, client, progress=False)
    assert not bucket.requests
    assert not plan.folder.exists()


def test_a_disk_that_fills_up_stops_everything(client, bucket, tmp_path, monkeypatch):
    bucket.files = little_prince()
    plan = make_plan("little_prince", tmp_path, client, bucket=bucket.address)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nfas_lightning.datamodules.catalogue.transfer.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        carry_out(plan, client, workers=2, progress=False)
    assert client.stop.is_set()


def test_two_downloads_into_one_folder(client, bucket, tmp_path):
    from filelock import FileLock

    bucket.files = little_prince()
    plan = make_plan("little_prince", tmp_path, client, bucket=bucket.address)
    plan.folder.mkdir()
    with (
        FileLock(plan.folder / ".nfas-get.lock"),
        pytest.raises(RuntimeError, match="Another `nfas data get` is writing"),
    ):
        carry_out(plan, client, progress=False)


def test_narratives_come_without_derivatives(client, bucket, tmp_path):
    files = ("participants.tsv", "code/event_meta.json", "stimuli/pieman_audio.wav")
    scans = [
        f"sub-001/func/sub-001_task-{task}_{kind}"
        for task in ("pieman", "tunnel")
        for kind in ("bold.nii.gz", "bold.json", "events.tsv")
    ]
    bucket.files = {f"ds002345/{name}": name.encode() for name in (*files, *scans, "derivatives/x/y")}

    def keys(**options):
        plan = make_plan("narratives", tmp_path, client, bucket=bucket.address, **options)
        return {job.remote.key.removeprefix("ds002345/") for job in plan.jobs}

    assert keys() == set(files)
    assert keys(kinds=["raw"], subjects=["001"]) == set(scans)
    assert keys(kinds=["events"], tasks=["tunnel"]) == {
        "sub-001/func/sub-001_task-tunnel_bold.json",
        "sub-001/func/sub-001_task-tunnel_events.tsv",
    }
