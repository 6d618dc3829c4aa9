"""A trajectory made ready for scoring: its state space, its dynamics, and the features read from them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError
from nfas_lightning.functional.dmd import DMDResult, center_depths, combine_depths, dmd
from nfas_lightning.functional.standardization import Scaling
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["NetworkFeature", "Prepared", "prepare"]

NetworkFeature = Literal["stable_mode", "last_block", "mean_depth", "all_blocks"]
"""Features that a trajectory alone gives, without a choice by responses."""


class Prepared(NamedTuple):
    """What every score of a model is computed from.

    Attributes:
        space: state space, fitted to the presented stimuli.
        dynamics: of the same stimuli.
        Z: (N, L, D) centered trajectory, see `center_depths`.
        stable: (N, P) the stable mode.
        scaling: of the stable mode, see `ridge_cv`.
    """

    space: StateSpace
    dynamics: DMDResult
    Z: Tensor
    stable: Tensor
    scaling: Scaling

    def feature(self, name: NetworkFeature, device: torch.device) -> tuple[Tensor, Scaling]:
        """Return one feature (N, P) and how `ridge_cv` should scale it."""
        if name == "stable_mode":
            return self.stable, self.scaling
        if name == "last_block":
            return self.Z[:, -1].to(device), self.space.scaling_
        if name == "mean_depth":
            return self.Z.mean(dim=1).to(device), self.space.scaling_
        return self.Z.flatten(1).to(device), self.space.scaling_


def prepare(
    trajectory: Trajectory,
    responses: Responses,
    settings: ScoringSettings,
    *,
    model: str,
    device: torch.device,
) -> Prepared:
    """Fit state space and dynamics to the presented stimuli, and combine depths; no response is looked at.

    Args:
        trajectory: states of all N stimuli, in the order of `Responses.stimulus_ids`.
        responses: which of them are presented.
        settings: the choices.
        model: name, for messages.
        device: that does the work.

    Raises:
        ValueError: the trajectory does not hold the stimuli that the responses ask for, or the stimuli do not
            differ at a block and the widths of blocks do.
    """
    _check_stimuli(trajectory, responses)
    space = StateSpace(settings.state_space, n_components=settings.n_components, seed=settings.seed)
    states, presented = trajectory.states, responses.presented
    if not bool(presented.all()):
        states = tuple(state[presented.to(state.device)] for state in states)
    H = space.fit_transform(states, device)
    dynamics = _decompose(H, trajectory.layer_names, model, settings, device)
    Z = center_depths(H, dynamics, device)
    del H
    stable = combine_depths(Z, dynamics, phase=settings.phase, centered=True, device=device)
    return Prepared(space, dynamics, Z, stable, settings.scaling(space))


def _check_stimuli(trajectory: Trajectory, responses: Responses) -> None:
    wanted = len(responses.stimulus_ids)
    got = trajectory.stimulus_ids
    if len(got) != wanted or not torch.equal(got.cpu(), torch.arange(wanted)):
        raise InputError(
            f"The trajectory must hold stimuli 0 to {wanted - 1}, each once and in order; got {len(got)}. "
            "Run the whole dataloader before scoring."
        )


def _decompose(
    H: Tensor, names: Sequence[str], model: str, settings: ScoringSettings, device: torch.device
) -> DMDResult:
    """Decompose (N, L, D); blocks at which no stimulus differs from another are named, once per model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All stimuli have the same state at depth")  # said below
        dynamics = dmd(
            H,
            operator=settings.operator,
            svd_rank=settings.svd_rank,
            centering=settings.centering,
            criterion=settings.criterion,
            device=device,
        )
    if dynamics.dead:
        dead = [names[depth] for depth in dynamics.dead]
        some = ", ".join(map(repr, dead[:4])) + (", ..." if len(dead) > 4 else "")
        advice = (
            "look whether the stimuli differ, and whether the network reads them"
            if len(dead) == len(names)
            else "leave these blocks out of layers, or pool them differently"
        )
        warnings.warn(
            f"All {len(H)} stimuli have the same state at {len(dead)} of {len(names)} blocks of {model!r} "
            f"({some}), so there are no dynamics over depth and its stable mode scores NaN: {advice}.",
            stacklevel=4,
        )
    return dynamics
