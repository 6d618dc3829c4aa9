"""What a grouping of models is confounded with: can a test between groups fail?"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pandas as pd

__all__ = ["Design", "design_of"]


class Design(NamedTuple):
    """How groups of models and benchmarks meet.

    Attributes:
        word: ``"crossed"``: each benchmark has models of each group. ``"confounded"``: none has models of two
            groups. ``"partly crossed"``: anything between.
        sentence: what a test between the groups can and cannot show.
    """

    word: Literal["crossed", "partly crossed", "confounded"]
    sentence: str


def design_of(groups: pd.Series[Any], benchmarks: pd.Series[Any]) -> Design:
    """Return the design of M models.

    Args:
        groups: the group of each model; its name is what groups are of.
        benchmarks: the benchmark of each model.

    Example:
        >>> modality = pd.Series(["vision", "audio", "audio"], name="modality")
        >>> design_of(modality, pd.Series(["clips", "story", "story"])).word
        'confounded'
        >>> design_of(modality, pd.Series(["film", "film", "film"])).word
        'crossed'
    """
    met = pd.crosstab(benchmarks.to_numpy(), groups.to_numpy()) > 0
    several = met.sum(axis=1) > 1
    of = str(groups.name)
    if met.to_numpy().all():
        place = "The one benchmark has" if len(met) == 1 else f"Each of the {len(met)} benchmarks has"
        return Design(
            "crossed",
            f"{place} models of every {of}: differences between benchmarks can't produce the result.",
        )
    if not several.any():
        return Design(
            "confounded",
            f"Each benchmark has models of one {of} alone, so the test can't tell a difference between "
            "groups from one between benchmarks. Compare with the untrained networks, or score all models on "
            "the same responses.",
        )
    return Design(
        "partly crossed",
        f"{several.sum()} of {len(met)} benchmarks have models of more than one {of}. Differences between "
        "benchmarks can add to the result; strata='dataset' exchanges models inside benchmarks alone.",
    )
