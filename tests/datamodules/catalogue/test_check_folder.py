import gzip
import itertools
import os
import pickle
import struct
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from nfas_lightning.datamodules.alice.alice_archives import ARCHIVES, convert_archives
from nfas_lightning.datamodules.alice.alice_release import convert_alice
from nfas_lightning.datamodules.catalogue import CATALOGUE, check_folder, find_benchmarks
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.little_prince.little_prince_reader import VOLUMES, WORDS
from tests.helpers.alice_release import write_release
from tests.helpers.narratives_tree import write_narratives

POINTER = "/annex/objects/MD5E-s76000000--0123456789abcdef.nii.gz\n"


# ----- single files


def problem(path, *, deep=False):
    state = Inspector(deep=deep, progress=False).look("files", [path])[path]
    return state.problem


def scan(path, shape=(3, 4, 5, 6), seed=0):
    data = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16)
    nib.Nifti1Image(data, np.eye(4)).to_filename(path)
    return path


def mp4(path, *, index=b"moov"):
    boxes = [(b"ftyp", b"isom" * 2), (b"mdat", bytes(40)), (index, bytes(8))]
    path.write_bytes(b"".join(struct.pack(">I", 8 + len(body)) + kind + body for kind, body in boxes))
    return path


def write_samples(folder):
    """One sound file of each kind."""
    scan(folder / "a.nii.gz")
    scan(folder / "b.nii")
    arrays = [nib.gifti.GiftiDataArray(np.ones(642, np.float32)) for _ in range(3)]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), folder / "c_hemi-L.func.gii")
    wavfile.write(folder / "d.wav", 400, np.arange(-4000, 4000, dtype=np.int16))
    mp4(folder / "e.mp4")
    (folder / "f.pkl").write_bytes(b"\x80\x03}q\x00.")
    np.savez(folder / "g.npz", values=np.arange(500))
    (folder / "h.json").write_text('{"a": [1, 2, 3]}')
    (folder / "i.tsv").write_text("participant_id\tage\n" + "sub-1\t30\n" * 30)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("deep", [False, True])
def test_sound_files_have_no_problem(tmp_path, deep):
    files = write_samples(tmp_path)
    assert {path.name: problem(path, deep=deep) for path in files} == dict.fromkeys(
        path.name for path in files
    )


@pytest.mark.parametrize("deep", [False, True])
def test_every_binary_file_that_is_cut_short_is_found(tmp_path, deep):
    for path in write_samples(tmp_path):
        if path.suffix == ".tsv":
            continue  # nothing in a table says where it ends
        whole = path.read_bytes()
        for keep in (len(whole) - 1, len(whole) * 2 // 3):
            path.write_bytes(whole[:keep])
            assert problem(path, deep=deep), f"{path.name} cut to {keep} of {len(whole)} bytes"


def test_pointers_links_empty_files_and_folders(tmp_path):
    path = tmp_path / "x.nii.gz"
    assert problem(path) == "nothing"
    path.write_text(POINTER)
    assert problem(path) == f"a git-annex pointer of {len(POINTER)} bytes"
    path.write_bytes(b"")
    assert problem(path) == "an empty file"
    path.unlink()
    path.symlink_to("../.git/annex/objects/aa/x")
    assert problem(path) == "a link to its git-annex content, which is not on this disk"
    path.unlink()
    path.mkdir()
    assert problem(path) == "a folder"


def test_files_of_another_kind(tmp_path):
    for name, said in {
        "x.nii.gz": "header",
        "x.nii": "header",
        "x.func.gii": "no GIfTI file",
        "x.wav": "no wav file",
        "x.mp4": "no mp4 file",
        "x.pkl": "no pickle",
        "x.npz": "cut short or damaged",
        "x.json": "no JSON",
        "x.annot": "no FreeSurfer annotation",
    }.items():
        path = tmp_path / name
        path.write_bytes(b"<html>not what you asked for</html>" * 10)
        assert said in problem(path), name
    path = tmp_path / "x.tsv"
    path.write_bytes(b"a\tb\0\0\0")
    assert "zero bytes" in problem(path)
    assert problem(mp4(tmp_path / "y.mp4", index=b"free")) == "no index (moov) in it"


def test_a_flipped_bit_needs_the_deep_check(tmp_path):
    path = scan(tmp_path / "x.nii.gz", shape=(20, 20, 20, 5))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)
    assert problem(path) is None
    assert "damaged" in problem(path, deep=True)
    path = tmp_path / "y.npz"
    np.savez(path, values=np.arange(5000))
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    whole = bytearray(path.read_bytes())
    whole[start + 2000] ^= 4
    path.write_bytes(whole)
    assert problem(path) is None
    assert "checksum of values.npy differs" in problem(path, deep=True)


def test_a_pickle_that_would_run_something(tmp_path):
    path = tmp_path / "x.pkl"
    touched = tmp_path / "touched"
    path.write_bytes(pickle.dumps(_Hostile(touched)))
    assert "asks for" in problem(path, deep=True)
    assert not touched.exists()


class _Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_gzip_in_several_parts_is_whole(tmp_path):
    """As parallel compressors write: the length at the end is the last part's alone."""
    plain = scan(tmp_path / "x.nii")
    raw = plain.read_bytes()
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    assert problem(path) is None
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:-10]))
    assert "cut short" in problem(path)


# ----- trees


def rows(checks):
    (check,) = checks
    return {row.what: row for row in check.rows}


def check(root, **options):
    return check_folder(root, progress=False, **options)


def algonauts(root):
    folder = root / "algonauts2021"
    (folder / "AlgonautsVideos268_All_30fpsmax").mkdir(parents=True)
    for i in range(1, 1103):
        mp4(folder / "AlgonautsVideos268_All_30fpsmax" / f"{i:04d}_0-0-1.mp4")
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
    (whole,) = check(tmp_path)
    assert whole.complete
    assert [(row.found, row.expected) for row in whole.rows] == [(1102, 1102), (90, 90), (10, 10)]
    data = folder / "participants_data_v2021"
    (data / "mini_track" / "sub03" / "FFA.pkl").unlink()
    (data / "full_track" / "sub10" / "WB.pkl").write_bytes(b"\x80\x03}q")
    clip = next(iter(sorted((folder / "AlgonautsVideos268_All_30fpsmax").iterdir())))
    clip.write_bytes(clip.read_bytes()[:-1])
    found = rows(check(folder))
    assert (found["clips"].found, found["clips"].n_missing) == (1101, 0)
    assert "cut short" in found["clips"].unreadable[0][1]
    assert found["mini track"].missing == ("sub03/FFA.pkl",)
    assert "cut short" in found["full track"].unreadable[0][1]
    assert not any(row.complete for row in found.values())
    # one track is enough, and subjects can be named
    clip.write_bytes(b"".join([(folder / "AlgonautsVideos268_All_30fpsmax" / "0002_0-0-1.mp4").read_bytes()]))
    for path in (data / "full_track").rglob("*.pkl"):
        path.unlink()
    (only,) = check(folder, subjects=["sub01", "10", "2"])
    assert only.complete
    for path in (data / "mini_track").rglob("*.pkl"):
        path.unlink()
    assert not rows(check(folder))["responses"].complete


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """All of the English part, in its official numbers, on a grid of one voxel."""
    folder = tmp_path_factory.mktemp("data") / "ds003643"
    (folder / "stimuli").mkdir(parents=True)
    (folder / "annotation" / "EN").mkdir(parents=True)
    sections = np.repeat(np.arange(1, 10), WORDS["EN"])
    table = pd.DataFrame({"word": "x", "onset": 0.0, "offset": 0.1, "section": sections})
    table.to_csv(folder / "annotation" / "EN" / "lppEN_word_information.csv")
    for section in range(1, 10):
        wavfile.write(folder / "stimuli" / f"task-lppEN_section-{section}.wav", 400, np.zeros(80, np.int16))
    names = [f"sub-EN{i:03d}" for i in range(57, 106)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id", *names]), encoding="utf-8-sig")
    images = [nib.Nifti1Image(np.ones((1, 1, 1, n), np.int8), np.eye(4)) for n in VOLUMES["EN"]]
    contents = [gzip.compress(image.to_bytes()) for image in images]
    for name in names:
        func = folder / "derivatives" / name / "func"
        func.mkdir(parents=True)
        for section, content in enumerate(contents):
            # run numbers start anywhere and have a gap
            run = section + 7 + (section > 4)
            path = func / f"{name}_task-lppEN_run-{run:02d}_space-MNIColin27_desc-preproc_bold.nii.gz"
            path.write_bytes(content)
    return folder


def test_the_little_prince_in_its_official_numbers(english):
    (whole,) = check(english.parent, subjects=["EN"])
    assert whole.complete, [row for row in whole.rows if not row.complete]
    found = {row.what: row.found for row in whole.rows}
    assert found["EN words"] == 15_376
    assert found["EN listeners"] == found["participants"] == 49
    assert found["EN scans"] == found["EN lengths"] == 441
    (all_languages,) = check(english)
    assert not all_languages.complete
    other = {row.what: row for row in all_languages.rows}
    assert other["FR scans"].n_missing == 28 * 9
    (one,) = check(english, subjects=["EN057", "sub-EN060"])
    assert one.complete
    assert rows([one])["EN scans"].expected == 18


def test_the_little_prince_with_faults(english):
    func = english / "derivatives" / "sub-EN070" / "func"
    files = sorted(func.iterdir())
    kept = {path: path.read_bytes() for path in files}
    try:
        files[0].write_bytes(kept[files[1]])  # a scan of another section
        files[2].write_text(POINTER)
        found = rows(check(english, subjects=["EN"]))
        assert "282" in found["EN lengths"].missing[0]
        assert "298 volumes, section 1" in found["EN lengths"].missing[0]
        assert found["EN scans"].unreadable[0][1].startswith("a git-annex pointer")
        assert not found["EN lengths"].complete
        assert not found["EN scans"].complete
        files[3].unlink()
        found = rows(check(english, subjects=["EN"]))
        assert found["EN scans"].missing == ("sub-EN070: 8 runs, not 9",)
        assert found["EN listeners"].found == 48
        # what is wrong with one listener is no matter where others are asked for
        assert check(english, subjects=["EN057"])[0].complete
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_word_tables_that_are_not_the_official_ones(english):
    path = english / "annotation" / "EN" / "lppEN_word_information.csv"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[: len(kept) // 2])
        row = rows(check(english, subjects=["EN"]))["EN words"]
        assert row.found < 15_376
        assert any("section 9: 0 words, not 1975" in name for name in row.missing)
        path.write_text("word,begin\nx,1\n")
        row = rows(check(english, subjects=["EN"]))["EN word table"]
        assert "columns" in row.unreadable[0][1]
    finally:
        path.write_bytes(kept)


@pytest.fixture(scope="module")
def narratives(tmp_path_factory):
    return write_narratives(tmp_path_factory.mktemp("data"))


def test_narratives(narratives, tmp_path):
    found = rows(check(narratives.parent))
    assert found["participants"].expected == 345
    assert found["preprocessed scans"].expected == 891
    assert not found["preprocessed scans"].complete
    assert found["afni-nosmooth fsaverage6"].found % 2 == 0
    of_one = rows(check(narratives, subjects=["001"]))
    assert of_one["participants"].complete
    assert of_one["preprocessed scans"].found == 3
    assert of_one["afni-nosmooth fsaverage6"].found == 6
    left = next(iter(sorted(narratives.glob("derivatives/afni-nosmooth/sub-001/func/*hemi-L*"))))
    content = left.read_bytes()
    try:
        left.write_bytes(content[:-100])
        assert (
            "GIfTI" in rows(check(narratives, subjects=["001"]))["afni-nosmooth fsaverage6"].unreadable[0][1]
        )
        left.unlink()
        assert rows(check(narratives, subjects=["001"]))["afni-nosmooth fsaverage6"].missing == (left.name,)
    finally:
        left.write_bytes(content)


@pytest.mark.shared_data
def test_the_real_data(shared_data):
    checks = check_folder(shared_data, progress=False, deep=True)
    by_name = {one.entry.name: one for one in checks}
    assert {"alice", "natural_sounds", "atlases"} <= set(by_name)
    assert all(one.complete for one in checks)
    assert rows([by_name["alice"]])["words"].found == 2127
    assert by_name["atlases"].entry.glance(by_name["atlases"].folder) == "10 annotations, 1 label images"


def test_small_data_that_are_not_as_they_should_be(tmp_path):
    alice = tmp_path / "alice_fmri"
    alice.mkdir()
    (alice / "words.csv").write_text("word,onset_s,offset_s,onset_scan_s\nAlice,20,20.5,0\n")
    found = rows(check(tmp_path))
    assert found["series"].missing == ("roi_timeseries.npz",)
    assert (found["words"].found, found["words"].n_missing) == (1, 2126)
    np.savez(alice / "roi_timeseries.npz", bold_6mm=np.zeros((2, 362, 6)))
    assert "must have shape (27, 362, 6)" in rows(check(alice))["series"].unreadable[0][1]
    for path in alice.iterdir():
        path.unlink()
    (alice / "lh.aparc.annot").write_bytes(b"x")
    assert rows(check(alice))["annotations"].missing == ("rh.aparc.annot",)


def test_nothing_recognizable(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(b"x")
    assert check(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="must be a folder, got nothing"):
        find_benchmarks(tmp_path / "absent")
    with pytest.raises(NotADirectoryError, match="got a file"):
        find_benchmarks(tmp_path / "holiday" / "beach.jpg")


def test_every_entry_says_what_the_list_shows():
    for entry in CATALOGUE.values():
        for field in ("what", "modality", "license", "size", "access", "reference", "folder"):
            assert getattr(entry, field), (entry.name, field)
        assert (
            entry.terms.format(root="ROOT", folder="FOLDER")
            or entry.access == "nfas data get"
            or ("nilearn" in entry.access)
        )


# ----- Alice's release


@pytest.mark.shared_data
def test_alice_release_becomes_what_the_benchmark_reads(shared_data, tmp_path):
    """The TextGrid is the release's own; the series are written as the release's text files are."""
    with np.load(shared_data / "alice_fmri" / "roi_timeseries.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    grid = next((shared_data / "alice_fmri").glob("*.TextGrid")).read_bytes()
    source = write_release(tmp_path / "release", arrays, grid)
    broken = source / "alice_data_shared" / "10mm" / "s30-timecourses.txt"
    broken.write_text("\n".join(broken.read_text().splitlines()[:300]))
    kept, notes = convert_alice(source, tmp_path / "alice_fmri")
    assert list(notes) == ["s30"]
    assert "(300, 6)" in notes["s30"]
    order = [list(arrays["subjects"]).index(name) for name in kept]
    with np.load(tmp_path / "alice_fmri" / "roi_timeseries.npz", allow_pickle=False) as archive:
        for key in ("bold_6mm", "bold_10mm", "motion"):
            np.testing.assert_allclose(archive[key], arrays[key][order], rtol=1e-6)
        np.testing.assert_allclose(archive["word_rate_hrf"], arrays["word_rate_hrf"], rtol=1e-6)
        assert list(archive["rois"]) == list(arrays["rois"])
    mine = pd.read_csv(tmp_path / "alice_fmri" / "words.csv", keep_default_na=False)
    theirs = pd.read_csv(shared_data / "alice_fmri" / "words.csv", keep_default_na=False)
    assert list(mine["word"]) == list(theirs["word"].str.strip())
    for column in ("onset_s", "offset_s", "onset_scan_s"):
        np.testing.assert_allclose(mine[column], theirs[column], atol=1.1e-4)


def test_a_folder_that_is_not_alice_release(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the unpacked release of Alice"):
        convert_alice(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_with_a_password_is_named(tmp_path):
    (tmp_path / "release").mkdir()
    archive = tmp_path / "release" / next(iter(ARCHIVES))
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "words")
    raw = bytearray(archive.read_bytes())
    for start, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # as encrypted, in both headers
        raw[raw.index(start) + flag] |= 1
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match="must be a whole zip archive without a password"):
        convert_archives(tmp_path)


def test_small_archives_lack_what_their_loaders_read(tmp_path):
    alice, sounds = tmp_path / "alice_fmri", tmp_path / "natsound165"
    alice.mkdir()
    sounds.mkdir()
    words = "word,onset_s,offset_s,onset_scan_s\n" + "".join(f"w,{i},{i + 0.5},{i}\n" for i in range(2127))
    (alice / "words.csv").write_text(words)
    series = {
        **{key: np.zeros((27, 362, 6)) for key in ("bold_6mm", "bold_10mm", "motion")},
        **{key: np.zeros(362) for key in ("word_rate_hrf", "sound_power_hrf")},
        "subjects": np.array([f"s{i}" for i in range(27)]),
        "rois": np.array([f"r{i}" for i in range(6)]),
        "tr": np.array(2.0),
    }
    np.savez(alice / "roi_timeseries.npz", **series)
    assert check(alice)[0].complete
    for key in series:
        np.savez(alice / "roi_timeseries.npz", **{name: series[name] for name in series if name != key})
        assert f"must hold '{key}'" in rows(check(alice))["series"].unreadable[0][1]
    (alice / "words.csv").write_text(words.replace("w,7,7.5,7\n", "w,7,7.5,5\n"))
    assert "must increase from word to word" in rows(check(alice))["words"].unreadable[0][1]

    names = np.array([f"sound {i}" for i in range(165)])
    parts = {
        "components.npz": {"R": np.zeros((165, 6)), "component_names": names[:6], "stim_names": names},
        "sounds_16k.npz": {
            "audio": np.zeros((165, 32_000), np.int16),
            "sr": np.array(16_000),
            "names": names,
        },
    }
    for name, arrays in parts.items():
        np.savez(sounds / name, **arrays)
    assert check(sounds)[0].complete
    np.savez(sounds / "sounds_16k.npz", **{**parts["sounds_16k.npz"], "names": names[::-1]})
    assert "the same sounds in the same order" in rows(check(sounds))["names"].unreadable[0][1]
    for name, arrays in parts.items():
        for key in arrays:
            np.savez(sounds / name, **{other: arrays[other] for other in arrays if other != key})
            assert f"must hold '{key}'" in str(rows(check(sounds)))
        np.savez(sounds / name, **arrays)
