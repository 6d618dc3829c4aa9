"""The figures of a space, for notebooks: each takes an axis, or makes a figure of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from nfas_lightning.results import SpaceStatistics
from nfas_lightning.space.measures import SpaceMeasures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SpaceFigures"]


class SpaceFigures(SpaceMeasures, ABC):
    """What `NFAS` draws. Figures load matplotlib, and so are imported when one is asked for.

    They are marked as drawn from planted responses where the models table has a column ``simulated`` that
    says so. On the caller's `ax` everything stays on these axes; `title` takes the place of the usual one
    (``""``: none), `colors` that of the usual colors, by group. All return the matplotlib figure.
    """

    @abstractmethod
    def statistics(
        self, group_by: str = "modality", *, n_permutations: int = 9999, seed: int = 0, stability: bool = True
    ) -> SpaceStatistics:
        """See `NFAS.statistics`."""

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the models on the first two principal components; see `nfas_lightning.plotting`."""
        return self.plot_pca(ax)

    def plot_pca(
        self,
        ax: Axes | None = None,
        *,
        group_by: str = "modality",
        labels: bool = True,
        title: str | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> Figure:
        """Draw the models on the first two principal components, with the tests of clusters."""
        from nfas_lightning.plotting.space import plot_space  # figures load matplotlib

        return plot_space(self._quick(group_by), labels=labels, **self._look(ax, title, colors))

    def plot_mds(
        self,
        ax: Axes | None = None,
        *,
        group_by: str = "modality",
        labels: bool = True,
        title: str | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> Figure:
        """Draw the models by classical scaling; by correlation where the space's metric is euclidean."""
        from nfas_lightning.plotting.space import plot_space

        statistics = self._quick(group_by)
        return plot_space(statistics, projection="MDS", labels=labels, **self._look(ax, title, colors))

    def plot_snci(
        self,
        ax: Axes | None = None,
        *,
        group_by: str = "modality",
        title: str | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> Figure:
        """Draw SNCI by network and group: on `ax` the bounded form, else both forms."""
        from nfas_lightning.plotting.agreement import plot_snci

        return plot_snci(self._quick(group_by), **self._look(ax, title, colors))

    def plot_convergence(
        self, ax: Axes | None = None, *, group_by: str = "modality", title: str | None = None
    ) -> Figure:
        """Draw the convergence of every ROI by network."""
        from nfas_lightning.plotting.agreement import plot_convergence

        return plot_convergence(self._quick(group_by), ax=ax, title=title, simulated=self._simulated)

    def plot_networks(
        self,
        ax: Axes | None = None,
        *,
        title: str | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> Figure:
        """Draw the mean score of every model in every network as a heat map."""
        from nfas_lightning.plotting.space import plot_networks

        return plot_networks(self._long(), value=self.value, **self._look(ax, title, colors))

    def plot_sizes(
        self,
        ax: Axes | None = None,
        *,
        labels: bool = True,
        title: str | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> Figure:
        """Draw the mean score of every model against its parameters.

        Raises:
            ValueError: the models table says nothing of parameters.
        """
        from nfas_lightning.plotting.models import has_sizes, plot_sizes

        if not has_sizes(self.models):
            raise ValueError(
                "The models table must have a column 'parameters' with several values, got "
                f"{list(self.models)}: build the space with NFAS.from_runs, which reads the cards."
            )
        look = self._look(ax, title, colors)
        return plot_sizes(self._long(), self.models, value=self.value, labels=labels, **look)

    def _look(self, ax: Axes | None, title: str | None, colors: Mapping[str, str] | None) -> dict[str, Any]:
        return {"ax": ax, "title": title, "colors": colors, "simulated": self._simulated}

    def _quick(self, group_by: str) -> SpaceStatistics:
        return self.statistics(group_by, stability=False)

    @property
    def _simulated(self) -> bool:
        return "simulated" in self.models and bool(self.models["simulated"].any())

    def _long(self) -> pd.DataFrame:
        """One row a model and ROI: ``model``, ``modality``, ``roi``, ``network`` and the score."""
        rois = self.rois[["roi"]].assign(network=self.rois.get("network"))
        models = zip(self.models["model"], self.models["modality"], self.scores.numpy(), strict=True)
        return pd.concat(
            [rois.assign(model=name, modality=of, **{self.value: scores}) for name, of, scores in models],
            ignore_index=True,
        )
