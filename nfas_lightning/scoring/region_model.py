"""A fitted encoding model of regions: from a network's states to responses, kept in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.dmd import DMDResult, Phase, combine_depths
from nfas_lightning.functional.ridge_model import RidgeModel
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.scoring.encoder import Encoder
from nfas_lightning.writing import write_whole

__all__ = ["RegionModel", "fit_region_model"]

_FORMAT = 1


@dataclass(frozen=True)
class RegionModel:
    """The stable mode's encoding model, fitted to all volumes of a benchmark: it predicts new stimuli.

    How well it predicts is what the cross-validated scores beside it tell.

    Attributes:
        model, dataset: names of the network and of the benchmark.
        layer_names: L recorded blocks, in the order of execution.
        rois: R names, the order of the predictions.
        space: fitted state space.
        dynamics: fitted weights over depth.
        phase: see `combine_depths`.
        center: (P,) mean of the features over the benchmark's stimuli.
        ridge: features on the responses' clock to responses.
        n_delays: operators of the benchmark's design; 0: one response per stimulus.
        nuisance_names: Q names, in the order of `RidgeModel.nuisance_weights`.
    """

    model: str
    dataset: str
    layer_names: tuple[str, ...]
    rois: tuple[str, ...]
    space: StateSpace
    dynamics: DMDResult
    phase: Phase
    center: Tensor
    ridge: RidgeModel
    n_delays: int = 0
    nuisance_names: tuple[str, ...] = ()

    def features(self, states: Sequence[Tensor]) -> Tensor:
        """Return the stable mode of new stimuli, centered as the benchmark's: (N, P).

        Args:
            states: L matrices (N, D_l), of the blocks `layer_names`, e.g. `Trajectory.states`.

        Raises:
            ValueError: other widths than the fitted ones.
        """
        features = combine_depths(self.space.transform(states), self.dynamics, phase=self.phase)
        return features - self.center.to(features)

    def predict(
        self,
        states: Sequence[Tensor],
        *,
        design: Sequence[Tensor] = (),
        nuisances: Tensor | None = None,
    ) -> Tensor:
        """Predict the responses to new stimuli.

        Args:
            states: L matrices (N, D_l), of the blocks `layer_names`.
            design: (T, N) operators that carry the stimuli to volumes, as many as the benchmark had delays
                (`Responses.design`, or `volume_design`); empty: one response per stimulus.
            nuisances: (T, Q) the benchmark's nuisances for these volumes; None: they stay at their means.

        Returns:
            (T, R), or (N, R) without a design, in the units of the benchmark's responses. Where the benchmark
            took drifts off its responses, these keep what is slow in the features: take the same drifts off
            them (`nfas_lightning.functional.regress_out`) before comparing them with such responses.

        Raises:
            ValueError: other widths, another number of operators, or shapes that disagree.
        """
        features = self.features(states)
        if len(design) != self.n_delays:
            wanted = f"{self.n_delays} operators, one per delay" if self.n_delays else "nothing"
            raise InputError(
                f"design must hold {wanted}, as that of {self.dataset!r} did, got {len(design)} operators."
            )
        if design:
            for operator in design:
                check_shape("design", operator, "T N", N=len(features))
            features = torch.cat([operator.to(features) @ features for operator in design], dim=1)
        return self.ridge.predict(features, nuisances)

    def save(self, path: str | Path) -> None:
        """Write everything into one safetensors file, whole or not at all."""
        tensors = {
            "center": self.center,
            **{f"space.{name}": value for name, value in self.space.state_dict().items()},
            **_tensors_of("dynamics", self.dynamics),
            **_tensors_of("ridge", self.ridge),
        }
        plain = {
            "format": _FORMAT,
            **{
                name: getattr(self, name)
                for name in ("model", "dataset", "layer_names", "rois", "phase", "n_delays", "nuisance_names")
            },
            "space": {
                "kind": self.space.kind_,
                "widths": self.space.widths_,
                "n_components": self.space.n_components_,
            },
            "dynamics": _plain_of(self.dynamics),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {"region_model": json.dumps(plain)}
        write_whole(Path(path), lambda staging: save_file(tensors, staging, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> RegionModel:
        """Read a model back; nothing in the file is run.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no such file, or damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                plain = json.loads((file.metadata() or {})["region_model"])
                # copies: what lies in the file begins at any 8 bytes, and complex numbers need 16
                names = file.keys()
                tensors = {name: file.get_tensor(name).clone() for name in names}
            if plain["format"] != _FORMAT:
                raise InputError(f"format {plain['format']}, this version reads {_FORMAT}")
            return cls(
                model=plain["model"],
                dataset=plain["dataset"],
                layer_names=tuple(plain["layer_names"]),
                rois=tuple(plain["rois"]),
                space=StateSpace.from_state(**plain["space"], tensors=_below("space", tensors)),
                dynamics=DMDResult(**_fields(plain["dynamics"], _below("dynamics", tensors))),
                phase=plain["phase"],
                center=tensors["center"],
                ridge=RidgeModel(**_fields({}, _below("ridge", tensors))),
                n_delays=int(plain["n_delays"]),
                nuisance_names=tuple(plain["nuisance_names"]),
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} must be a region model that RegionModel.save wrote, but can't be read "
                f"({type(error).__name__}: {error})."
            ) from error


def fit_region_model(
    encoder: Encoder,
    *,
    space: StateSpace,
    dynamics: DMDResult,
    features: Tensor,
    phase: Phase,
    model: str,
    layer_names: Sequence[str],
) -> RegionModel:
    """Fit the stable mode's features to the group's responses, on all volumes.

    Args:
        encoder: the benchmark's regression.
        space: fitted to the presented stimuli.
        dynamics: fitted to the presented stimuli.
        features: (N, P) stable mode of the presented stimuli, before it is centered over them.
        phase: that the features were made with.
        model: name of the network.
        layer_names: of the recorded blocks.

    Raises:
        ValueError: ``operator="per_stimulus"``, whose weights belong to the stimuli that were shown.
    """
    if dynamics.operator == "per_stimulus":
        raise InputError(
            'operator="per_stimulus" has weights for the stimuli that were shown, and none for new ones: '
            'keep the encoding model of operator="joint" or "pooled".'
        )
    responses = encoder.responses
    shares = responses.weights[responses.presented].to(features.device)
    center = (shares @ features.double()).to(features)
    scaling = "unit" if dynamics.operator == "pooled" else space.scaling_
    return RegionModel(
        model=model,
        dataset=responses.dataset,
        layer_names=tuple(layer_names),
        rois=tuple(responses.rois["roi"]),
        space=space,
        dynamics=replace(dynamics, dead=()),
        phase=phase,
        center=center,
        ridge=encoder.model(encoder.to_volumes(features), responses.group_mean, scaling=scaling),
        n_delays=len(responses.design),
        nuisance_names=responses.nuisance_names,
    )


def _tensors_of(prefix: str, holder: Any) -> dict[str, Tensor]:
    """Return the tensors among a dataclass's fields; complex ones as pairs of real numbers."""
    tensors = {}
    for field in fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, Tensor):
            pair = value.is_complex()
            name = f"{prefix}.{field.name}{'.complex' if pair else ''}"
            tensors[name] = torch.view_as_real(value.resolve_conj()) if pair else value
    return tensors


def _plain_of(holder: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(holder).items() if not isinstance(value, Tensor)}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _fields(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Put the fields of a dataclass together again."""
    whole: dict[str, Any] = {**plain}
    for name, value in tensors.items():
        bare = name.removesuffix(".complex")
        whole[bare] = torch.view_as_complex(value) if bare != name else value
    if "dead" in whole:
        whole["dead"] = tuple(whole["dead"])
    return whole
