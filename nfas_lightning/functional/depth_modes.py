"""What a decomposition returns, and how its weights over depth are applied to stimuli."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option, check_shape, is_constant, working_dtype
from nfas_lightning.functional.depth_gram import Centering, chunks, standardize_depths
from nfas_lightning.functional.gram_spectrum import Criterion

__all__ = ["DMDResult", "Operator", "Phase", "center_depths", "combine_depths"]

Operator = Literal["joint", "per_stimulus", "pooled"]
Phase = Literal["quadrature", "real"]


@dataclass(frozen=True)
class DMDResult:
    """Spectrum of a depth trajectory and the weights that turn depths into modes.

    Spectra are float64 or complex128 on the device of the trajectory (the CPU where it has no float64).
    Shapes without N belong to `joint` and `pooled`, those with N to `per_stimulus`.

    Attributes:
        operator, centering, criterion: as given to `dmd`.
        svd_rank: directions kept; the most of any stimulus for `per_stimulus`.
        eigenvalues: (r,) or (N, r). Conjugates are neighbors, the positive imaginary part first. A stimulus
            with fewer directions than others has zeros at the end.
        amplitudes: (r,) or (N, r), norm of b_j phi_j, the mode's part of the first snapshot; for `pooled` the
            root mean square coordinate over stimuli.
        mode_coefficients: (r, L) or (N, r, L): b_j phi_j = sum_l c_jl x_l over the centered snapshots.
        stable_index: () or (N,), the stable mode's position.
        reconstruction_error: () or (N,), one-step error ||Y - A X|| / ||Y||, 0 is exact.
        mean: (L, D) subtracted from each depth, None for `none`.
        scale: (L, 1) or (L, D) that each centered depth was divided by, None for `none` and `center`.
        jump_rate: share of stimuli whose stable mode is not the one the others chose, for `per_stimulus`.
        left_vectors: (D, r) left eigenvectors of `pooled`, None otherwise.
        dead: depths at which all stimuli have the same state; where there are any, the result is NaN.
    """

    operator: Operator
    centering: Centering
    criterion: Criterion
    svd_rank: int
    eigenvalues: Tensor
    amplitudes: Tensor
    mode_coefficients: Tensor
    stable_index: Tensor
    reconstruction_error: Tensor
    mean: Tensor | None
    scale: Tensor | None
    jump_rate: float | None = None
    left_vectors: Tensor | None = None
    dead: tuple[int, ...] = ()

    @property
    def coefficients(self) -> Tensor:
        """(L,) or (N, L) complex weights over depth of the stable mode."""
        depth = self.mode_coefficients.shape[-1]
        index = self.stable_index[..., None, None].expand(*self.stable_index.shape, 1, depth)
        return self.mode_coefficients.gather(-2, index).squeeze(-2)

    @property
    def stable_eigenvalue(self) -> Tensor:
        """() or (N,) complex eigenvalue of the stable mode."""
        return self.eigenvalues.gather(-1, self.stable_index[..., None]).squeeze(-1)

    @property
    def distance_to_unit_circle(self) -> Tensor:
        """() or (N,) distance of the stable eigenvalue to the unit circle."""
        return (self.stable_eigenvalue.abs() - 1).abs()

    @property
    def is_pair(self) -> Tensor:
        """() or (N,) booleans: the stable mode is a conjugate pair, with two quadratures."""
        return self.stable_eigenvalue.imag > 0


@torch.no_grad()
def center_depths(H: Tensor, result: DMDResult, device: torch.device | None = None) -> Tensor:
    """Return the centered trajectory that the modes are combined from, Z = (H - mean) / scale.

    Features to compare with the stable mode, such as the last block Z[:, -1] or the mean over depth, are read
    from it, so that all of them are treated alike.

    Args:
        H: (N, L, D) depth trajectory, of the fitted stimuli or of others.
        result: what `dmd` returned.
        device: that does the work, see `dmd`.

    Returns:
        (N, L, D) in the working dtype of `H`, where `H` is. A unit that does not vary over these stimuli is 0
        where a mean is subtracted: what is left of it is rounding, which must not be scaled up.

    Raises:
        ValueError: the shape is not the one that was fitted.
    """
    _check_trajectory(H, result)
    Z = torch.empty_like(H, dtype=working_dtype(H))
    size = spread = torch.zeros(H.shape[1:], dtype=Z.dtype, device=H.device)
    buffer: Tensor | None = None
    for part in chunks(H, device):
        moved = buffer = standardize_depths(H[part], result.mean, result.scale, device, out=buffer)
        Z[part] = moved.to(device=H.device, dtype=Z.dtype)
        size = torch.maximum(size, H[part].abs().amax(0).to(Z.dtype))
    if result.mean is None or not len(H):
        return Z
    scale = torch.ones_like(size) if result.scale is None else result.scale.to(size)
    for part in chunks(Z):
        spread = torch.maximum(spread, Z[part].abs().amax(0))
    still = is_constant(spread * scale, size, Z.dtype)
    return Z.masked_fill_(still, 0)


def _check_trajectory(H: Tensor, result: DMDResult) -> None:
    """Raise unless (N, L, D) has the fitted depths and width."""
    fitted = result.mean.T if result.mean is not None else result.left_vectors  # either has D rows
    sizes = {} if fitted is None else {"D": len(fitted)}
    check_shape("H", H, "N L D", L=result.mode_coefficients.shape[-1], **sizes)


@torch.no_grad()
def combine_depths(
    H: Tensor,
    result: DMDResult,
    *,
    phase: Phase = "quadrature",
    centered: bool = False,
    device: torch.device | None = None,
) -> Tensor:
    """Apply fitted weights over depth to stimuli, the same or new ones.

    f_n = sum_l c_l (H_nl - mean_l) / scale_l, with mean, scale and c of the fitted stimuli. No response is
    involved, so the weights may come from all stimuli while an encoding model is cross-validated.

    Args:
        H: (N, L, D) depth trajectory. For ``per_stimulus``, whose weights belong to stimuli, the fitted one.
        result: what `dmd` returned.
        phase: a conjugate pair gives ``"quadrature"``: Re(b phi) and Im(b phi) side by side, or ``"real"``:
            2 Re(b phi), the sum of the two conjugate modes.
        centered: `H` is what `center_depths` returned.
        device: that does the work, see `dmd`.

    Returns:
        (N, 2 D) for a pair with ``"quadrature"``, else (N, D), in the working dtype of `H`, on that device.
        ``per_stimulus``: (N, 2 D) as soon as one stimulus has a pair; the imaginary half of a real mode is
        zero. ``pooled``: one mode would give one number per stimulus, so the coordinates on *all* modes:
        (N, r) with ``"quadrature"`` (real and imaginary part of each pair), with ``"real"`` one column per
        mode.

    Raises:
        ValueError: the shape is not the one that was fitted.
    """
    check_option("phase", phase, get_args(Phase))
    _check_trajectory(H, result)
    if centered:
        result = replace(result, mean=None, scale=None)
    weights = result.mode_coefficients if result.operator == "pooled" else result.coefficients[..., None, :]
    if result.operator == "per_stimulus" and len(H) != len(weights):
        raise InputError(
            f"operator='per_stimulus' has weights for each of the {len(weights)} fitted stimuli, got "
            f"{len(H)} stimuli: call dmd on these, or use operator='joint'."
        )
    dtype, device = working_dtype(H), device or H.device
    if result.left_vectors is not None:
        return _pooled_coordinates(H, result, phase, device).to(device=device, dtype=dtype)
    pair = result.is_pair
    both = bool(pair.any())
    if phase == "real":
        weights = weights * torch.where(pair, 2, 1)[..., None, None]
    real = torch.cat([weights.real, weights.imag], dim=-2) if both and phase == "quadrature" else weights.real
    features = torch.empty(len(H), real.shape[-2], H.shape[2], dtype=dtype, device=device)
    buffer: Tensor | None = None
    for part in chunks(H, device):
        Z = buffer = standardize_depths(H[part], result.mean, result.scale, device, out=buffer)
        features[part] = torch.matmul(real[part] if real.ndim == 3 else real, Z).to(
            device=device, dtype=dtype
        )
    return features.flatten(1)


def _pooled_coordinates(H: Tensor, result: DMDResult, phase: Phase, device: torch.device) -> Tensor:
    """Return coordinates on every pooled mode: real parts and, in quadrature, a pair's imaginary part."""
    assert result.left_vectors is not None
    weights, left = result.mode_coefficients, result.left_vectors
    coordinates = torch.cat(
        [
            torch.einsum(
                "nld,dj,jl->nj",
                standardize_depths(H[part], result.mean, result.scale, device).to(left.dtype),
                left,
                weights,
            )
            for part in chunks(H, device)
        ]
    )
    columns = []
    for j, eigenvalue in enumerate(result.eigenvalues.tolist()):
        if eigenvalue.imag < 0:
            continue  # the conjugate of the column before
        pair = eigenvalue.imag > 0
        columns.append(coordinates[:, j].real * (2 if pair and phase == "real" else 1))
        if pair and phase == "quadrature":
            columns.append(coordinates[:, j].imag)
    return torch.stack(columns, dim=1)
