"""Spectrum of a model's depth dynamics, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nfas_lightning.functional.checks import double_device, to_device
from nfas_lightning.functional.dmd import Centering, Criterion, dmd
from nfas_lightning.functional.state_space import StateSpaceKind
from nfas_lightning.metrics.stimulus_metric import TrajectoryMetric, figure_of
from nfas_lightning.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DepthSpectrum"]


class DepthSpectrum(TrajectoryMetric):
    """DMD spectrum over depth of the whole stimulus set (``operator="joint"``), which needs no response.

    `compute` returns ``distance_to_unit_circle`` (), that of the stable eigenvalue. After it, the dictionary
    `details` holds, in float64 and complex128:

    - ``eigenvalues`` (r,) complex and ``amplitudes`` (r,);
    - ``stable_eigenvalue`` () complex, and ``distance_to_unit_circle`` ();
    - ``weights`` (L,), ``|c_l|`` of the stable mode;
    - ``reconstruction_error`` (), the one-step error, 0 is exact.

    Args:
        svd_rank, centering, criterion: see `nfas_lightning.functional.dmd.dmd`.
        state_space, n_components, seed: what depths of different widths go into, see `StateSpace`.
        kwargs: torchmetrics' own.

    Raises:
        ValueError: a choice is none of its options, or `svd_rank` is out of range.

    Example:
        >>> import torch
        >>> H = torch.randn(20, 6, 8, generator=torch.Generator().manual_seed(0))
        >>> metric = DepthSpectrum(svd_rank=2)
        >>> metric.update(H[:15], torch.arange(15))
        >>> metric.update(H[15:], torch.arange(15, 20))
        >>> metric.compute().shape, metric.details["eigenvalues"].shape
        (torch.Size([]), torch.Size([2]))
    """

    higher_is_better = None

    def __init__(
        self,
        *,
        svd_rank: int | float | None = None,
        centering: Centering = "scale",
        criterion: Criterion = "unit_circle",
        state_space: StateSpaceKind = "auto",
        n_components: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(state_space, n_components, seed, **kwargs)
        # refuses a bad choice now, not at compute, after a whole epoch
        ScoringSettings(svd_rank=svd_rank, centering=centering, criterion=criterion)
        self.svd_rank, self.centering, self.criterion = svd_rank, centering, criterion

    def compute(self) -> Tensor:
        """Decompose the stimuli seen so far; see the class."""
        H, _ = self.trajectories()
        result = dmd(
            H,
            svd_rank=self.svd_rank,
            centering=self.centering,
            criterion=self.criterion,
            device=double_device(self.device),
        )
        values = {
            "eigenvalues": result.eigenvalues,
            "amplitudes": result.amplitudes,
            "stable_eigenvalue": result.stable_eigenvalue,
            "distance_to_unit_circle": result.distance_to_unit_circle,
            "weights": result.coefficients.abs(),
            "reconstruction_error": result.reconstruction_error,
        }
        self.details = {name: to_device(value, self.device) for name, value in values.items()}
        return self.details["distance_to_unit_circle"]

    def plot(
        self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None
    ) -> tuple[Figure, Axes]:
        """Draw the eigenvalues on the complex plane, or values of `compute`.

        Args:
            val: a value of `compute`, or several in the order of their steps, drawn as torchmetrics does;
                None computes and draws the eigenvalues with the unit circle, the stable one filled.
            ax: axes to draw on; None: new ones.
        """
        if val is not None:
            return self._plot(val, ax)  # type: ignore[return-value]  # torchmetrics types it as any axes
        self.compute()
        from matplotlib.patches import Circle

        figure, ax = figure_of(ax)
        points = self.details["eigenvalues"].cpu().numpy()
        chosen = self.details["stable_eigenvalue"].cpu().reshape(-1).numpy()
        ax.add_patch(Circle((0, 0), 1, fill=False, color="0.4"))
        ax.scatter(points.real, points.imag, facecolors="none", edgecolors="C0", label="modes")
        ax.scatter(chosen.real, chosen.imag, color="C0", label="stable mode")
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel("real part")
        ax.set_ylabel("imaginary part")
        ax.legend()
        return figure, ax
