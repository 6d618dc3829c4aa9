from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.datamodules.little_prince.little_prince_reader import VOLUMES, WORDS, read_sections
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.temporal import hrf_operator
from tests.helpers import little_prince_tree as tree
from tests.helpers.little_prince_tree import derivative, loaded, ready


def planted_feature(datamodule, language):
    """1 for the word that the responses answer, in every section."""
    feature = torch.zeros(len(datamodule.stimuli), 1)
    feature[tree.PLANTED_WORD :: len(tree.WORDS[language])] = 1.0
    return feature


def test_the_tree_is_small(root):
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 5e6


# clocks


@pytest.mark.parametrize("language", ["EN", "CN", "FR"])
def test_a_known_word_comes_out_at_the_right_volume(root, language):
    datamodule = loaded(root, language=language)
    responses = datamodule.responses
    predicted = responses.carry(planted_feature(datamodule, language))[:, 0]
    observed = responses.group_mean
    present = ~observed.isnan().any(dim=0)
    assert int(present.sum()) > 100
    for run in range(9):
        rows = responses.runs == run
        lags = {}
        for lag in (-1, 0, 1):
            moved = predicted[rows].roll(lag, 0)[1:-1]
            lags[lag] = correlate(moved[:, None], observed[rows][1:-1][:, present])
        assert lags[0].min() > 0.999, run
        # a clock that is one volume off is told apart
        assert max(lags[-1].max(), lags[1].max()) < 0.93, run


def test_a_known_word_comes_out_in_every_voxel(root):
    datamodule = loaded(root, regions="voxels", sections=[1, 2], mask=None, atlas="dosenbach")
    responses, rois = datamodule.responses, datamodule.responses.rois
    assert len(rois) > 3000
    rows = responses.runs == 0
    predicted = responses.carry(planted_feature(datamodule, "EN"))[rows][1:-1]
    observed = responses.group_mean[rows][1:-1]
    present = ~observed.isnan().any(dim=0)
    assert int(present.sum()) > 3000
    assert correlate(predicted, observed[:, present]).min() > 0.999
    inside = rois[rois["parcel"] != ""]
    centers = load_atlas("dosenbach").table.set_index("roi").loc[inside["parcel"], ["x", "y", "z"]]
    distance = np.linalg.norm(inside[["x", "y", "z"]].to_numpy() - centers.to_numpy(), axis=1)
    assert 0 < distance.max() <= 6.0 + 1e-6


def test_trimmed_volumes_keep_their_times(root):
    whole, trimmed = (loaded(root, trim=trim).responses for trim in ((0, 0), (4, 2)))
    rows = whole.runs == 1
    kept = trimmed.runs == 1
    torch.testing.assert_close(trimmed.volume_times[kept], whole.volume_times[rows][4:-2])
    torch.testing.assert_close(trimmed.design[0].to_dense()[kept], whole.design[0].to_dense()[rows][4:-2])
    assert trimmed.values[:, kept].nanmean(dim=1).abs().nan_to_num().max() < 1e-5


def test_slice_time_reference_moves_the_volumes(root):
    feature = planted_feature(loaded(root), "EN")
    early, middle = (loaded(root, slice_time_reference=ref).responses for ref in (0.0, 0.5))
    word = torch.tensor([tree.planted_onset("EN", 1)], dtype=torch.float64)
    times = early.volume_times[early.runs == 0]
    wanted = hrf_operator(word, times + 0.5 * tree.TR, tr=tree.TR).to_dense()[:, 0].float()
    torch.testing.assert_close(middle.carry(feature)[early.runs == 0, 0], wanted)


# stimuli


def test_the_same_story_as_text_and_as_sound(root):
    text = loaded(root, window=2)
    sound = loaded(root, modality="audio", seconds=4.0, hop=2.0, sampling_rate=800)
    torch.testing.assert_close(text.responses.values, sound.responses.values, equal_nan=True)
    batch = next(iter(text.predict_dataloader()))
    assert [s.text for s in batch["text"][6:9]] == ["six little it", "little it's", "it's hasnt"]
    heard = next(iter(sound.predict_dataloader()))
    assert heard["audio"].shape[1] == 3200
    assert set(heard["n_samples"].tolist()) == {3200}
    # windows stand at 1, 3, 5 ... s of each section, as long as its sound lasts
    assert len(sound.stimuli) == sum(n * 2 // 2 for n in tree.VOLUMES)
    assert sound.responses.stimulus_ids[0] == "lppEN_section1_00001.00s"


def test_windows_of_words_in_three_languages(root):
    texts = {}
    for language in ("EN", "CN", "FR"):
        stimuli = loaded(root, language=language, window=3).stimuli
        texts[language] = [stimuli[i][1] for i in range(10)]
    assert texts["EN"][8].text == "little it's hasnt"
    assert texts["CN"][4].text == "我六岁的时候"
    assert texts["FR"][2].text == "lorsque j'avais"
    # the "not" of "hasnt" has no text of its own
    last = texts["EN"][9]
    assert last.text[slice(*last.span)] == "hasnt"
    assert texts["FR"][0].text == "lorsque"


def test_onset_or_offset_and_fir(root):
    onset, offset = (loaded(root, anchor=anchor).responses for anchor in ("start", "end"))
    feature = planted_feature(loaded(root), "EN")
    rows = onset.runs == 0

    def center(responses):
        series = responses.carry(feature)[rows, 0].clamp(min=0).double()
        return float((series * responses.volume_times[rows]).sum() / series.sum())

    # a word of the tree lasts 0.4 s
    assert center(offset) - center(onset) == pytest.approx(0.4, abs=0.1)
    fir = loaded(root, temporal="fir", delays=(1, 2)).responses
    assert len(fir.design) == 2
    assert fir.gap == 2


# responses


def test_listeners_apart_and_averaged(root):
    mean, each = (loaded(root, listeners=how).responses for how in ("mean", "each"))
    assert mean.subjects == ("mean",)
    assert each.subjects == ("sub-EN057", "sub-EN059")
    torch.testing.assert_close(mean.group_mean, each.group_mean, equal_nan=True)
    torch.testing.assert_close(mean.noise_ceiling, each.noise_ceiling, equal_nan=True)
    present = each.rois["n_voxels"].to_numpy() > 0
    assert mean.noise_ceiling[torch.from_numpy(present)].min() > 0.99
    assert mean.noise_ceiling[torch.from_numpy(~present)].isnan().all()
    assert loaded(root, language="CN").responses.noise_ceiling is None


def test_nuisances_are_convolved_and_standardized(root):
    responses = loaded(root).responses
    assert responses.nuisance_names == ("word_rate", "sound_power")
    for run in range(9):
        part = responses.nuisances[responses.runs == run]
        torch.testing.assert_close(part.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(2))
    rate = responses.carry(torch.ones(len(responses.stimulus_ids), 1))[:, 0]
    for run in range(9):
        rows = responses.runs == run
        assert float(correlate(rate[rows][:, None], responses.nuisances[rows][:, :1])) > 0.999


def test_filtering_is_a_choice_and_reaches_the_nuisances(root):
    plain, filtered = (loaded(root, high_pass=cut).responses for cut in (None, 1 / 20))
    assert not torch.allclose(plain.values, filtered.values, equal_nan=True)
    assert not torch.allclose(plain.nuisances, filtered.nuisances)


def test_hashes_tell_what_was_read(root):
    hashes = loaded(root).responses.hashes
    assert "lppEN_section1/lppEN_word_information.csv" in hashes
    assert "lppEN_section9/task-lppEN_section-9.wav" in hashes
    assert any("run-15" in name for name in hashes)
    assert hashes["stimuli"] != loaded(root, window=1).responses.hashes["stimuli"]


def test_a_cache_gives_the_same_values(root, tmp_path):
    first = ready(root, cache=tmp_path / "cache").responses
    assert any((tmp_path / "cache").rglob("*.safetensors"))
    again = ready(root, cache=tmp_path / "cache").responses
    assert first.fingerprint() == again.fingerprint() == loaded(root).responses.fingerprint()


def test_describe_counts_words_and_missing_parcels(root):
    about = loaded(root, sections=[2, 3]).describe()
    assert about["stories"] == {"lppEN_section2": 2, "lppEN_section3": 2}
    assert (about["words"], about["words_without_time"], about["runs"]) == (20, 0, 2)
    assert 0 < about["missing_rois"] < 30


# what goes wrong


def test_a_scan_cut_short(copy):
    path = derivative(copy, "sub-EN057", 15)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        ready(copy)


def test_a_scan_of_another_length(copy):
    import nibabel as nib

    path = derivative(copy, "sub-EN057", 15)
    image = nib.load(path)
    nib.Nifti1Image(np.asanyarray(image.dataobj)[..., :-3], image.affine).to_filename(path)
    with pytest.warns(UserWarning, match=r"must keep 16 volumes as most do, but those of 1 of 2"):
        responses = ready(copy, sections=[1], listeners="each").responses
    assert responses.values[0, -3:].isnan().all()
    assert not responses.values[1, -3:].isnan().all()


# the real word table


def test_the_atlas_may_be_a_label_image(root, tmp_path):
    import nibabel as nib

    labels = np.zeros(tree.GRID, dtype=np.int16)
    labels[:9, :, 4:10], labels[9:, :, 4:10] = 1, 2
    nib.Nifti1Image(labels, tree.AFFINE).to_filename(tmp_path / "halves.nii.gz")
    pd.DataFrame({"id": [1, 2], "name": ["half", "half"], "hemisphere": ["L", "R"]}).to_csv(
        tmp_path / "halves.csv", index=False
    )
    responses = ready(
        root, atlas=tmp_path / "halves.nii.gz", atlas_table=tmp_path / "halves.csv", sections=[1]
    ).responses
    assert responses.rois["roi"].tolist() == ["half_L", "half_R"]
    assert responses.rois["n_voxels"].tolist() == [9 * 23 * 6] * 2
    assert len(load_atlas("dosenbach")) == 160


@pytest.fixture(scope="module")
def official(shared_data, tmp_path_factory):
    """The real English word table; one subject whose scans have the official lengths and answer "prince"."""
    import nibabel as nib

    root = tmp_path_factory.mktemp("official")
    place = root / "annotation" / "EN"
    place.mkdir(parents=True)
    shutil.copy(shared_data / "littleprince_annot" / "lppEN_word_information.csv", place)
    (root / "participants.tsv").write_text("participant_id\nsub-EN100\n", encoding="utf-8-sig")
    found = read_sections(place / "lppEN_word_information.csv")
    folder = root / "derivatives" / "sub-EN100" / "func"
    folder.mkdir(parents=True)
    for section, n_volumes in enumerate(VOLUMES["EN"], 1):
        words = found[section]
        onsets = torch.tensor([t for w, t in zip(words.words, words.onset, strict=True) if w == "prince"])
        times = 2.0 * torch.arange(n_volumes, dtype=torch.float64)
        series = 1000 + 400 * hrf_operator(onsets.double(), times, tr=2.0).to_dense().sum(dim=1).numpy()
        data = np.broadcast_to(series, (*tree.GRID, n_volumes)).astype(np.float32)
        name = f"sub-EN100_task-lppEN_run-{section + 14}_space-MNIColin27_desc-preproc_bold.nii.gz"
        nib.Nifti1Image(data, tree.AFFINE).to_filename(folder / name)
    return root


@pytest.mark.shared_data
def test_the_real_words_and_official_lengths_pass_strict(official):
    datamodule = ready(official, strict=True, nuisances=["word_rate"])
    responses = datamodule.responses
    assert len(responses.stimulus_ids) == 15376
    assert responses.values.shape[1] == sum(VOLUMES["EN"]) - 9 * 4
    prince = torch.tensor([[float(name.endswith("_prince"))] for name in responses.stimulus_ids])
    predicted = responses.carry(prince)
    observed = responses.group_mean[:, ~responses.group_mean.isnan().any(dim=0)]
    for run in range(9):
        rows = responses.runs == run
        assert correlate(predicted[rows], observed[rows]).min() > 0.999
        assert correlate(predicted[rows].roll(1, 0), observed[rows]).max() < 0.95


@pytest.mark.shared_data
@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:2 of 160 ROIs score NaN")  # the cerebellum reaches out of the grid
def test_real_words_pair_with_features_of_a_real_model(official):
    from nfas_lightning.alignment import align

    datamodule = ready(
        official, strict=True, nuisances=["word_rate"], sections=[1, 2], atlas="dosenbach", window=5
    )
    result = align("paraphrase_minilm_l3", datamodule, progress=False)
    r = result.scores.groupby("feature")["r"].mean()
    # the responses answer one word, which a network's states tell from the others; its time alone does not
    assert r["all_blocks"] > 0.5
    assert result.card["n_stimuli"] == sum(WORDS["EN"][:2])
