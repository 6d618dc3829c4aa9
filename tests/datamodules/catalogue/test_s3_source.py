"""Listings of a bucket on loopback; which parts are chosen is tested beside each benchmark."""

import hashlib

import pytest

from nfas_lightning.datamodules.catalogue.download import TransferError
from nfas_lightning.datamodules.catalogue.s3_source import list_bucket, safe_path
from tests.helpers.flaky_server import FlakyBucket, serve

KEY = "ds003643/stimuli/task-lppEN_section-1.wav"


@pytest.fixture
def bucket():
    with serve(FlakyBucket({KEY: b"RIFF"})) as running:
        yield running


def test_a_listing_comes_in_pages(bucket):
    bucket.files = {f"ds1/a b/{i:03d}+é.txt": bytes(i) for i in range(25)} | {
        "ds1/top": b"x",
        "ds2/other": b"",
    }
    bucket.page = 10
    listed = list_bucket(bucket.address, "ds1/")
    assert [file.key for file in listed] == sorted(key for key in bucket.files if key.startswith("ds1/"))
    assert listed[7].size == 7
    assert listed[7].etag == hashlib.md5(bytes(7)).hexdigest()
    assert bucket.pages == 3
    assert [file.key for file in list_bucket(bucket.address, "ds1/", flat=True)] == ["ds1/top"]


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
def test_keys_that_would_leave_the_folder_are_refused(bucket, key, tmp_path):
    bucket.listing = listing(contents("ds1/good") + contents(key))
    with pytest.raises(TransferError, match=r"no path below a folder|must hold keys that start so"):
        list_bucket(bucket.address, "ds1/")


def test_what_is_no_listing_is_refused(bucket):
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 20}">' for i in range(1, 9))
    bomb = f'<!DOCTYPE l [<!ENTITY a0 "aaaa">{entities}]>'.encode() + listing(contents("ds1/&a8;"))
    outside = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + listing(contents("ds1/&a;"))
    for body in (b"<html></html>", b"no xml", b"", bomb, outside, b"<ListBucketResult>"):
        bucket.listing = body
        with pytest.raises(TransferError, match="must answer with an S3 listing"):
            list_bucket(bucket.address, "ds1/")
    bucket.listing = listing(contents("ds1/x", size="many"))
    with pytest.raises(TransferError, match="each with a size"):
        list_bucket(bucket.address, "ds1/")


def test_pages_without_end_are_refused(bucket):
    bucket.listing = listing(contents("ds1/x"), truncated="true")
    with pytest.raises(TransferError, match="goes on, but not where"):
        list_bucket(bucket.address, "ds1/")
    token = "<NextContinuationToken>again</NextContinuationToken>"
    bucket.listing = listing(contents("ds1/x"), truncated="true", token=token)
    bucket.pages = 0
    with pytest.raises(TransferError, match="goes on, but not where"):
        list_bucket(bucket.address, "ds1/")
    assert bucket.pages == 2


def test_a_listing_is_asked_again(bucket):
    bucket.statuses[""] = [503, 500]
    assert len(list_bucket(bucket.address, "ds003643/")) == 1
    bucket.statuses[""] = [403]
    with pytest.raises(TransferError, match="403 Forbidden"):
        list_bucket(bucket.address, "ds003643/")


def test_a_plain_path_is_kept():
    assert str(safe_path("ds1/._.DS_Store")) == "ds1/._.DS_Store"
    assert str(safe_path("ds1/..x/y")) == "ds1/..x/y"
