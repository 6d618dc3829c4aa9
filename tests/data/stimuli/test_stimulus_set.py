"""Stimuli that come several times: said, and kept in one fold where asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from nfas_lightning import align
from nfas_lightning.data import ImageFiles
from nfas_lightning.data.stimuli.stimulus_set import (
    StimulusSet,
    first_places,
    guess_modality,
    warn_of_repeats,
)
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.datamodules import ArrayDataModule, FolderDataModule
from nfas_lightning.functional import ridge_cv
from nfas_lightning.functional.folds import connected_groups, contiguous_folds
from nfas_lightning.functional.nulls import block_moves, permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.scoring.encoder import Encoder


@pytest.mark.parametrize(
    ("items", "modality", "error", "message"),
    [
        (torch.full((1, 3, 2, 2), 1.5), "vision", ValueError, r"in \[0, 1\], got \[1.5, 1.5\]"),
        (torch.full((1, 3, 2, 2), torch.nan), "vision", ValueError, r"in \[0, 1\]"),
        (torch.zeros(1, 2, 2, 3), "vision", ValueError, r"shape \(3, H, W\), or a clip .* got \(2, 2, 3\)"),
        ([torch.tensor([2.0])], "audio", ValueError, "a peak of 2"),
        ([torch.tensor([torch.nan])], "audio", ValueError, r"\[-1, 1\]"),
        ([torch.zeros(2, 9)], "audio", ValueError, "mono samples"),
        ([3], "language", TypeError, "a string or a TextStimulus"),
        ([{"label": 1}], "language", ValueError, "exactly one of image, audio or text"),
        (["  "], "language", ValueError, "must not be empty"),
    ],
)
def test_a_bad_stimulus_says_which_and_why(items, modality, error, message):
    stimuli = StimulusSet(items, modality, 16_000)
    with pytest.raises(error, match=message):
        stimuli[0]


def test_bad_sets():
    with pytest.raises(ValueError, match="at least one stimulus"):
        StimulusSet([], "language")
    with pytest.raises(ValueError, match="sampling_rate"):
        StimulusSet([torch.zeros(3)], "audio")
    with pytest.raises(TypeError, match="Turn an iterable into a list"):
        StimulusSet(iter(["a"]), "language")
    with pytest.raises(ValueError, match="modality must be one of"):
        StimulusSet(["a"], "smell")
    ragged = StimulusSet([torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)], "vision")
    with pytest.raises(ValueError, match="one size"):
        ragged.collate([ragged[0], ragged[1]])


def test_modality_is_guessed_only_where_it_is_clear():
    assert guess_modality([TextStimulus("a")]) == "language"
    assert guess_modality([(torch.zeros(3, 4, 4), 0)]) == "vision"
    assert guess_modality([torch.zeros(9)], sampling_rate=8000) == "audio"
    for unclear in ([torch.zeros(9)], [torch.zeros(4, 4)], [3]):
        with pytest.raises(ValueError, match=r"Pass (modality|sampling_rate)="):
            guess_modality(unclear)


def test_hash_follows_content_and_order():
    texts = StimulusSet(["a cat", "a dog"], "language")
    assert texts.sha256() == StimulusSet([TextStimulus("a cat"), "a dog"], "language").sha256()
    assert texts.sha256() != StimulusSet(["a dog", "a cat"], "language").sha256()
    assert texts.sha256() != StimulusSet([TextStimulus("a cat", (0, 1)), "a dog"], "language").sha256()
    images = torch.rand(2, 3, 4, 4)
    assert StimulusSet(images, "vision").sha256() == StimulusSet(images.clone(), "vision").sha256()
    assert StimulusSet(images, "vision").sha256() != StimulusSet(images.flip(0), "vision").sha256()


N_IMAGES, TIMES = 12, 3
SHOWN = torch.arange(N_IMAGES).repeat(TIMES)


def images():
    return torch.rand(N_IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def repeated(**options):
    """Images three times over, with a random response to each image that the network knows nothing of."""
    generator = torch.Generator().manual_seed(2)
    of_image = torch.randn(N_IMAGES, 20, generator=generator)
    noise = torch.randn(len(SHOWN), 20, generator=generator)
    return ArrayDataModule(images()[SHOWN], of_image[SHOWN] + 0.3 * noise, **options)


def network():
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Sequential(nn.Conv2d(3 if i == 0 else 6, 6, 3), nn.Tanh()) for i in range(3)])


def all_blocks(brain):
    settings = ScoringSettings(n_permutations=0)
    scores = align(
        network(), brain, settings=settings, pooling="mean", preprocess=RawStimuli(), progress=False
    ).scores
    return scores.loc[scores["feature"] == "all_blocks", "r"].mean()


def test_a_network_predicts_its_own_repetition_unless_they_stay_together():
    with pytest.warns(UserWarning, match=r"36 of 36 stimuli are identical to another one, 12 contents"):
        leaked = all_blocks(repeated())
    assert leaked > 0.5
    assert abs(all_blocks(repeated(groups="identical"))) < 0.2


def test_no_stimulus_lies_on_both_sides():
    brain = repeated(groups="identical")
    brain.setup()
    ridge = Encoder(brain.responses, ScoringSettings())
    sides = [set(SHOWN[ridge.fold == fold].tolist()) for fold in range(5)]
    assert sum(map(len, sides)) == N_IMAGES
    # contiguous otherwise: images in the order in which they came
    assert [min(side) for side in sides] == sorted(min(side) for side in sides)
    assert ridge.selection == "folds"  # a row left out alone would be predicted by its repetition


@pytest.mark.parametrize("count", [36, 35])
def test_without_repeats_folds_are_those_of_blocks(count):
    labels = torch.arange(count)
    for one, two in zip(contiguous_folds(count), contiguous_folds(count, groups=labels), strict=True):
        assert torch.equal(one[1], two[1])


def test_runs_that_share_stimuli_are_held_out_together():
    assert connected_groups(torch.tensor([0, 1, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 1, 2, 2])).tolist() == [
        0, 0, 0, 0, 4, 4,
    ]  # fmt: skip
    texts = [*"abcdef", "a", *"ghijk"]
    brain = ArrayDataModule(texts, torch.randn(12, 2), runs=[0] * 4 + [1] * 4 + [2] * 4, groups="identical")
    brain.setup()
    assert Encoder(brain.responses, ScoringSettings()).groups.tolist() == [0] * 8 + [8] * 4
    with pytest.warns(UserWarning, match=r"2 of 12 stimuli .*\['00000', '00006'\]"):
        ArrayDataModule(texts, torch.randn(12, 2), runs=[0] * 4 + [1] * 4 + [2] * 4).setup()
    # inside one run they are never parted
    ArrayDataModule(texts, torch.randn(12, 2), runs=[0] * 8 + [1] * 4).setup()
    every = repeated(runs=[0] * 12 + [1] * 12 + [2] * 12, groups="identical")
    every.setup()
    with pytest.raises(ValueError, match="runs, which are held out whole, share stimuli"):
        ScoringSettings().check(every.responses)


def test_a_time_series_has_no_stimulus_per_row():
    events = {"onset": 3.0 * np.arange(6)}
    brain = ArrayDataModule(list("abcabc"), torch.zeros(20, 1), events=events, tr=1.0, groups="identical")
    with pytest.raises(ValueError, match="got a time series, whose volumes answer several"):
        brain.setup()
    with pytest.raises(ValueError, match="groups must be one of 'identical', got 'runs'"):
        repeated(groups="runs").setup()


def test_words_come_again_in_a_story():
    events = {"onset": 3.0 * np.arange(6)}
    words = [TextStimulus(word, (0, 1)) for word in "abcabc"]
    ArrayDataModule(words, torch.zeros(20, 1), events=events, tr=1.0).setup()
    with pytest.warns(UserWarning, match="6 of 6 stimuli are identical"):
        ArrayDataModule(list("abcabc"), torch.zeros(20, 1), events=events, tr=1.0).setup()


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float64])
def test_rows_of_a_tensor_are_compared_whole(dtype):
    rows = (255 * torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(0))).to(dtype)
    rows[3], rows[5] = rows[1], rows[1]
    rows[5, 2, 39, 38] = 1  # one number
    assert StimulusSet(rows, "vision").identical().tolist() == [0, 1, 2, 1, 4, 5]
    assert StimulusSet(rows[:1].expand(3, -1, -1, -1), "vision").identical().tolist() == [0, 0, 0]
    assert first_places(["a", "b", "a"]).tolist() == [0, 1, 0]


def test_stimuli_of_any_kind(tmp_path):
    waves = [np.sin(np.arange(50.0) * f) for f in (0.1, 0.2, 0.1)]
    assert StimulusSet(waves, "audio", 8000).identical().tolist() == [0, 1, 0]
    assert StimulusSet(["a", "b", "a"], "language").identical().tolist() == [0, 1, 0]
    spans = [TextStimulus("a b", (0, 1)), TextStimulus("a b", (2, 3)), "a b"]
    assert StimulusSet(spans, "language").identical().tolist() == [0, 1, 2]
    for i, color in enumerate([9, 8, 9]):
        Image.new("RGB", (8, 8), (color, 0, 0)).save(tmp_path / f"{i}.png")
    files = ImageFiles.from_folder(tmp_path)
    assert StimulusSet(files, "vision").identical().tolist() == [0, 1, 0]

    class Hashed(list):
        def sha256(self):
            return "of its own"

        def __getitem__(self, index):
            raise AssertionError("it is not read")

    assert StimulusSet(Hashed("aa"), "language").identical().tolist() == [0, 1]


def test_a_folder_takes_groups_too(tmp_path):
    pd.DataFrame({"text": list("abcdefgh") * 2}).to_csv(tmp_path / "texts.csv", index=False)
    np.save(tmp_path / "responses.npy", np.random.default_rng(0).normal(size=(16, 2)))
    with pytest.warns(UserWarning, match="16 of 16 stimuli are identical"):
        FolderDataModule(str(tmp_path)).setup()
    module = FolderDataModule(str(tmp_path), groups="identical")
    module.setup()
    assert module.responses.identical.tolist() == list(range(8)) * 2


def test_labels_of_equally_many_rows_change_places():
    labels = torch.tensor([0, 1, 0, 1, 2, 3])
    moves = block_moves(6, together=labels, n_moves=200)
    assert set(map(tuple, moves[:, [0, 2]].tolist())) == {(0, 2), (1, 3)}  # pairs stay pairs, in order
    assert set(moves[:, 4].tolist()) == {4, 5}
    assert torch.equal(moves.sort(dim=1).values, torch.arange(6).expand(200, -1))
    with pytest.raises(ValueError, match=r"no two alike.*n_permutations=0"):
        block_moves(3, together=torch.tensor([0, 0, 1]))


def test_the_null_moves_repetitions_together():
    """Responses go by the image and not by the features: 5 % of ROIs have p < .05 if repeats move as one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24).repeat(3)
    X = torch.randn(24, 5, generator=generator)[labels]
    Y = torch.randn(24, 600, generator=generator)[labels] + 0.3 * torch.randn(72, 600, generator=generator)
    result = ridge_cv(X, Y, groups=labels)
    rates = []
    for together in (labels, torch.arange(72)):
        null = ridge_null(X, Y, result, groups=labels, moves="blocks", together=together, n_permutations=99)
        rates.append(float((permutation_p(result.r, null) <= 0.05).float().mean()))
    assert 0.025 < rates[0] < 0.075
    assert rates[1] > 0.1  # as rows that move one by one


def test_repeats_inside_a_run_stay_together():
    first, ids = torch.tensor([0, 0, 2, 3]), list("abcd")
    warn_of_repeats(first, ids, torch.tensor([0, 0, 1, 1]))
    with pytest.warns(UserWarning, match="2 of 4 stimuli are identical"):
        warn_of_repeats(first, ids, torch.tensor([0, 1, 0, 1]))
