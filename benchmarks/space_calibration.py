"""Check the p values and intervals of the space: how often they reject, and cover, where they should not.

    python benchmarks/space_calibration.py [--sets 1000] [--permutations 199] [--rois 20]

Null data sets of models that differ in nothing but noise, for several group sizes. The last two columns are
PERMDISP where groups have equal spread but sit apart: ours, and scikit-bio's, which shuffles the models
themselves. Below: coverage of the SNCI interval, and of two ways of resampling the models, by the scores'
distribution.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permdisp as skbio_permdisp
from torch import Tensor

from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.silhouette import silhouette
from nfas_lightning.functional.snci import snci_bootstrap, snci_permutation

SIZES = ((15, 15, 15), (6, 6, 6), (4, 4, 4), (4, 6, 15), (3, 20))
DRAWS: dict[str, Callable[..., Tensor]] = {
    "normal, SNCI 1": lambda *shape, **g: 1 + torch.randn(*shape, **g),
    "normal, SNCI 3": lambda *shape, **g: 3 + torch.randn(*shape, **g),
    "normal, SNCI 8": lambda *shape, **g: 8 + torch.randn(*shape, **g),
    "uniform": lambda *shape, **g: torch.rand(*shape, **g),
    "r2, r .3 (.1)": lambda *shape, **g: (0.3 + 0.1 * torch.randn(*shape, **g)).clamp(min=0) ** 2,
    "log-normal .5": lambda *shape, **g: (0.5 * torch.randn(*shape, **g)).exp(),
}


def rejections(sizes: tuple[int, ...], options: argparse.Namespace) -> dict[str, float]:
    """Share of null data sets that each test calls significant at 5 %."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    draws = {"n_permutations": options.permutations}
    p: dict[str, list[float]] = {}

    def add(name: str, value: Tensor | float) -> None:
        p.setdefault(name, []).extend(torch.as_tensor(value).reshape(-1).tolist())

    for seed in range(options.sets):
        V = torch.randn(len(codes), options.rois, generator=generator, dtype=torch.float64)
        D = distances(V)
        add("PERMANOVA", permanova(D, codes, seed=seed, **draws).p_value)
        add("silhouette", silhouette(D, codes, seed=seed, **draws).p_value)
        add("ANOVA", anova(V[:, :1], codes).p_value)
        add("SNCI", snci_permutation(3 + V[:, :1], codes, seed=seed, **draws))
        add("PERMDISP", permdisp(D, codes, seed=seed, **draws).p_value)
        apart = distances(V + 3 * codes[:, None])
        add("apart", permdisp(apart, codes, seed=seed, **draws).p_value)
        if seed < options.sets // 4:  # a hundred times slower
            matrix = DistanceMatrix(apart.numpy())
            peer = skbio_permdisp(
                matrix, codes.numpy(), test="centroid", permutations=99, dimensions=len(V), seed=seed
            )
            add("scikit-bio", peer["p-value"])
    return {name: float(np.mean(np.array(values) <= 0.05 + 1e-9)) for name, values in p.items()}


def resampled(
    scores: Tensor, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Percentile and studentised bootstrap limits (R,) of mean / std over resampled models (n, R)."""
    n = len(scores)
    rows = torch.randint(n, (599, n), generator=generator)

    def ratio_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = values.mean(-2, keepdim=True), values.std(-2, keepdim=True)
        z, ratio = (values - mean) / std, (mean / std).squeeze(-2)
        influence = z - ratio.unsqueeze(-2) / 2 * (z**2 - (n - 1) / n)
        return ratio, (influence**2).sum(-2).div(n * (n - 1)).sqrt()

    ratio, error = ratio_and_error(scores)
    again, its_error = ratio_and_error(scores[rows])
    at = torch.tensor([0.025, 0.975], dtype=scores.dtype)
    percentile = again.masked_fill(again.isinf(), float("nan")).nanquantile(at, dim=0)
    t = (again - ratio) / its_error
    low, high = t.masked_fill(~t.isfinite(), float("nan")).nanquantile(at, dim=0)
    return (percentile[0], percentile[1]), (ratio - high * error, ratio - low * error)


def coverage(draw: Callable[..., Tensor], n: int, sets: int) -> tuple[float, ...]:
    """Share of data sets whose 95 % intervals hold the true SNCI: ours, studentised, percentile."""
    generator = torch.Generator().manual_seed(1)
    many = draw(2_000_000, generator=generator, dtype=torch.float64)
    truth = many.mean() / many.std()
    scores = draw(n, sets, generator=generator, dtype=torch.float64)
    percentile, studentised = resampled(scores, generator)
    ours = snci_bootstrap(scores, ["m"] * n)
    intervals = ((ours.low[0], ours.high[0]), studentised, percentile)
    return tuple(float(((low <= truth) & (truth <= high)).double().mean()) for low, high in intervals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--rois", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)  # thousands of tiny problems
    warnings.simplefilter("ignore")

    error = (0.05 * 0.95 / options.sets) ** 0.5
    print(f"share of {options.sets} null data sets with p <= .05 (standard error {error:.3f})")
    names = ("PERMANOVA", "silhouette", "ANOVA", "SNCI", "PERMDISP", "apart", "scikit-bio")
    print(f"{'models':<12}" + "".join(f"{name:>12}" for name in names), flush=True)
    for sizes in SIZES:
        found = rejections(sizes, options)
        print(
            f"{'+'.join(map(str, sizes)):<12}" + "".join(f"{found[name]:>12.3f}" for name in names),
            flush=True,
        )

    print(f"\ncoverage of 95 % SNCI intervals over {4 * options.sets} data sets")
    print(f"{'scores':<16}{'models':>8}{'ours':>8}{'student.':>10}{'percent.':>10}", flush=True)
    for name, draw in DRAWS.items():
        for n in (4, 8, 15):
            ours, studentised, percentile = coverage(draw, n, 4 * options.sets)
            print(f"{name:<16}{n:>8}{ours:>8.3f}{studentised:>10.3f}{percentile:>10.3f}", flush=True)


if __name__ == "__main__":
    main()
