"""A network whose stable mode one of two ROIs follows."""

import pandas as pd
import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional import stable_mode
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.scoring import ScoringSettings

CARD = {
    "name": "net", "modality": "vision", "family": "toy", "source": "", "license": "", "parameters": 0,
    "weights_sha256": "", "note": "", "pooling": "mean", "weights": "pretrained", "twin_of": "",
    "seconds_capture": 0.0,
}  # fmt: skip


QUICK = ScoringSettings(n_permutations=99)


def trajectory(n=120, depths=5, width=6, seed=0):
    """A slow rotation over depth, another for every stimulus, in noise."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    x = torch.randn(n, width, generator=generator)
    states = []
    for _ in range(depths):
        states.append(x + 0.1 * torch.randn(n, width, generator=generator))
        x = x @ turn
    layers = tuple(
        LayerInfo(f"block.{i}", i, "Block", (width,), width, "torch.float32") for i in range(depths)
    )
    return Trajectory(tuple(states), layers, torch.arange(n))


def brain(track, n_subjects=3, noise=1.0, seed=1, **changes):
    """ROI "signal" follows the stable mode, ROI "noise" nothing."""
    generator = torch.Generator().manual_seed(seed)
    signal = stable_mode(track.stack())[:, :2].sum(1)
    clean = torch.stack([signal / signal.std(), torch.zeros(len(signal))], dim=1)
    shape = (n_subjects, *clean.shape)
    values = clean + noise * torch.randn(shape, generator=generator)
    fields = {
        "values": values,
        "rois": pd.DataFrame({"roi": ["signal", "noise"], "network": ["a", "b"]}),
        "stimulus_ids": tuple(map(str, range(len(signal)))),
        "dataset": "toy",
        "modality": "vision",
        "subjects": tuple(f"s{i}" for i in range(n_subjects)),
        "runs": torch.zeros(len(signal), dtype=torch.long),
        **changes,
    }
    return Responses(**fields)


def pick(result, feature, roi, subject="group"):
    rows = result.scores.query("feature == @feature and roi == @roi and subject == @subject")
    assert len(rows) == 1
    return rows.iloc[0]


NUISANCES = torch.randn(60, 2, generator=torch.Generator().manual_seed(8))
