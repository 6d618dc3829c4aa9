import pytest

from nfas_lightning.datamodules.catalogue.source import Choice
from nfas_lightning.datamodules.narratives.narratives_source import SOURCE
from tests.helpers.flaky_server import FlakyBucket, serve


@pytest.fixture
def bucket():
    with serve(FlakyBucket({})) as running:
        yield running


def test_narratives_come_without_derivatives(bucket, tmp_path):
    files = ("participants.tsv", "code/event_meta.json", "stimuli/pieman_audio.wav")
    scans = [
        f"sub-001/func/sub-001_task-{task}_{kind}"
        for task in ("pieman", "tunnel")
        for kind in ("bold.nii.gz", "bold.json", "events.tsv")
    ]
    bucket.files = {f"ds002345/{name}": name.encode() for name in (*files, *scans, "derivatives/x/y")}

    def keys(**options):
        plan = SOURCE.plan(tmp_path, Choice(bucket=bucket.address, **options))
        return {job.name.removeprefix("ds002345/") for job in plan.jobs}

    assert keys() == set(files)
    assert keys(kinds=["raw"], subjects=["001"]) == set(scans)
    assert keys(kinds=["events"], tasks=["tunnel"]) == {
        "sub-001/func/sub-001_task-tunnel_bold.json",
        "sub-001/func/sub-001_task-tunnel_events.tsv",
    }
