"""Trajectories over depth and time inside a stimulus, (N, F, L, D), made ready for scoring."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import torch

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError
from nfas_lightning.functional.dmd import combine_depths, dmd
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["InTime", "in_time"]

_FEWEST = 3  # frames, as depths: fewer have no transition to predict


class InTime(NamedTuple):
    """What is scored in the place of a trajectory with frames.

    Attributes:
        trajectory: one row per stimulus of `responses`.
        responses: their clock has the frames as stimuli where these are kept.
        columns: for the depth table: ``time_real`` and ``time_imag``, the eigenvalue of each block's stable
            mode over time.
    """

    trajectory: Trajectory
    responses: Responses
    columns: dict[str, list[float]]


def in_time(
    trajectory: Trajectory, responses: Responses, settings: ScoringSettings, *, device: torch.device
) -> InTime:
    """Return what to score of a trajectory, see `DepthRecorder` for its `time`.

    ``"keep"``: frames are the stimuli, on the clock of the responses. ``"dmd"``: at each block the frames are
    snapshots of a decomposition over time, with the choices of `settings` for depth, ``"joint"`` over
    stimuli; a stimulus's part of the stable mode is its state, and the decomposition over depth goes on from
    there.

    Raises:
        ValueError: frames have no place on a clock, are too few, or are the same for all stimuli.
    """
    if trajectory.frames == 1:
        return InTime(trajectory, responses, {})
    if settings.keep_model:
        raise InputError(
            f"keep_model=True predicts from one state per stimulus, and time={trajectory.time!r} has "
            f"{trajectory.frames}: set keep_model=False or time='mean'."
        )
    if trajectory.time == "keep":
        return InTime(trajectory.by_frame(), responses.by_frame(trajectory.frames), {})
    if trajectory.frames < _FEWEST:
        raise InputError(
            f"time='dmd' needs {_FEWEST} frames or more of every clip, got {trajectory.frames}: take more "
            "frames per second, or time='mean'."
        )
    presented = responses.presented.cpu()
    states, eigenvalues = [], []
    for layer, state in zip(trajectory.layers, trajectory.states, strict=True):
        H = state.reshape(len(state), trajectory.frames, -1)
        fitted = H if bool(presented.all()) else H[presented.to(H.device)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All stimuli have the same state at depth")  # said here
            mode = dmd(
                fitted,
                svd_rank=settings.svd_rank,
                centering=settings.centering,
                criterion=settings.criterion,
                device=device,
            )
        if mode.dead:
            raise InputError(
                f"All stimuli have the same state at frames {list(mode.dead)} (counted from 0) of block "
                f"{layer.name!r}: time='dmd' needs frames that differ, so cut blank ones off."
            )
        states.append(combine_depths(H, mode, phase=settings.phase, device=device).to(state.device))
        eigenvalues.append(complex(mode.stable_eigenvalue))
    # a real mode has no second quadrature: zeros keep blocks of one width alike
    if any(state.shape[1] > width for state, width in zip(states, trajectory.widths, strict=True)):
        states = [
            state if state.shape[1] > width else torch.cat([state, torch.zeros_like(state)], dim=1)
            for state, width in zip(states, trajectory.widths, strict=True)
        ]
    layers = tuple(replace(layer, frames=1) for layer in trajectory.layers)
    return InTime(
        Trajectory(tuple(states), layers, trajectory.stimulus_ids, trajectory.device),
        responses,
        {"time_real": [z.real for z in eigenvalues], "time_imag": [z.imag for z in eigenvalues]},
    )
