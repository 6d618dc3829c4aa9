"""Several streams on the same responses: what they share, what each keeps, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nfas_lightning import NFAS, score_models
from nfas_lightning.datamodules import ArrayDataModule, StreamsDataModule
from nfas_lightning.models import FrozenModel
from nfas_lightning.results import RunResults
from nfas_lightning.scoring import ScoringSettings

N, T, R = 24, 60, 5


class Net(nn.Module):
    """A network of four equal blocks on whatever vector it is shown."""

    def __init__(self, width=6, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(4)])

    def forward(self, x):
        x = x.flatten(1)[:, :6]
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return x


def streams(change=None, **options):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, T, R, generator=generator)
    made = {}
    for place, modality in enumerate(("vision", "audio")):
        shape = (N, 3, 8, 8) if modality == "vision" else (N, 4000)
        given = {"responses": values, "rois": [f"r{i}" for i in range(R)], "dataset": "film", "tr": 2.0}
        if change is not None and place:
            given |= change
        made[modality] = ArrayDataModule(
            torch.rand(*shape, generator=generator),
            runs=torch.arange(T) // 30,
            events=pd.DataFrame(
                {"stimulus": range(N), "onset": [3.0 + (4.0 + place / 2) * (i % 12) for i in range(N)],
                 "run": [i // 12 for i in range(N)], "duration": 2.0}
            ),
            modality=modality,
            sampling_rate=16_000 if modality == "audio" else None,
            nuisances=pd.DataFrame({"power": torch.rand(T, generator=generator).numpy()}),
            **given,
        )  # fmt: skip
    return StreamsDataModule(made, **options)


def test_streams_share_responses_and_nuisances_and_keep_stimuli_and_times():
    brain = streams()
    brain.prepare_data()
    brain.setup()
    brain.setup("test")
    vision, audio = (brain.stream(modality) for modality in ("vision", "audio"))
    assert torch.equal(vision.responses.values, audio.responses.values)
    names = vision.responses.nuisance_names
    assert names == audio.responses.nuisance_names
    assert names == ("vision_power", "vision_event_rate", "audio_power", "audio_event_rate")
    assert torch.equal(vision.responses.nuisances, audio.responses.nuisances)
    assert not torch.equal(vision.responses.design[0].to_dense(), audio.responses.design[0].to_dense())
    assert len(vision.stimuli) == len(audio.stimuli) == N
    assert (vision.responses.modality, audio.responses.modality) == ("vision", "audio")
    about = brain.describe()
    assert (about["modality"], about["stimuli"], about["rois"]) == ("vision, audio", 2 * N, R)
    assert vision.responses.fingerprint() != audio.responses.fingerprint()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"responses": torch.zeros(2, T, R)}, "responses"),
        ({"rois": ["a", "b", "c", "d", "e"]}, "ROIs"),
        ({"tr": 1.99}, "tr, volume times"),
        ({"dataset": "other"}, r"dataset. Name the whole, dataset="),
    ],
)
def test_streams_on_different_responses_are_refused(change, what):
    with pytest.raises(ValueError, match=rf"'vision' and 'audio' differ in their {what}"):
        streams(change).setup()


def test_a_dataset_name_of_the_whole_and_what_is_no_stream():
    brain = streams({"dataset": "other"}, dataset="film")
    brain.setup()
    assert {brain.stream(m).responses.dataset for m in ("vision", "audio")} == {"film"}
    with pytest.raises(ValueError, match="streams of vision, audio, got a network of modality 'language'"):
        brain.stream("language")
    with pytest.raises(ValueError, match=r"take one of its streams, such as datamodule.stream\('vision'\)"):
        _ = brain.stimuli
    one = {"vision": brain.stream("vision")}
    with pytest.raises(ValueError, match=r"at least two datamodules .* got \['vision'\]"):
        StreamsDataModule(one)
    with pytest.raises(TypeError, match="got str for 'audio'"):
        StreamsDataModule({**one, "audio": "story"})
    with pytest.raises(ValueError, match="holds stimuli of modality 'vision'"):
        StreamsDataModule({**one, "audio": streams().streams["vision"]}, dataset="film").setup()


def test_every_network_reads_its_stream_and_the_space_is_crossed(tmp_path):
    frozen = [  # of different weights: the same network twice counts once
        FrozenModel(
            Net(seed=seed + 2 * (modality == "audio")),
            name=f"{modality}{seed}",
            modality=modality,
            layers="blocks.*",
            pooling="none",
        )
        for modality in ("vision", "audio")
        for seed in (0, 1)
    ]
    settings = ScoringSettings(n_permutations=39)
    results = score_models(
        frozen, streams(), tmp_path, settings=settings, report=False, enable_progress_bar=False
    )
    assert results.scores.groupby("modality")["dataset"].unique().map(list).to_dict() == {
        "audio": ["film"],
        "vision": ["film"],
    }
    space = NFAS.from_scores(results)
    assert space.design.word == "crossed"
    # the moves of the responses are the same for all, and come back from the run's folder
    assert space.null.shape == (39, 4, R)
    stable = results.scores.query("feature == 'stable_mode'").set_index(["model", "roi"])
    for place, model in enumerate(space.models["model"]):
        draws = np.stack(results.nulls.set_index(["model", "roi"]).loc[model, "draws"])
        rows = stable.loc[model]
        assert rows["p"].to_numpy() == pytest.approx(
            (1 + (rows["r_partial"].to_numpy() <= draws.T).sum(0)) / 40
        )
        assert space.null[:, place].numpy() == pytest.approx(np.maximum(draws.T, 0) ** 2)
    pd.testing.assert_frame_equal(RunResults.load(tmp_path).nulls, results.nulls)
    moved = float(space.moved_responses().p_value)
    assert space.statistics(n_permutations=99).permanova["p_moved"] == moved
    assert 1 / 40 <= moved <= 1
    other = results.nulls["seed"].where(results.nulls["model"] != "audio0", 1)
    mixed = replace(results, nulls=results.nulls.assign(seed=other))
    assert NFAS.from_scores(mixed).null is None  # moved in another way: not the noise that the models share
    assert space.select("modality == 'audio'").null.shape == (39, 2, R)
    alone = streams().streams["audio"]
    again = score_models(frozen[2:], alone, tmp_path / "alone", settings=settings, report=False)
    assert set(again.scores["model"]) == {"audio0", "audio1"}
    r = [
        x.scores.query("model == 'audio0' and feature == 'stable_mode'")["r"].tolist()
        for x in (results, again)
    ]
    assert r[0] == r[1]  # alone is not changed by nuisances of another stream
    partial = [
        x.scores.query("model == 'audio0' and feature == 'stable_mode'")["r_partial"]
        for x in (results, again)
    ]
    assert partial[0].tolist() != partial[1].tolist()
