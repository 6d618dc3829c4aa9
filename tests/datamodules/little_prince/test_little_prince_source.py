import pytest

from nfas_lightning.datamodules.catalogue.source import Choice
from nfas_lightning.datamodules.little_prince.little_prince_source import SOURCE
from tests.helpers.flaky_server import FlakyBucket, little_prince, serve


@pytest.fixture
def bucket():
    with serve(FlakyBucket(little_prince())) as running:
        yield running


def names(plan):
    return {job.name.removeprefix("ds003643/") for job in plan.jobs}


def test_parts_are_chosen_by_subject_kind_and_task(bucket, tmp_path):
    bucket.page = 3

    def plan(**options):
        return SOURCE.plan(tmp_path / "ds003643", Choice(bucket=bucket.address, **options))

    whole = plan()
    assert whole.folder == tmp_path / "ds003643"
    assert len(whole.jobs) == 12
    assert not any("anat" in name or name.startswith("sub-") for name in names(whole))
    assert whole.n_bytes == sum(job.size for job in whole.jobs)
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


def test_unknown_parts_are_named(bucket, tmp_path):
    def plan(**options):
        return SOURCE.plan(tmp_path / "ds003643", Choice(bucket=bucket.address, **options))

    with pytest.raises(ValueError, match=r"no files of kind 'bold'; there are metadata \(tables"):
        plan(kinds=["bold"])
    with pytest.raises(ValueError, match=r"no files of kind derivatives for sub-EN999"):
        plan(subjects=["EN057", "EN999"])
    with pytest.raises(ValueError, match="no files of task lppXX"):
        plan(tasks=["lppXX", "lppEN"])
    bucket.files = {}
    with pytest.raises(ValueError, match="lists no such files"):
        plan()
