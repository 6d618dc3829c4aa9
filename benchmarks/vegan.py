"""Compare the tests of the space with R's vegan on the examples of vegan's own help pages.

    apt-get install --no-install-recommends r-cran-vegan
    python benchmarks/vegan.py [--permutations 9999]

R computes each example with vegan and hands over its distances, groups and strata; ours gets the same
numbers. Statistics must agree to rounding, p values to the noise of random permutations; where vegan goes
through all permutations, its p is exact. vegan is GPL, so neither it nor its data are part of this project.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from typing import Any

import torch

from nfas_lightning.functional.anova import anova
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp

R = """
suppressMessages(library(vegan)); set.seed(1)
show <- function(name, test, D, groups, strata, F, p, values = NULL) {
  list_of <- function(x, form) {
    if (is.null(x)) "null" else paste0("[", paste(sprintf(form, x), collapse = ","), "]")
  }
  cat(sprintf('{"name":"%s","test":"%s","F":%.17g,"p":%.17g,', name, test, F, p),
      sprintf('"distances":%s,"groups":%s,', list_of(as.matrix(D), "%.17g"), list_of(groups, '"%s"')),
      sprintf('"strata":%s,"values":%s}\\n', list_of(strata, '"%s"'), list_of(values, "%.17g")))
}
blocked <- function(strata, ...) { plan <- how(...); if (!is.null(strata)) setBlocks(plan) <- strata; plan }
adonis <- function(name, D, groups, strata, plan, test = "PERMANOVA", values = NULL) {
  found <- adonis2(D ~ groups, permutations = plan)
  show(name, test, D, groups, strata, found$F[1], found$`Pr(>F)`[1], values)
}
spread <- function(name, D, groups) {
  found <- permutest(betadisper(D, groups, type = "centroid"), permutations = N)$tab
  show(name, "PERMDISP", D, groups, NULL, found$F[1], found$`Pr(>F)`[1])
}
data(dune); data(dune.env); data(varespec)
D <- vegdist(dune)
adonis("dune ~ Management", D, dune.env$Management, NULL, N)
adonis("dune ~ Use", D, dune.env$Use, NULL, N)
inside <- blocked(dune.env$Management, nperm = N)
adonis("dune ~ Use in Management", D, dune.env$Use, dune.env$Management, inside)
# the nested design of ?adonis2: NO3 in three fields; every permutation inside fields
dat <- expand.grid(rep = gl(2, 1), NO3 = factor(c(0, 10)), field = gl(3, 1))
Agropyron <- with(dat, as.numeric(field) + as.numeric(NO3) + 2) + rnorm(12) / 2
Schizachyrium <- with(dat, as.numeric(field) - as.numeric(NO3) + 2) + rnorm(12) / 2
D <- dist(cbind(Agropyron, Schizachyrium))
every <- blocked(dat$field, complete = TRUE, maxperm = 1e5)
adonis("NO3", D, dat$NO3, NULL, N)
adonis("NO3 in fields, all", D, dat$NO3, dat$field, every)
# one species alone: the F of an analysis of variance
adonis("Agropyron in fields, all", dist(Agropyron), dat$NO3, dat$field, every, "ANOVA", Agropyron)
# ?betadisper; square roots of Bray-Curtis distances fit a Euclidean space, so no direction is negative
spread("varespec, grazing", sqrt(vegdist(varespec)), factor(rep(c("grazed", "ungrazed"), c(16, 8))))
spread("dune, Management", dist(decostand(dune, "hellinger")), dune.env$Management)
"""


def vegan(n_permutations: int) -> list[dict[str, Any]]:
    """Return the examples as vegan computes them: distances, groups, strata, F and p."""
    script = f"N <- {n_permutations}\n{R}"
    found = subprocess.run(["Rscript", "-e", script], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in found.splitlines() if line.startswith("{")]


def ours(example: dict[str, Any], n_permutations: int) -> tuple[float, float]:
    """Return F and p of our test of the same name."""
    groups, strata = example["groups"], example["strata"]
    D = torch.tensor(example["distances"], dtype=torch.float64).view(len(groups), -1)
    if example["test"] == "PERMANOVA":
        result = permanova(D, groups, strata=strata, n_permutations=n_permutations)
        return float(result.statistic), float(result.p_value)
    if example["test"] == "PERMDISP":
        spread = permdisp(D, groups, n_permutations=n_permutations)
        return float(spread.statistic), float(spread.p_value)
    values = torch.tensor(example["values"], dtype=torch.float64)[:, None]
    tested = anova(values, groups, strata=strata, n_permutations=n_permutations)
    return float(tested.statistic[0]), float(tested.p_value[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=9999)
    count = parser.parse_args().permutations
    if shutil.which("Rscript") is None:
        sys.exit("Rscript is not here: install R and its package vegan, see the top of this file.")
    print(f"{'example':28}{'test':12}{'F, vegan':>12}{'F, ours':>12}{'p, vegan':>10}{'p, ours':>10}")
    for example in vegan(count):
        f, p = ours(example, count)
        print(
            f"{example['name']:28}{example['test']:12}{example['F']:12.6f}{f:12.6f}{example['p']:10.4f}{p:10.4f}"
        )
        if not math.isclose(f, example["F"], rel_tol=1e-8):
            sys.exit("F differs.")


if __name__ == "__main__":
    main()
