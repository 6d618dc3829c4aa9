from nfas_lightning.datamodules.bold_moments.bold_moments_reader import RESPONSES
from nfas_lightning.datamodules.bold_moments.bold_moments_source import SOURCE
from nfas_lightning.datamodules.catalogue.source import Choice
from tests.helpers.flaky_server import FlakyBucket, serve


def test_functional_rois_come_and_whole_brains_do_not(tmp_path):
    files = ["participants.tsv", f"{RESPONSES}/notes.txt", "stimuli_set/x.mp4"]
    of_roi, whole, other = (
        f"{RESPONSES}/{subject}/{name}_TRavg-56789_allvoxel.pkl"
        for subject, name in (("sub-01", "FFA"), ("sub-01", "WB"), ("sub-02", "FFA"))
    )
    with serve(FlakyBucket({f"ds005165/{name}": b"x" for name in [*files, of_roi, whole, other]})) as bucket:

        def keys(**options):
            plan = SOURCE.plan(tmp_path, Choice(bucket=bucket.address, **options))
            return {job.name.removeprefix("ds005165/") for job in plan.jobs}

        assert keys() == {"participants.tsv", of_roi, other}
        assert keys(kinds=["responses"], subjects=["01"]) == {of_roi}
