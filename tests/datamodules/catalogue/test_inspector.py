import gzip
import os
import pickle
import zipfile

import nibabel as nib
import numpy as np
import pytest
from scipy.io import wavfile

from nfas_lightning.datamodules.catalogue.inspector import Inspector
from tests.helpers.checks import POINTER, write_mp4


def problem(path, *, deep=False):
    state = Inspector(deep=deep, progress=False).look("files", [path])[path]
    return state.problem


def scan(path, shape=(3, 4, 5, 6), seed=0):
    data = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16)
    nib.Nifti1Image(data, np.eye(4)).to_filename(path)
    return path


def write_samples(folder):
    """One sound file of each kind."""
    scan(folder / "a.nii.gz")
    scan(folder / "b.nii")
    arrays = [nib.gifti.GiftiDataArray(np.ones(642, np.float32)) for _ in range(3)]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), folder / "c_hemi-L.func.gii")
    wavfile.write(folder / "d.wav", 400, np.arange(-4000, 4000, dtype=np.int16))
    write_mp4(folder / "e.mp4")
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
    assert problem(write_mp4(tmp_path / "y.mp4", index=b"free")) == "no index (moov) in it"


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
