"""The encoding model that is kept: it predicts stimuli that nobody scored, from a file that runs nothing."""

import dataclasses

import pandas as pd
import pytest
import torch

from nfas_lightning.data.events import volume_design
from nfas_lightning.data.responses import Responses
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.results import RunFolder
from nfas_lightning.scoring import RegionModel, ScoringSettings, score_trajectory
from tests.helpers.scoring import CARD

KEEP = ScoringSettings(n_permutations=0, keep_model=True)
N, NEW = 150, 40


def network(widths, n=N + NEW, seed=0):
    """States of all stimuli at blocks of these widths, which carry the same eight numbers."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    states = [x @ torch.randn(8, width, generator=generator) + 3 for width in widths]
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (width,), width, "torch.float32")
        for i, width in enumerate(widths)
    )
    return x, Trajectory(tuple(states), layers, torch.arange(n))


def part(track, rows):
    return Trajectory(
        tuple(state[rows] for state in track.states), track.layers, torch.arange(len(track.states[0][rows]))
    )


def brain(values, **changes):
    fields = {
        "values": values[None],
        "rois": pd.DataFrame({"roi": ["V1", "V4"]}),
        "stimulus_ids": tuple(map(str, range(N))),
        "dataset": "toy",
        "modality": "vision",
        "subjects": ("s1",),
        "runs": torch.zeros(len(values), dtype=torch.long),
    }
    return Responses(**{**fields, **changes})


@pytest.mark.parametrize("widths", [(12, 12, 12, 12), (20, 9, 14, 30)], ids=["native", "procrustes"])
@pytest.mark.parametrize("operator", ["joint", "pooled"])
def test_a_saved_model_predicts_stimuli_that_were_held_out(tmp_path, widths, operator):
    x, track = network(widths)
    settings = dataclasses.replace(KEEP, operator=operator)
    first = score_trajectory(part(track, slice(N)), brain(x[:N, :2]), CARD, settings).region_model
    features = first.features(track.states)[:, :2]
    truth = 5 * features / features.std(0) + 100
    result = score_trajectory(part(track, slice(N)), brain(truth[:N]), CARD, settings)
    RunFolder(tmp_path).write("net", "k" * 64, result)
    kept = RegionModel.load(next(tmp_path.rglob("region_model.safetensors")))
    assert (kept.model, kept.dataset, kept.rois) == ("net", "toy", ("V1", "V4"))
    assert kept.layer_names == track.layer_names
    new = part(track, slice(N, None)).states
    preds = kept.predict(new)
    assert torch.equal(preds, result.region_model.predict(new))
    # stimuli that no fit has seen, in the responses' own units
    torch.testing.assert_close(preds, truth[N:], rtol=0, atol=0.5)


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_volumes_of_new_stimuli(temporal):
    x, track = network((12, 12, 12, 12))
    onsets, times = 3.0 * torch.arange(N).double(), 2.0 * torch.arange(240).double()
    design = volume_design(onsets, times, tr=2.0, temporal=temporal)
    values = torch.stack([operator.float() @ x[:N, :2] for operator in design]).sum(0) + 7
    responses = brain(values, design=design, tr=2.0, gap=5).with_event_rate()
    kept = score_trajectory(part(track, slice(N)), responses, CARD, KEEP).region_model
    later = volume_design(onsets[:NEW], times[:60], tr=2.0, temporal=temporal)
    wanted = torch.stack([operator.float() @ x[N:, :2] for operator in later]).sum(0) + 7
    preds = kept.predict(part(track, slice(N, None)).states, design=later)
    for r in range(2):
        assert torch.corrcoef(torch.stack([preds[:, r], wanted[:, r]]))[0, 1] > 0.9
    for wrong in ((*later, later[0]), ()):
        with pytest.raises(ValueError, match=f"design must hold {len(design)} operators"):
            kept.predict(part(track, slice(N, None)).states, design=wrong)


def test_what_is_loaded_can_be_computed_with(tmp_path):
    """Complex numbers that begin at half their size, as they may in a file, end the process."""
    x, track = network((12, 12, 12, 12))
    model = score_trajectory(part(track, slice(N)), brain(x[:N, :2]), CARD, KEEP).region_model
    for length in (4, 12):  # of the header, which decides where numbers lie
        path = tmp_path / f"{length}.safetensors"
        dataclasses.replace(model, model="m" * length).save(path)
        kept = RegionModel.load(path).dynamics
        for name in ("eigenvalues", "mode_coefficients"):
            assert getattr(kept, name).data_ptr() % 16 == 0
            assert torch.equal(getattr(kept, name), getattr(model.dynamics, name))


def test_what_is_no_region_model_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"a\.safetensors must be a region model"):
        RegionModel.load(path)
    with pytest.raises(FileNotFoundError):
        RegionModel.load(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match='keep_model=True needs operator="joint" or "pooled"'):
        ScoringSettings(operator="per_stimulus", keep_model=True)


def test_nothing_is_kept_unless_asked(tmp_path):
    x, track = network((12, 12, 12))
    result = score_trajectory(
        part(track, slice(N)), brain(x[:N, :2]), CARD, ScoringSettings(n_permutations=0)
    )
    assert result.region_model is None
    RunFolder(tmp_path).write("net", "k" * 64, result)
    assert not list(tmp_path.rglob("region_model*"))
