"""Studies of NeuralSet, on Python 3.12 and later; before, one line that says so."""

import importlib.util
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import uniform_filter1d
from sklearn.utils import Bunch

from nfas_lightning.datamodules import NeuralSetDataModule
from nfas_lightning.datamodules.recordings import neuralset_datamodule
from nfas_lightning.datamodules.recordings.neuralset_datamodule import studies
from nfas_lightning.functional.correlation import correlate

new = pytest.mark.skipif(
    sys.version_info < (3, 12) or importlib.util.find_spec("neuralset") is None,
    reason="NeuralSet needs Python 3.12 or later, and the extra neuralset",
)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python is new enough for NeuralSet")
def test_an_older_python_is_told_in_one_line(tmp_path):
    with pytest.raises(ImportError, match=r"needs Python 3.12 or later.*nfas-lightning\[neuralset\]"):
        NeuralSetDataModule("Any", tmp_path).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimuli": "Smell"}, "stimuli"),
        ({"responses": "Fnirs"}, "responses"),
        ({"responses": "Fmri", "temporal": "epochs"}, r"one of hrf, fir for responses='Fmri', got 'epochs'"),
        ({"responses": "Eeg", "temporal": "hrf"}, r"one of epochs, fir for responses='Eeg', got 'hrf'"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        NeuralSetDataModule("Any", tmp_path, **options)


@pytest.mark.parametrize(
    ("scans", "options", "message"),
    [
        (
            [("MNI", 0.5), ("T1w", 0.5)],
            {},
            r"one of \['MNI', 'T1w'\], in which Any is, got None",
        ),
        (
            [("MNI", 0.5)],
            {"space": "fsaverage"},
            r"one of \['MNI'\], in which Any is, got 'fsaverage'",
        ),
        ([("MNI", 0.5), ("MNI", 1.0)], {}, r"one repetition time, got \[1\.0, 2\.0\] s in Any"),
        (
            [("MNI", 0.5)],
            {"stimuli": "Video"},
            r"Video and Fmri in one timeline, got {'Fmri': 1, 'Im",
        ),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path, monkeypatch, scans, options, message):
    about = {"timeline": "a", "subject": "Any/1", "start": 0.0, "duration": 60.0}
    rows = [{**about, "type": "Fmri", "space": space, "frequency": rate} for space, rate in scans]
    table = pd.DataFrame([*rows, {**about, "type": "Image", "filepath": "a.png"}])
    monkeypatch.setattr(neuralset_datamodule, "_events", lambda *args: table)
    with pytest.raises(ValueError, match=message):
        NeuralSetDataModule("Any", tmp_path, responses="Fmri", **options).setup()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two subjects, one of them in two runs that start late, who see six pictures; a channel counts them."""
    import mne
    from neuralset.events import study as base

    folder = tmp_path_factory.mktemp("studies")
    pictures = [folder / f"picture_{i}.png" for i in range(6)]
    for i, picture in enumerate(pictures):
        Image.fromarray(np.full((8, 8, 3), 40 * i, dtype=np.uint8)).save(picture)

    class Planted2026Eeg(base.Study):
        def iter_timelines(self):
            yield from ({"subject": "a", "run": run} for run in range(2))
            yield {"subject": "b", "run": 0}

        def _load_raw(self, timeline):
            data = np.zeros((3, 1000))
            for i in range(6):
                data[0, 100 + 100 * i : 130 + 100 * i] = 1e-6 * (i + 1)
            data[1] = np.random.default_rng(timeline["run"]).standard_normal(1000)
            file = self.path / f"{timeline['subject']}-{timeline['run']}-raw.fif"
            info = mne.create_info(["Oz", "Cz", "Pz"], 100.0, "eeg")
            mne.io.RawArray(data, info, first_samp=500, verbose="error").save(
                file, overwrite=True, verbose="error"
            )
            return mne.io.read_raw(file, verbose="error")

        def _load_timeline_events(self, timeline):
            rows = [
                {"type": "Image", "start": 3.0 + i, "duration": 0.3, "filepath": str(pictures[i])}
                for i in range(6)
            ]
            raw = base.SpecialLoader(method=self._load_raw, timeline=timeline).to_json()
            return pd.DataFrame([*rows, {"type": "Eeg", "start": 2.0, "filepath": raw}])

    return "Planted2026Eeg", folder


@new
def test_events_and_recordings_become_epochs(study):
    name, folder = study
    brain = NeuralSetDataModule(name, folder, responses="Eeg", tmin=-0.2, tmax=0.5, image_size=8)
    brain.setup()
    responses = brain.responses
    assert responses.subjects == ("a", "b")
    assert len(responses.stimulus_ids) == 6
    assert brain.describe()["dataset"] == name
    values = responses.values.view(2, 6, 3, 71)
    expected = np.zeros(71)
    expected[20:50] = 1  # from onset, 0.3 s
    for i in range(6):
        np.testing.assert_allclose(values[:, i, 0], np.tile(1e-6 * (i + 1) * expected, (2, 1)), atol=1e-12)
    # a came twice, b once
    oz = responses.rois.query("channel == 'Oz' and lag == 0.1").index[0]
    assert float(responses.subject_ceilings[0, oz]) == pytest.approx(1, abs=1e-4)
    assert bool(responses.subject_ceilings[1].isnan().all())


@new
def test_a_query_and_what_a_study_lacks(study):
    name, folder = study
    brain = NeuralSetDataModule(name, folder, responses="Eeg", query="timeline_index > 1", image_size=8)
    brain.setup()
    assert brain.responses.subjects == ("b",)
    with pytest.raises(ValueError, match=r"subjects must be some of \['a', 'b'\], got 'c'"):
        NeuralSetDataModule(name, folder, responses="Eeg", subjects=["c"]).setup()
    with pytest.raises(ValueError, match=r"types Word and Eeg in one timeline, got {'Eeg': 3, 'Image': 18}"):
        NeuralSetDataModule(name, folder, responses="Eeg", stimuli="Word").setup()


@new
def test_a_study_of_its_own_that_needs_no_download(tmp_path):
    brain = NeuralSetDataModule("Test2023Meg", tmp_path, stimuli="Word", tmax=0.2, picks="mag")
    with pytest.warns(UserWarning, match="left out, which the first subject lacks"):
        brain.setup()
    assert brain.responses.stimulus_ids == ("hello", "world", "good", "bye")
    assert brain.responses.subjects == ("0", "1", "2")
    ramp = brain.responses.rois.query("lag == 0.1").index[0]
    # every channel of that study counts seconds
    np.testing.assert_allclose(brain.responses.values[0, :, ramp], [1.1, 2.1, 11.1, 12.1], atol=1e-3)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two listeners of two stories, one of whom heard the first story twice: a region counts letters."""
    from neuralset.events import study as base
    from nilearn.glm.first_level import compute_regressor

    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    words = [["w" * n for n in rng.integers(1, 9, 24)] for _ in range(2)]
    starts = 4 + np.sort(rng.uniform(0, 50, 24))

    class Planted2026Fmri(base.Study):
        def iter_timelines(self):
            for subject, session, run in ("a00", "a10", "a01", "b00", "b01"):
                yield {"subject": subject, "session": session, "run": run}

        def _load_raw(self, timeline):
            # the scan begins at 2 s of the timeline
            told = (starts - 2, np.zeros(24), [len(word) for word in words[int(timeline["run"])]])
            letters = compute_regressor(told, "spm", 2.0 * np.arange(40))[0][:, 0]
            noise = np.random.default_rng(list("ab").index(timeline["subject"])).normal(size=40)
            session = np.random.default_rng(int(timeline["session"])).normal(size=40)
            data = np.full((2, 2, 2, 40), 100.0)
            data[0] += letters
            data[1] += noise + session
            return nib.Nifti1Image(data, np.eye(4))

        def _load_timeline_events(self, timeline):
            rows = [
                {"type": "Word", "start": start, "duration": 0.2, "text": word, "language": "en"}
                for start, word in zip(starts, words[int(timeline["run"])], strict=True)
            ]
            raw = base.SpecialLoader(method=self._load_raw, timeline=timeline).to_json()
            return pd.DataFrame([*rows, {"type": "Fmri", "start": 2.0, "frequency": 0.5, "filepath": raw}])

    labels = np.ones((2, 2, 2), dtype=np.int16)
    labels[1] = 2
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / "two.nii.gz")
    return "Planted2026Fmri", folder


@new
def test_stories_in_the_scanner_are_runs_on_a_clock(scans):
    name, folder = scans
    brain = NeuralSetDataModule(
        name, folder, stimuli="Word", responses="Fmri", atlas=folder / "two.nii.gz", window=2
    )
    brain.setup()
    responses = brain.responses
    assert responses.subjects == ("a", "b")
    assert responses.tr == 2
    assert responses.runs.tolist() == [0] * 40 + [1] * 40
    assert not bool(responses.values.isnan().any())
    assert responses.rois["n_voxels"].tolist() == [4, 4]
    assert len(brain.stimuli) == 48
    letters = torch.tensor(
        [[float(text.span[1] - text.span[0])] for text in (brain.stimuli[i][1] for i in range(48))]
    )
    # the same convolution by nilearn, and the same drifts taken out
    expected = responses.carry(letters).double()
    for subject in responses.values.double():
        for run in (0, 1):
            rows = responses.runs == run
            assert float(correlate(subject[rows, :1], expected[rows])) > 0.999
    # the second region repeats its noise at half: a heard the first story twice
    assert float(responses.subject_ceilings[0, 0]) == pytest.approx(1, abs=1e-3)
    assert 0.3 < float(responses.subject_ceilings[0, 1]) < 0.95
    assert bool(responses.subject_ceilings[1].isnan().all())


@new
def test_a_study_with_places_that_no_download_brought(tmp_path, monkeypatch):
    """`Fake2025Fmri` lights up regions of an atlas that it downloads: here a small one of the same names."""
    names = ["Frontal_Sup_Medial_L", "Frontal_Med_Orb_R", "Temporal_Sup_L", "Temporal_Mid_R"]
    names += ["Lingual_L", "Lingual_R"]
    labels = np.repeat(np.arange(1, 7), 27).reshape(6, 3, 9).astype(np.int16)
    image = nib.Nifti1Image(labels, np.eye(4))
    nib.save(image, tmp_path / "aal.nii.gz")
    lut = pd.DataFrame({"index": range(1, 7), "name": names})
    lut.rename(columns={"index": "id"}).to_csv(tmp_path / "aal.csv", index=False)
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_aal", lambda: Bunch(maps=image, lut=lut))
    # it smooths its sound by a kernel of 8 s, which takes seconds
    monkeypatch.setattr(
        "scipy.ndimage.gaussian_filter1d", lambda x, sigma: uniform_filter1d(x, int(2 * sigma))
    )
    options = {"atlas": tmp_path / "aal.nii.gz", "atlas_table": tmp_path / "aal.csv", "high_pass": None}
    brain = NeuralSetDataModule(
        "Fake2025Fmri", tmp_path, responses="Fmri", temporal="fir", delays=(9,), image_size=8, **options
    )
    with pytest.warns(UserWarning, match="4 of 4 stimuli are shown more than once"):
        brain.setup()
    responses = brain.responses
    assert (responses.subjects, responses.tr) == (("subj0", "subj1"), 0.5)
    # each subject saw pictures in an order of its own
    there = ~responses.values.isnan().all(2)
    assert [there[:, responses.runs == run].all(1).tolist() for run in range(3)] == [
        [True, False], [True, False], [False, True]
    ]  # fmt: skip
    # regions of pictures answer 4.7 s later, others do not
    on = responses.carry(torch.ones(4, 1)).double()
    for run, s in enumerate((0, 0, 1)):
        rows = responses.runs == run
        r = correlate(responses.values[s, rows].double(), on[rows].expand(-1, 6))
        assert {responses.rois["roi"][place] for place in r.topk(2).indices.tolist()} == {
            "Lingual_L", "Lingual_R"
        }  # fmt: skip
        assert float(r.topk(2).values.min()) > 0.7
    heard = NeuralSetDataModule(
        "Fake2025Fmri", tmp_path, stimuli="Sound", responses="Fmri", seconds=2, query="run == 1", **options
    )
    heard.setup()
    assert len(heard.stimuli) == 30
    assert heard.responses.modality == "audio"
    assert len(heard.stimuli[3][1]) == 2 * heard.stimuli.sampling_rate


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """`Fake2025Meg` on a small recording in the place of the one that it downloads: sensors follow sounds."""
    import mne
    from neuralset.events.testing.mne2013sample import Mne2013Sample

    rng = np.random.default_rng(0)
    onsets = 300 + 90 * np.arange(40)
    code = np.tile([1, 3, 2, 4], 10)
    data = np.zeros((4, 4200))
    data[3, onsets] = code
    for sensor, codes in enumerate(([1, 2], [3, 4])):  # sounds, pictures: 0.1 s later, for 0.2 s
        for onset in onsets[np.isin(code, codes)]:
            data[sensor, onset + 15 : onset + 45] = 1e-12
    data[:3] += 1e-14 * rng.normal(size=(3, 4200))
    info = mne.create_info(["MEG 0111", "MEG 0121", "MEG 0131", "STI 014"], 150.0, ["mag"] * 3 + ["stim"])
    place = tmp_path / "MEG" / "sample" / "sample_audvis_filt-0-40_raw.fif"
    place.parent.mkdir(parents=True)
    mne.io.RawArray(data, info, first_samp=600, verbose="error").save(place, verbose="error")
    monkeypatch.setattr(Mne2013Sample, "_mne_data_path", lambda self: tmp_path)
    return tmp_path


@new
def test_pictures_and_a_long_sound_of_one_recording(sample):
    seen = NeuralSetDataModule("Fake2025Meg", sample, image_size=8, tmin=0.0, tmax=0.4, picks="mag")
    seen.setup()
    assert sorted(seen.responses.stimulus_ids) == ["fake-left-image.png", "fake-right-image.png"]
    response = seen.responses.values.view(2, 2, 3, -1)[:, :, 1] * 1e12
    np.testing.assert_allclose(response[..., 16:44], 1, atol=0.02)
    np.testing.assert_allclose(response[..., :14], 0, atol=0.02)
    with pytest.raises(ValueError, match=r"Audio of Fake2025Meg lasts 23\.4\d* s, and epochs end after tmax"):
        NeuralSetDataModule("Fake2025Meg", sample, stimuli="Sound").setup()
    heard = NeuralSetDataModule(
        "Fake2025Meg", sample, stimuli="Sound", temporal="fir", seconds=0.1, hop=0.1, tmax=0.4, picks="mag",
        l_freq=None,
    )  # fmt: skip
    heard.setup()
    assert heard.responses.subjects == ("sample0", "sample1")  # the same sound at the same times
    assert len(torch.unique(heard.responses.runs)) == 1
    power = torch.stack([heard.stimuli[i][1].square().mean() for i in range(len(heard.stimuli))])
    delayed = heard.responses.to_volumes(power[:, None]).double()
    r = correlate(heard.responses.values[0, :, :1].double().expand(-1, delayed.shape[1]), delayed)
    # tones and responses both last 0.2 s, the latter 0.1 s later: -0.1 s and four samples of 0.05 s
    assert abs(int(r.argmax()) - 4) <= 1
    assert float(r.max()) > 0.8
    assert float(r[0]) < 0.3


@new
def test_a_study_that_nobody_knows(tmp_path):
    with pytest.raises(ImportError, match=r"NeuralSet can't read 'Test2023Mag': .*mean: Test2023Meg"):
        NeuralSetDataModule("Test2023Mag", tmp_path).setup()


@new
def test_the_catalogue_tells_what_is_read(study):
    listed = {row["name"]: row for row in studies()}
    assert listed["Test2023Meg"]["modality"] == "Image, Word; Meg"
    assert listed["Test2023Meg"]["size"] == "3 subjects"
    assert listed["Fake2025Fmri"]["modality"] == "Image, Sound, Word; Fmri"
    assert study[0] not in listed  # it tells no types of events
    if importlib.util.find_spec("neuralfetch"):
        assert listed["Gifford2022Large"]["license"] == "CC-BY-4.0"
