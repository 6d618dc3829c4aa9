"""Studies of NeuralSet, on Python 3.12 and later; before, one line that says so."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nfas_lightning.datamodules import NeuralSetDataModule
from nfas_lightning.datamodules.recordings.neuralset_datamodule import studies

new = pytest.mark.skipif(
    sys.version_info < (3, 12) or importlib.util.find_spec("neuralset") is None,
    reason="NeuralSet needs Python 3.12 or later, and the extra neuralset",
)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python is new enough for NeuralSet")
def test_an_older_python_is_told_in_one_line(tmp_path):
    with pytest.raises(ImportError, match=r"needs Python 3.12 or later.*nfas-lightning\[neuralset\]"):
        NeuralSetDataModule("Any", tmp_path).setup()


@pytest.mark.parametrize(
    ("options", "message"), [({"stimuli": "Smell"}, "stimuli"), ({"responses": "Fmri"}, "responses")]
)
def test_what_is_not_read_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        NeuralSetDataModule("Any", tmp_path, **options)


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
    with pytest.raises(ValueError, match=r"types Word and Eeg, got \['Eeg', 'Image'\]"):
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


@new
def test_the_catalogue_tells_what_is_read(study):
    listed = {row["name"]: row for row in studies()}
    assert listed["Test2023Meg"]["modality"] == "Image, Word; Meg"
    assert listed["Test2023Meg"]["size"] == "3 subjects"
    assert study[0] not in listed  # it tells no types of events
    if importlib.util.find_spec("neuralfetch"):
        assert listed["Gifford2022Large"]["license"] == "CC-BY-4.0"
