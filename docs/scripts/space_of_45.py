"""Pictures of a space of 45 models whose scores are synthetic: what the figures look like at that scale.

Run: python docs/scripts/space_of_45.py [folder]   (docs/img where none is given)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests' maker of results is no part of the package

from nfas_lightning import NFAS
from nfas_lightning.plotting import draw_figures, save_figure
from tests.helpers.results import make_zoo

SHOWN = (
    "space", "mds", "networks", "sizes", "families", "stability", "snci", "map_anova", "map_snci",
    "map_convergence",
)  # fmt: skip


def main(folder: Path) -> None:
    """Draw the figures that the gallery shows, under the names that a report gives them."""
    results = make_zoo(n_rois=300)
    statistics = NFAS.from_scores(results).statistics()
    for name, _, draw in draw_figures(results, statistics, simulated=True):
        if name in SHOWN:
            print(save_figure(draw(), folder / f"zoo_{name}.png", dpi=100))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "img")
