from nfas_lightning.datamodules.bold_moments.bold_moments_reader import RESPONSES, ROIS, SUBJECTS
from tests.helpers.checks import POINTER, check_one, rows_of, write_mp4


def write_whole(root):
    folder = root / "ds005165"
    for subject in SUBJECTS:
        place = folder / RESPONSES / subject
        place.mkdir(parents=True)
        for roi in ROIS:
            (place / f"{roi}_TRavg-56789_allvoxel.pkl").write_bytes(b"\x80\x03}q\x00.")
    for i in range(1, 1103):
        path = folder / "stimuli" / ("train" if i <= 1000 else "test") / f"{i:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(path)
    return folder


def test_whole_and_not(tmp_path):
    folder = write_whole(tmp_path)
    whole = check_one(tmp_path)
    assert whole.complete
    assert [(row.found, row.expected) for row in whole.rows] == [(1102, 1102), (220, 220)]
    assert whole.benchmark.glance(folder) == "1,102 clips, 220 ROI files"
    lost, pointer = (
        folder / RESPONSES / "sub-03" / f"{roi}_TRavg-56789_allvoxel.pkl" for roi in ("FFA", "V1d")
    )
    lost.unlink()
    pointer.write_text(POINTER)
    row = rows_of(folder)["responses"]
    assert row.missing == (str(lost.relative_to(folder)),)
    assert "git-annex pointer" in row.unreadable[0][1]
    assert not row.complete
    assert check_one(folder, subjects=["1", "sub-02"]).complete
