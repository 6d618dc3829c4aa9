"""Time the permutation tests of the space against scikit-bio and scikit-learn, and compare the statistics.

    python benchmarks/permanova.py [--models 45] [--rois 100] [--permutations 9999] [--repeats 5]

scikit-learn has no permutation test of the silhouette: its row is a loop over `silhouette_score`, timed on a
twentieth of the permutations and scaled up. Shown are the best of `--repeats`, in wall-clock and in processor
seconds (all threads; the number to trust on a machine that does other work too). With `--device cuda`, the
default where there is one, ours runs there and the peers on the CPU.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
import skbio
import torch
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permanova as skbio_permanova
from skbio.stats.distance import permdisp as skbio_permdisp
from sklearn.metrics import silhouette_score
from timing import best

from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.silhouette import silhouette


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=45)
    parser.add_argument("--rois", type=int, default=100)
    parser.add_argument("--permutations", type=int, default=9999)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    count, repeats = options.permutations, options.repeats
    labels = np.arange(options.models) % 3
    generator = torch.Generator().manual_seed(0)
    V = torch.randn(options.models, options.rois, generator=generator, dtype=torch.float64)
    V += 0.1 * torch.from_numpy(labels)[:, None]
    D = distances(V)
    matrix, here = DistanceMatrix(D.numpy()), D.to(options.device)  # the peers know the CPU alone

    def loop() -> tuple[float, float]:
        shuffle = np.random.default_rng(0)
        observed = silhouette_score(D.numpy(), labels, metric="precomputed")
        for _ in range(count // 20):
            silhouette_score(D.numpy(), shuffle.permutation(labels), metric="precomputed")
        return observed, float("nan")

    def series(result: Any) -> tuple[float, float]:
        return result["test statistic"], result["p-value"]

    warnings.simplefilter("ignore")  # scikit-bio warns of eigenvalues at rounding level
    rows = [
        (
            "PERMANOVA",
            lambda: permanova(here, labels, n_permutations=count),
            lambda: series(skbio_permanova(matrix, labels, permutations=count)),
            1,
        ),
        (
            "PERMDISP",
            lambda: permdisp(here, labels, n_permutations=count),
            lambda: series(
                skbio_permdisp(matrix, labels, test="centroid", permutations=count, dimensions=len(V))
            ),
            1,
        ),
        ("silhouette", lambda: silhouette(here, labels, n_permutations=count), loop, 20),
    ]
    print(
        f"{options.models} models x {options.rois} ROIs, {count} permutations, {options.threads} threads, "
        f"torch {torch.__version__}, scikit-bio {skbio.__version__}, "
        + (torch.cuda.get_device_name() if here.is_cuda else "CPU")
    )
    head = (
        f"{'test':<11} {'ours wall':>10} {'cpu':>8} {'peer wall':>10} {'cpu':>8} {'x wall':>8} {'x cpu':>7}"
    )
    print(f"{head} {'|F - F|':>9} {'p ours':>8} {'p peer':>8}")
    for name, ours, peer, scale in rows:
        ours()  # warms up
        wall, processor, result = best(ours, repeats)
        peer()
        peer_wall, peer_processor, (statistic, p_value) = best(peer, 1 if scale > 1 else min(repeats, 3))
        peer_wall, peer_processor = scale * peer_wall, scale * peer_processor
        print(
            f"{name:<11} {wall:>9.4f}s {processor:>7.4f}s {peer_wall:>9.3f}s {peer_processor:>7.3f}s "
            f"{peer_wall / wall:>8.0f} {peer_processor / processor:>7.0f} "
            f"{abs(float(result.statistic) - statistic):>9.1e} {float(result.p_value):>8.4f} {p_value:>8.4f}"
        )


if __name__ == "__main__":
    main()
