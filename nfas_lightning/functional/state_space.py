"""One state space for all depths: what makes a trajectory out of layers of different widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import (
    check_finite,
    check_option,
    check_shape,
    double_device,
    seeded_generator,
    working_dtype,
)
from nfas_lightning.functional.depth_gram import has_no_variance
from nfas_lightning.functional.standardization import Scaling

__all__ = ["StateSpace", "StateSpaceKind"]

StateSpaceKind = Literal["auto", "native", "procrustes", "random_projection"]

# Rows or columns raised to float64 at a time.
_BLOCK = 4096
# Principal directions below this share of the largest singular value are the rounding of a Gram.
_ROUNDING = 1e-7
# Default number of components of a layer: its alignment takes an SVD of this size, 0.1 s.
_MOST_COMPONENTS = 320


class _LayerMap(NamedTuple):
    """Affine map of one layer into the state space: (x sketch - mean) @ weight.

    Attributes:
        sketch: sparse (P, D_l) projection, None where the layer is narrow enough.
        mean: (P,) or (D_l,) mean over the training stimuli.
        weight: (P, m) or (D_l, m), principal directions, scale and rotation in one; m <= k: the layer has no
            part in the coordinates that only later layers have.
    """

    sketch: Tensor | None
    mean: Tensor
    weight: Tensor


class StateSpace:
    r"""Carry layers of any widths into one space of k dimensions, so that depth has a trajectory.

    - ``native``: widths are equal (a residual stream); the layers are stacked as they are.
    - ``procrustes``: each layer is centered, scaled to unit Frobenius norm, reduced to its leading principal
      components, and then turned onto the layer before it,

          min_R || Z_l R - T_{l-1} ||_F,  R^T R = 1:  Z_l^T T_{l-1} = P S Q^T,  R = P Q^T,

      so that a coordinate means the same thing at neighboring depths. k is the largest rank of any layer, at
      most `n_components`; layers of a lower rank are padded with zeros, which leaves the solution exact.
      T_{l-1} is the layer before or, in the coordinates that it lacks, the last layer that has them. Rotating
      or permuting the units of a layer changes nothing.
    - ``random_projection``: layers wider than `sketch_width` (unpooled feature maps) are first hashed into
      that many columns, each unit to one column with a random sign; then ``procrustes``. Inner products
      between stimuli are kept up to a relative error of about sqrt(2 / sketch_width).
    - ``auto``: ``native`` for equal widths, else ``procrustes``.

    It is fitted on the training stimuli and applied to any others; it never sees a response.

    Args:
        kind: how layers are brought together.
        n_components: upper bound on k, which never exceeds N - 1 or the widest layer; None: 320. No effect
            on ``native``.
        seed: seed of the random projection.
        sketch_width: columns a wide layer is hashed into by ``random_projection``.

    Attributes:
        kind_: the kind that ``auto`` became.
        n_components_: k.
        widths_: D_l of the fitted layers.
        kept_: (L,) share of each layer's variance over the training stimuli that the space holds.

    Raises:
        ValueError: an argument is out of range.

    Reference:
        Schoenemann, Psychometrika 31 (1966), doi:10.1007/BF02289451 (orthogonal Procrustes); Weinberger et
        al., ICML (2009), doi:10.1145/1553374.1553516 (hashing).

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> layers = [torch.randn(10, width, generator=generator) for width in (6, 4, 5)]
        >>> space = StateSpace().fit(layers)
        >>> space.kind_, space.transform(layers).shape
        ('procrustes', torch.Size([10, 3, 6]))
    """

    kind_: str
    n_components_: int
    widths_: tuple[int, ...]
    kept_: tuple[float, ...]

    def __init__(
        self,
        kind: StateSpaceKind = "auto",
        n_components: int | None = None,
        seed: int = 0,
        sketch_width: int = 4096,
    ) -> None:
        check_option("kind", kind, get_args(StateSpaceKind))
        if n_components is not None and n_components < 1:
            raise InputError(f"n_components must be a positive int or None, got {n_components!r}.")
        if sketch_width < 1:
            raise InputError(f"sketch_width must be a positive int, got {sketch_width!r}.")
        self.kind = kind
        self.n_components = n_components
        self.seed = seed
        self.sketch_width = sketch_width
        self._maps: list[_LayerMap] = []

    def __repr__(self) -> str:
        return (
            f"StateSpace(kind={self.kind!r}, n_components={self.n_components!r}, seed={self.seed!r}, "
            f"sketch_width={self.sketch_width!r})"
        )

    @property
    def scaling_(self) -> Scaling:
        """How `ridge_cv` should scale what comes from here: units each by its own, coordinates by one."""
        return "unit" if self.kind_ == "native" else "common"

    @torch.no_grad()
    def fit(self, states: Sequence[Tensor], device: torch.device | None = None) -> StateSpace:
        """Fit the space on training stimuli.

        Args:
            states: L >= 1 matrices (N, D_l), one per layer in the order of execution, rows in the same order.
            device: that does the work, states going there in parts; None: that of the first layer.

        Returns:
            The space itself.

        Raises:
            ValueError: rows differ in number, values are not finite, ``native`` met different widths, or a
                layer is the same for all stimuli.
        """
        _check_states(states)
        widths = tuple(state.shape[1] for state in states)
        ragged = len(set(widths)) > 1
        kind = self.kind if self.kind != "auto" else "procrustes" if ragged else "native"
        if kind == "native" and ragged:
            listed = ", ".join(f"layer {index}: {width}" for index, width in enumerate(widths))
            raise InputError(
                f"kind='native' needs layers of one width, got {listed}: use kind='procrustes', or record "
                "layers of one width."
            )
        maps, kept = (
            ([], (1.0,) * len(states))
            if kind == "native"
            else self._fit_maps(states, kind, device or states[0].device)
        )
        self.kind_, self.widths_, self._maps, self.kept_ = kind, widths, maps, kept
        self.n_components_ = maps[-1].weight.shape[1] if maps else widths[0]
        return self

    @torch.no_grad()
    def transform(self, states: Sequence[Tensor], device: torch.device | None = None) -> Tensor:
        """Carry stimuli, the training ones or others, into the fitted space.

        Args:
            states: L matrices (N, D_l) with the fitted widths.
            device: see `fit`.

        Returns:
            H (N, L, k) in the working dtype of the states (half precisions become float32), on the device;
            of ``native``, where the layers are.

        Raises:
            RuntimeError: the space is not fitted.
            ValueError: layers or widths differ from the fitted ones.
        """
        if not hasattr(self, "widths_"):
            raise FailureError("This StateSpace is not fitted: call fit with the training stimuli first.")
        _check_states(states)
        widths = tuple(state.shape[1] for state in states)
        if widths != self.widths_:
            raise InputError(
                f"states must have the fitted widths {self.widths_}, got {widths}: record the same layers."
            )
        dtype, places = working_dtype(*states), {state.device for state in states}
        home = places.pop() if len(places) == 1 else torch.device("cpu")
        if not self._maps:
            return torch.stack([state.to(device=home, dtype=dtype) for state in states], dim=1)
        device = device or home
        H = torch.zeros(len(states[0]), len(states), self.n_components_, dtype=dtype, device=device)
        for index, (state, layer) in enumerate(zip(states, self._maps, strict=True)):
            X = _hash_units(state.to(device), layer.sketch).to(layer.weight)
            H[:, index, : layer.weight.shape[1]] = ((X - layer.mean) @ layer.weight).to(H)
        return H

    def fit_transform(self, states: Sequence[Tensor], device: torch.device | None = None) -> Tensor:
        """Fit on the stimuli and return their trajectory (N, L, k)."""
        return self.fit(states, device).transform(states, device)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was fitted as named tensors, none of them sparse; empty for ``native``."""
        tensors = {}
        for index, layer in enumerate(self._maps):
            tensors[f"{index}.mean"], tensors[f"{index}.weight"] = layer.mean, layer.weight
            if layer.sketch is not None:
                tensors[f"{index}.sketch.indices"] = layer.sketch.indices()
                tensors[f"{index}.sketch.values"] = layer.sketch.values()
        return tensors

    @classmethod
    def from_state(
        cls, kind: StateSpaceKind, widths: Sequence[int], n_components: int, tensors: Mapping[str, Tensor]
    ) -> StateSpace:
        """Return a fitted space from `kind_`, `widths_`, `n_components_` and `state_dict` of another."""
        space = cls(kind)
        space.kind_, space.widths_, space.n_components_ = kind, tuple(widths), n_components
        space._maps = []
        for index in range(0 if kind == "native" else len(space.widths_)):
            mean, sketch = tensors[f"{index}.mean"], None
            if f"{index}.sketch.indices" in tensors:
                sketch = torch.sparse_coo_tensor(
                    tensors[f"{index}.sketch.indices"],
                    tensors[f"{index}.sketch.values"],
                    (len(mean), space.widths_[index]),
                    check_invariants=True,
                ).coalesce()
            space._maps.append(_LayerMap(sketch, mean, tensors[f"{index}.weight"]))
        return space

    def _fit_maps(
        self, states: Sequence[Tensor], kind: str, device: torch.device
    ) -> tuple[list[_LayerMap], tuple[float, ...]]:
        """Return an affine map of each layer, and the share of its variance that is kept."""
        n = len(states[0])
        if n < 2:
            raise InputError(f"kind={kind!r} needs at least 2 training stimuli, got {n}.")
        generator = seeded_generator(self.seed)
        sketches = [
            _sketch_matrix(state.shape[1], self.sketch_width, generator)
            if kind == "random_projection" and state.shape[1] > self.sketch_width
            else None
            for state in states
        ]
        k = min(n - 1, self.n_components or _MOST_COMPONENTS)
        maps: list[_LayerMap] = []
        kept: list[float] = []
        target: Tensor | None = None
        for index, (state, sketch) in enumerate(zip(states, sketches, strict=True)):
            X = _hash_units(state.to(device), sketch)
            layer = _layer_components(X, k)
            if layer is None:
                raise InputError(
                    f"Layer {index} is the same for all {n} training stimuli, so it has no direction to "
                    "align: leave it out, or pool it differently."
                )
            turn = _align(layer.scores, layer.scores[:, :0] if target is None else target)
            aligned = layer.scores @ turn
            if target is not None and len(turn) < turn.shape[1]:
                # coordinates that this layer lacks stay those of the last layer that had them
                aligned = aligned + target - target @ turn.T @ turn
            target = aligned
            dtype = working_dtype(state)
            weight = _unit_weights(X, layer, turn).to(dtype)
            maps.append(_LayerMap(sketch, layer.mean.to(dtype), weight))
            kept.append(layer.kept)
        return maps, tuple(kept)


def _check_states(states: Sequence[Tensor] | Tensor) -> None:
    """Raise unless the layers are finite matrices over the same stimuli."""
    if isinstance(states, Tensor) or not len(states):
        raise InputError(
            "states must be a sequence of matrices (N, D_l), one per layer; got "
            + ("one tensor: pass H.unbind(1)." if isinstance(states, Tensor) else "none: record a layer.")
        )
    for index, state in enumerate(states):
        check_shape(f"states[{index}]", state, "N D", N=len(states[0]))
        check_finite(f"states[{index}]", state)


class _Components(NamedTuple):
    """Principal components of a layer at unit Frobenius norm, d of them: its rank, or what was asked for.

    Attributes:
        scores: (N, d) float64.
        mean: (D,) float64.
        basis: (D, d), directions over units, or (N, d), over stimuli, if the layer has more units than
            stimuli.
        kept: share of the layer's variance that the scores hold, in (0, 1].
    """

    scores: Tensor
    mean: Tensor
    basis: Tensor
    kept: float


def _layer_components(X: Tensor, k: int) -> _Components | None:
    """Return the leading components of a layer (N, D), k at most; None if it does not vary over stimuli.

    From the smaller Gram, N x N or D x D, summed in float64 over blocks: a wide layer is never copied.
    """
    n, width = X.shape
    device = double_device(X.device)
    mean = torch.cat([X[:, part].to(device).double().mean(dim=0) for part in _blocks(width)])
    wide = width > n
    gram = torch.zeros(min(n, width), min(n, width), dtype=torch.float64, device=device)
    for part in _blocks(max(n, width)):
        Z = X[:, part].to(device) - mean[part] if wide else (X[part].to(device) - mean).T
        gram += Z @ Z.T
    power = gram.trace()
    if bool(has_no_variance(power, power + n * mean.square().sum())):
        return None
    squares, vectors = torch.linalg.eigh(gram)
    s = squares.clamp(min=0).sqrt().flip(0)[:k]
    s = s[s > _ROUNDING * s[0]]
    vectors, kept = vectors.flip(1)[:, : len(s)], float(s.square().sum() / power)
    if wide:
        return _Components(vectors * s / power.sqrt(), mean, vectors / s / power.sqrt(), kept)
    basis = vectors / power.sqrt()
    scores = torch.cat([(X[part].to(device) - mean) @ basis for part in _blocks(n)])
    return _Components(scores, mean, basis, kept)


def _unit_weights(X: Tensor, layer: _Components, turn: Tensor) -> Tensor:
    """Return (D, k) weights over units that give the turned scores of a centered layer."""
    basis = layer.basis @ turn
    n, width = X.shape
    if width <= n:
        return basis
    mean = layer.mean
    return torch.cat([(X[:, part].to(mean.device) - mean[part]).T @ basis for part in _blocks(width)])


def _align(scores: Tensor, target: Tensor) -> Tensor:
    """Return the turn (d, max(d, m)) that brings `scores` (N, d) nearest to `target` (N, m).

    Orthogonal Procrustes in max(d, m) dimensions, the narrower of the two padded with zeros, which leaves the
    solution exact. A layer's d - m directions beyond the target's may lie anywhere in the new dimensions:
    they become their own principal components there, the largest score of each positive, so that the layer's
    axes have no influence.
    """
    d, m = scores.shape[1], target.shape[1]
    P, _, Qh = torch.linalg.svd(scores.T @ target, full_matrices=d > m)
    turn: Tensor = P[:, :m] @ Qh
    if d <= m:
        return turn
    own = scores @ P[:, m:]
    axes = torch.linalg.eigh(own.T @ own)[1].flip(1)
    own = own @ axes
    peak = own.gather(0, own.abs().argmax(dim=0, keepdim=True))
    return torch.cat([turn, P[:, m:] @ axes * torch.where(peak < 0, -1, 1)], dim=1)


def _blocks(length: int) -> list[slice]:
    """Cut an axis into slices that are small in float64."""
    return [slice(start, start + _BLOCK) for start in range(0, length, _BLOCK)]


def _sketch_matrix(width: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a sparse (columns, width) matrix with one +-1 per unit: memory grows with the width alone."""
    bucket = torch.randint(columns, (width,), generator=generator)
    sign = torch.randint(2, (width,), generator=generator).float() * 2 - 1
    indices = torch.stack([bucket, torch.arange(width)])
    return torch.sparse_coo_tensor(indices, sign, (columns, width), check_invariants=True).coalesce()


def _hash_units(state: Tensor, sketch: Tensor | None) -> Tensor:
    """Return the state, or its (N, P) projection, block by block of stimuli."""
    if sketch is None:
        return state
    sketch = sketch.to(device=state.device, dtype=working_dtype(state))
    rows = max(1, 2**24 // state.shape[1])
    starts = range(0, len(state), rows)
    projected: list[Tensor] = [
        torch.sparse.mm(sketch, state[i : i + rows].to(sketch.dtype).T).T for i in starts
    ]
    return torch.cat(projected)
