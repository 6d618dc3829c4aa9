"""Planted data and a group of processes for the tests of metrics."""

import pandas as pd
import torch
import torch.distributed as dist

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.dmd import stable_mode
from nfas_lightning.metrics import SNCI, DepthSpectrum, DMDAlignment
from tests.helpers.processes import run_group


def planted(*, design=False, nuisance=False, seed=0, dtype=torch.float64):
    """Trajectories (60, 5, 8) and responses of three ROIs to their stable mode."""
    generator = torch.Generator().manual_seed(seed)
    H = torch.randn(60, 5, 8, generator=generator, dtype=torch.float64).cumsum(1).to(dtype)
    features = stable_mode(H.double())
    weights = torch.randn(features.shape[1], 3, generator=generator, dtype=torch.float64)
    values = features @ weights
    values = values / values.std(0)
    options = {}
    if design:
        # every volume sees the two stimuli before it, in two runs
        operator = 0.5 * (torch.eye(60).roll(1, 0) + torch.eye(60)).double()
        operator[[0, 30]] = torch.eye(60, dtype=torch.float64)[[0, 30]]
        values = operator @ values
        options = {"design": (operator.to_sparse(),), "tr": 2.0}
    if nuisance:
        options |= {
            "nuisances": values[:, :1] + torch.randn(60, 1, generator=generator),
            "nuisance_names": ("rate",),
        }
    values = values + 0.1 * torch.randn(60, 3, generator=generator, dtype=torch.float64)
    responses = Responses(
        values=values[None],
        rois=pd.DataFrame({"roi": ["V1", "A1", "STG"]}),
        stimulus_ids=tuple(map(str, range(60))),
        dataset="toy",
        modality="vision",
        subjects=("s1",),
        runs=(torch.arange(60) >= 30).long() if design else torch.zeros(60, dtype=torch.int64),
        **options,
    )
    return H, responses


def splits(n, size):
    """Batches of indices."""
    return torch.split(torch.arange(n), size)


def run_processes():
    """Start three gloo processes; return, by (world, rank), what the metrics of two and of three computed."""
    return {key: value for found in run_group(_work, 3) for key, value in found.items()}


# Stimuli of each process: uneven, repeated inside and across processes, and for three, nothing for the last.
SHARES = {
    2: [torch.arange(0, 41), torch.cat([torch.arange(41, 60), torch.arange(3)])],
    3: [torch.cat([torch.arange(50, 60), torch.arange(5)]), torch.arange(0, 52), torch.arange(0)],
}
MODELS = {2: [slice(0, 2), slice(2, 9)], 3: [slice(0, 2), slice(2, 9), slice(9, 9)]}


def _work(rank, _):
    groups = {world: dist.new_group(list(range(world))) for world in (2, 3)}
    return {(world, rank): _compute(rank, world, g) for world, g in groups.items() if rank < world}


def _compute(rank, world, group):
    H, responses = planted()
    share = SHARES[world][rank]
    alignment = DMDAlignment(responses, process_group=group)
    spectrum = DepthSpectrum(process_group=group)
    for batch in torch.split(share, 8) if len(share) else ():
        alignment.update(H[batch], batch)
        spectrum.update(H[batch], batch)
    scores = SNCI(process_group=group)
    rows = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    part = MODELS[world][rank]
    if part.start < 9:
        scores.update(rows[part], (["vision", "audio", "language"] * 3)[part])
    result = {"mean_r": alignment.compute(), "distance": spectrum.compute(), "snci": scores.compute()}
    result |= {"alignment": alignment.details, "spectrum": spectrum.details}
    result["kept"] = sum(map(len, alignment.stimulus_ids))
    uneven = DepthSpectrum(process_group=group)
    for batch in torch.split(share, 8) if len(share) else ():
        uneven.update([H[batch, depth, : 4 + depth] for depth in range(4)], batch)
    uneven.compute()
    result["uneven"] = uneven.details
    mixed = DepthSpectrum(process_group=group)
    mixed.update(H[:, : 4 + (rank == 0)], torch.arange(len(H)))
    try:
        mixed.compute()
    except ValueError as error:
        result["mismatch"] = str(error)
    return result


def update(metric, H, batches):
    """The metric, after all batches."""
    for batch in batches:
        metric.update(H[batch], batch)
    return metric


def found(metric):
    """All numbers of a metric, of which compute returns one."""
    value = metric.compute()
    assert value.ndim == 0
    assert any(torch.equal(value, other) or value.isnan() for other in metric.details.values())
    return metric.details


def ragged(n=60, seed=0):
    """States of five depths of other widths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=generator).double() for width in (8, 6, 9, 5, 7)]
