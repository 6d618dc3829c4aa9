import itertools

from tests.helpers.checks import check_one, rows_of, write_mp4


def algonauts(root):
    folder = root / "algonauts2021"
    (folder / "AlgonautsVideos268_All_30fpsmax").mkdir(parents=True)
    for i in range(1, 1103):
        write_mp4(folder / "AlgonautsVideos268_All_30fpsmax" / f"{i:04d}_0-0-1.mp4")
    tracks = {
        "mini_track": ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA"),
        "full_track": ("WB",),
    }
    for track, rois in tracks.items():
        for subject, roi in itertools.product(range(1, 11), rois):
            path = folder / "participants_data_v2021" / track / f"sub{subject:02d}" / f"{roi}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x80\x03}q\x00.")
    return folder


def test_algonauts_whole_and_not(tmp_path):
    folder = algonauts(tmp_path)
    whole = check_one(tmp_path)
    assert whole.complete
    assert [(row.found, row.expected) for row in whole.rows] == [(1102, 1102), (90, 90), (10, 10)]
    data = folder / "participants_data_v2021"
    (data / "mini_track" / "sub03" / "FFA.pkl").unlink()
    (data / "full_track" / "sub10" / "WB.pkl").write_bytes(b"\x80\x03}q")
    clip = next(iter(sorted((folder / "AlgonautsVideos268_All_30fpsmax").iterdir())))
    clip.write_bytes(clip.read_bytes()[:-1])
    found = rows_of(folder)
    assert (found["clips"].found, found["clips"].n_missing) == (1101, 0)
    assert "cut short" in found["clips"].unreadable[0][1]
    assert found["mini track"].missing == ("participants_data_v2021/mini_track/sub03/FFA.pkl",)
    assert "cut short" in found["full track"].unreadable[0][1]
    assert not any(row.complete for row in found.values())
    # one track is enough, and subjects can be named
    clip.write_bytes(b"".join([(folder / "AlgonautsVideos268_All_30fpsmax" / "0002_0-0-1.mp4").read_bytes()]))
    for path in (data / "full_track").rglob("*.pkl"):
        path.unlink()
    only = check_one(folder, subjects=["sub01", "10", "2"])
    assert only.complete
    for path in (data / "mini_track").rglob("*.pkl"):
        path.unlink()
    assert not rows_of(folder)["responses"].complete
