import pytest

from nfas_lightning.datamodules.catalogue.source import Job, Plan


@pytest.fixture
def make(tmp_path):
    """Makes a job of four bytes under a name."""
    return lambda name: Job(name, f"http://x/{name}", tmp_path / name, 4, "", "stimuli")


def test_what_is_there_is_told_from_what_is_wanted(make, tmp_path):
    names = ("whole", "absent", "short", "link", "folder")
    (tmp_path / "whole").write_bytes(b"full")
    (tmp_path / "short").write_bytes(b"me")
    (tmp_path / "link").symlink_to("../.git/annex/objects/xx")
    (tmp_path / "folder").mkdir()
    plan = Plan(tmp_path, [make(name) for name in names])
    assert [job.name for job in plan.here] == ["whole"]
    assert [job.name for job in plan.wanted] == ["absent"]
    assert plan.n_bytes == 4
    states = {job.name: state for job, state in plan.obstructed}
    assert states["short"] == "a file of 2 bytes, not 4: delete it to have it fetched"
    assert "DataLad" in states["link"]
    assert states["folder"] == "something that is no file"
