from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.datamodules.stories.story import Story, StoryScan
from nfas_lightning.datamodules.stories.story_responses import StoryScans, clean_scan, read_confounds
from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.functional.confounds import high_pass_basis

NAN = float("nan")


def test_z_scores_of_the_kept_volumes():
    series = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) * 5 + 100
    kept = clean_scan(series, tr=2.0, first=4, stop=25)
    wanted = (series[4:25] - series[4:25].mean(0)) / series[4:25].std(0, correction=0)
    torch.testing.assert_close(kept, wanted.double(), atol=1e-5, rtol=1e-5)


def test_missing_and_constant_parcels_are_nan():
    series = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    series[:, 1] = NAN
    series[:, 2] = 7.0
    kept = clean_scan(series, tr=2.0, high_pass=1 / 20)
    assert not kept[:, 0].isnan().any()
    assert kept[:, 1:].isnan().all()


def test_a_missing_volume_stays_missing_and_does_not_spoil_the_rest():
    series = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    series[7] = NAN
    kept = clean_scan(series, tr=2.0, high_pass=1 / 40, confounds=torch.randn(40, 2))
    assert kept[7].isnan().all()
    assert int(kept.isnan().sum()) == 2
    torch.testing.assert_close(kept.nanmean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)


def test_drifts_and_confounds_leave_together():
    generator = torch.Generator().manual_seed(1)
    confounds = torch.randn(60, 2, generator=generator).double()
    drift = high_pass_basis(60, 2.0, 1 / 60)[:, :2].double()
    nothing = confounds @ torch.tensor([[2.0], [1.0]]).double() + 10 * drift @ torch.ones(2, 1).double()
    signal = torch.sin(torch.arange(60.0)).double()[:, None]
    kept = clean_scan(
        torch.cat([nothing, nothing + signal], 1) + 50, tr=2.0, high_pass=1 / 60, confounds=confounds
    )
    assert kept[:, 0].isnan().all()
    assert torch.corrcoef(torch.stack([kept[:, 1], signal[:, 0]]))[0, 1] > 0.97


def test_what_happens_in_another_part_of_the_scan_changes_nothing():
    series = torch.randn(90, 3, generator=torch.Generator().manual_seed(2)).cumsum(0)
    other = series.clone()
    other[:30] += 50
    other[70:, 1] = NAN
    options = {"tr": 2.0, "first": 30, "stop": 70, "high_pass": 1 / 40}
    torch.testing.assert_close(clean_scan(other, **options), clean_scan(series, **options), rtol=0, atol=0)


@pytest.fixture
def scans(tmp_path):
    """Three listeners of a story, one of them twice, on a grid whose upper half is empty."""
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -72, -106, -64
    shared = np.random.default_rng(0).normal(size=30)
    heard = []
    for i, subject in enumerate(("sub-a", "sub-a", "sub-b", "sub-c")):
        noise = np.random.default_rng(i + 1).normal(size=(1, 1, 1, 30))
        data = np.broadcast_to(shared + noise, (18, 23, 19, 30)).astype(np.float32).copy() + 100
        data[:, :, 12:] = 0
        path = tmp_path / f"{subject}_{i}_bold.nii.gz"
        nib.Nifti1Image(data, affine).to_filename(path)
        heard.append(StoryScan(subject, Scan(path.name, (path,))))
    return tuple(heard)


def reader(**options):
    return StoryScans(load_atlas("dosenbach", radius=8), progress=False, **options)


def test_repeats_are_averaged_and_the_ceiling_is_that_of_the_mean(scans):
    told = Story("tale", 2.0, 0.0, scans, first=2, drop_last=3)
    heard = reader().read(told)
    assert heard.subjects == ("sub-a", "sub-b", "sub-c")
    assert heard.values.shape == (3, 25, 160)
    present = heard.counts > 0
    assert 50 < int(present.sum()) < 160
    assert heard.values[:, :, ~present].isnan().all()
    single = reader().read(Story("tale", 2.0, 0.0, scans[:1], first=2, drop_last=3)).values[0]
    again = reader().read(Story("tale", 2.0, 0.0, scans[1:2], first=2, drop_last=3)).values[0]
    torch.testing.assert_close(heard.values[0], (single + again) / 2, equal_nan=True)
    wanted = noise_ceiling(heard.values[:, :, present], method="split_half", n_splits=25).float()
    torch.testing.assert_close(heard.ceiling("split_half")[present], wanted)
    assert heard.ceiling("split_half")[~present].isnan().all()
    fold = torch.repeat_interleave(torch.arange(4), torch.tensor([7, 6, 6, 6]))
    wanted = noise_ceiling(heard.values[:, :, present], method="loo_subject", fold=fold).float()
    torch.testing.assert_close(heard.ceiling("loo_subject", n_folds=4)[present], wanted)
    assert reader().read(Story("tale", 2.0, 0.0, scans[:1])).ceiling("split_half").isnan().all()


def test_a_scan_is_cut_and_then_cleaned_on_its_own_clock(scans, tmp_path):
    generator = np.random.default_rng(4)
    motion = generator.normal(size=(30, 2))
    lines = ["x\ty\tz", *("\t".join(f"{v:.9f}" for v in (*row, 9.0)) for row in motion)]
    lines[1] = f"n/a\t{motion[0, 1]:.9f}\t9.0"  # a change since a volume that is not there counts as none
    motion[0, 0] = 0
    table = tmp_path / "sub-b_desc-confounds_regressors.tsv"
    table.write_text("\n".join(lines))
    heard = StoryScan(scans[2].subject, scans[2].scan, table)
    for tr, confounds in ((1.5, ("x", "y")), (3.0, ()), (1.5, ("y",))):
        told = Story("tale", tr, 0.0, (heard,), first=4, drop_last=5)
        read = reader(high_pass=1 / 40, confounds=confounds).read(told)
        raw = reader().read(Story("tale", tr, 0.0, (heard,))).values[0]  # z-scored: an affine change
        k = np.arange(1, int(2 * 21 * tr / 40) + 1)
        drifts = np.cos(np.pi * np.outer(np.arange(21) + 0.5, k) / 21)
        chosen = [("x", "y").index(name) for name in confounds]
        design = np.column_stack([np.ones(21), drifts, motion[4:25, chosen]])
        present = (read.counts > 0).numpy()
        y = raw.numpy()[4:25, present].astype(float)
        clean = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        wanted = (clean - clean.mean(0)) / clean.std(0)
        np.testing.assert_allclose(read.values[0][:, present], wanted, atol=2e-3)


def test_lengths(scans):
    with pytest.raises(ValueError, match=r"must have 31 volumes \(tale\), got 30"):
        reader().read(Story("tale", 2.0, 0.0, scans, n_scanned=31))
    with pytest.raises(ValueError, match=r"must reach volume 40 \(tale\), got 30"):
        reader().read(Story("tale", 2.0, 0.0, scans, stop=40))
    assert reader(strict=False).read(Story("tale", 2.0, 0.0, scans, stop=40)).values.shape[1] == 30
    with pytest.raises(ValueError, match="must keep two volumes of tale at least, got 1"):
        reader(strict=False).read(Story("tale", 2.0, 0.0, scans, first=29))
    with pytest.raises(ValueError, match="at least one listener"):
        reader().read(Story("tale", 2.0, 0.0, ()))


def test_scans_of_two_lengths(scans):
    image = nib.load(scans[3].scan.files[0])
    nib.Nifti1Image(np.asanyarray(image.dataobj)[..., :26], image.affine).to_filename(scans[3].scan.files[0])
    told = Story("tale", 2.0, 0.0, scans)
    with pytest.raises(
        ValueError, match="all scans must keep 30 volumes as most do, but those of 1 of 3 subjects"
    ):
        reader().read(told)
    with pytest.warns(UserWarning, match="sub-c among them: cut, or missing"):
        heard = reader(strict=False).read(told)
    assert heard.values[2, 26:].isnan().all()


def test_a_scan_that_is_too_long_is_cut(scans):
    for heard in scans[:3]:
        image = nib.load(heard.scan.files[0])
        data = np.asanyarray(image.dataobj)[..., :26]
        nib.Nifti1Image(data, image.affine).to_filename(heard.scan.files[0])
    with pytest.warns(UserWarning, match="must keep 26 volumes as most do, but those of 1 of 3"):
        read = reader(strict=False).read(Story("tale", 2.0, 0.0, scans))
    assert read.values.shape[1] == 26
    assert not read.values[:, :, read.counts > 0].isnan().any()


def test_processes_start_once_for_all_stories(scans, tmp_path, monkeypatch):
    from nfas_lightning.datamodules.stories import story_responses

    calls = []

    def counted(wanted, *args, workers, **kwargs):
        calls.append((len(wanted), workers))
        return extract(wanted, *args, workers=0, **kwargs)

    extract = story_responses.extract_scans
    monkeypatch.setattr(story_responses, "extract_scans", counted)
    stories = [Story("a", 2.0, 0.0, scans[:2]), Story("b", 2.0, 0.0, scans[1:])]
    reader(workers=2).prefetch(stories)
    reader(cache=tmp_path / "cache").prefetch(stories)
    assert calls == []
    reader(workers=2, cache=tmp_path / "cache").prefetch(stories)
    assert calls == [(4, 2)]
    assert len([*(tmp_path / "cache").rglob("*.safetensors")]) == 4


def test_two_parts_of_one_scan_are_read_once(scans, monkeypatch):
    from nfas_lightning.datamodules.stories import story_responses

    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return extract(*args, **kwargs)

    extract = story_responses.extract_scans
    monkeypatch.setattr(story_responses, "extract_scans", counted)
    both = reader()
    first, second = (
        both.read(Story(n, 2.0, 0.0, scans, first=f, stop=f + 10)) for n, f in (("a", 0), ("b", 12))
    )
    assert len(calls) == 1
    assert not torch.equal(first.values, second.values)


def test_one_reader_reads_other_scans_anew(scans):
    both = reader()
    for heard in (scans[:1], scans[2:3], scans[:1]):
        told = Story("tale", 2.0, 0.0, heard)
        torch.testing.assert_close(both.read(told).values, reader().read(told).values, equal_nan=True)


def test_confounds_that_miss_more_than_the_first_change(tmp_path):
    path = tmp_path / "sub-a_desc-confounds_regressors.tsv"
    path.write_text("x\ty\nn/a\t1\n2\t3\n4\t5\n")
    assert read_confounds(path, ["y", "x"], 3).tolist() == [[1, 0], [3, 2], [5, 4]]
    path.write_text("x\ty\nn/a\t1\nn/a\t3\n4\t5\n")
    with pytest.raises(ValueError, match=r"x must be a number in every volume but the first.*in volume 1"):
        read_confounds(path, ["x"], 3)
    with pytest.raises(ValueError, match="must have one row per volume, 4, got 3"):
        read_confounds(path, ["y"], 4)
