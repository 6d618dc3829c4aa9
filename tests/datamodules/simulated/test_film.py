"""The simulated film: one brain, three streams, and what each region follows."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import lfilter
from torch import nn

from nfas_lightning import NFAS
from nfas_lightning.alignment import captured
from nfas_lightning.datamodules import SimulatedFilmDataModule
from nfas_lightning.datamodules.simulated.film import residual
from nfas_lightning.datamodules.simulated.sample_images import equalized, sample_crops
from nfas_lightning.datamodules.simulated.sample_sounds import sample_vowels
from nfas_lightning.models import ModelInputs
from nfas_lightning.results import RunResults
from nfas_lightning.results.run_results import joined
from nfas_lightning.scoring import ScoringSettings, score_trajectory

SMALL = {"n_stimuli": 40, "atlas": "dosenbach", "image_size": 32}


@pytest.fixture(scope="module")
def film():
    brain = SimulatedFilmDataModule(**SMALL)
    brain.prepare_data()
    brain.setup()
    return brain


def test_three_streams_of_one_brain(film):
    responses = [film.stream(modality).responses for modality in ("vision", "audio", "language")]
    for found in responses:
        assert torch.equal(found.values, responses[0].values)
        assert torch.equal(found.nuisances, responses[0].nuisances)
        assert len(found.stimulus_ids) == 40
        assert found.design[0].shape == (found.values.shape[1], 40)
    assert {"contrast", "sound_power", "words", "vision_event_rate"} <= set(responses[0].nuisance_names)
    about = film.describe()
    assert (about["stimuli"], about["subjects"], about["runs"], about["simulated"]) == (120, 4, 4, True)


def test_regions_follow_what_the_truth_names(film):
    """The signal of a region is predicted by the features that were planted there, and by no others."""
    truth = film.truth.set_index("roi")
    assert set(truth["driven_by"]) == {"vision", "audio", "language", "all", "none"}
    assert (truth.loc[truth["driven_by"] == "none", "ceiling"] == 0).all()
    assert (truth.loc[truth["planted"], "ceiling"] > 0.3).all()
    counts = truth.groupby(["driven_by", "follows"]).size()
    for modality in ("vision", "audio", "language"):
        assert abs(counts[modality, "form"] - counts[modality, "meaning"]) <= 3
    assert counts["all", "both"] > 8


def test_the_seed_decides_and_noise_is_noise():
    again, other, none = (
        SimulatedFilmDataModule(**SMALL, **options) for options in ({}, {"seed": 1}, {"signal": "none"})
    )
    values = []
    for brain in (again, other, none):
        brain.setup()
        values.append(brain.responses.values)
    assert not torch.equal(values[0][..., :5], values[1][:, : values[0].shape[1], :5])
    assert not none.truth["planted"].any()
    assert (none.truth["ceiling"] == 0).all()
    between = np.corrcoef(values[2].mean(dim=0)[:, :40].T.numpy())
    assert abs(between[np.triu_indices(40, 1)]).mean() < 0.15


def test_meaning_is_what_form_does_not_predict():
    generator = torch.Generator().manual_seed(0)
    form, meaning = (torch.randn(50, n, generator=generator, dtype=torch.float64) for n in (4, 3))
    left = residual(meaning + form[:, :3], form)
    assert float((form.T @ left).abs().max()) < 1e-9
    assert float(left.mean(0).abs().max()) < 1e-9


def test_pictures_are_gray_and_equal_in_mean_and_contrast():
    crops, _, _ = sample_crops(12, size=32, seed=0)
    pictures = equalized(crops, seed=0).float()
    assert torch.equal(pictures[:, 0], pictures[:, 2])
    assert pictures.mean(dim=(1, 2, 3)) == pytest.approx(torch.full((12,), 127.5), abs=6)
    mirrored = [
        torch.equal(a, b) for a, b in zip(equalized(crops, seed=0), equalized(crops, seed=1), strict=True)
    ]
    assert 0 < sum(mirrored) < 12


def test_vowels_have_names_labels_and_levels_of_their_own():
    waves, names, labels = sample_vowels(30, seconds=0.5, seed=2)
    assert waves.shape == (30, 8000)
    assert float(waves.abs().max()) <= 1
    assert [name.split("_")[:2] for name in names] == [[f"vowel{v}", f"voice{w}"] for v, w in labels.tolist()]
    assert (len(set(labels[:, 0].tolist())), len(set(labels[:, 1].tolist()))) == (5, 6)
    assert torch.equal(sample_vowels(30, seconds=0.5, seed=2)[0], waves)


def test_what_is_no_film_is_refused():
    with pytest.raises(ValueError, match="signal"):
        SimulatedFilmDataModule(signal="loud")
    with pytest.raises(ValueError, match="n_subjects"):
        SimulatedFilmDataModule(n_subjects=0)
    with pytest.raises(RuntimeError, match="no truth yet"):
        _ = SimulatedFilmDataModule().truth


def pixels(batch):
    return ModelInputs((nn.functional.adaptive_avg_pool2d(batch["image"].float(), 6).flatten(1),))


def loudness(batch):
    return ModelInputs((nn.functional.adaptive_avg_pool1d(batch["audio"][:, None].abs(), 60)[:, 0],))


def letters(batch):
    counts = [
        [float(stimulus.text.count(letter)) for letter in "etaoinshrdlu "] for stimulus in batch["text"]
    ]
    return ModelInputs((torch.tensor(counts),))


def network(width):
    sizes = [width, 12, 12, 12]
    blocks = [nn.Sequential(nn.Linear(*pair), nn.Tanh()) for pair in itertools.pairwise(sizes)]
    return nn.Sequential(*blocks).eval()


READERS = {"vision": (pixels, 108), "audio": (loudness, 60), "language": (letters, 13)}


def test_a_film_that_modality_explains_nothing_of_shows_no_clusters():
    """Two networks of each stream and fourteen films of noise, scored and tested as a run is."""
    film = SimulatedFilmDataModule(**SMALL, n_subjects=1, n_runs=2, signal="none")
    film.setup()
    torch.manual_seed(0)
    options = {"cache": False, "progress": False}
    shown = [
        (stream, captured(network(width), stream, preprocess=reader, name=f"{modality}_{i}", **options))
        for modality, (reader, width) in READERS.items()
        for stream in [film.stream(modality)]
        for i in range(2)
    ]
    p_values = []
    for seed in range(14):
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((1, film.responses.values.shape[1], 20))
        noise = torch.from_numpy(lfilter([1], [1, -0.4], white, axis=1).astype("float32"))
        rois = film.responses.rois[:20]
        settings = ScoringSettings(n_permutations=59, baselines=False, n_bootstrap=0, seed=seed)
        results = [
            score_trajectory(
                found.trajectory,
                replace(stream.responses, values=noise, rois=rois, noise_ceiling=None),
                found.card,
                settings,
            )
            for stream, found in shown
        ]
        tables = {name: joined(name, results) for name in ("scores", "spectra", "depth", "nulls")}
        cards = pd.DataFrame([result.card for result in results])
        space = NFAS.from_scores(RunResults(**tables, models=cards, rois=rois))
        p_values.append(float(space.moved_responses().p_value))
    assert sum(p <= 0.05 for p in p_values) <= 2  # of 14 at 5 %, more in one of thirty
