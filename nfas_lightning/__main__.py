"""The `nfas` command, which is `python -m nfas_lightning` too."""

from __future__ import annotations

import os
import sys


def run() -> None:
    """Run the command line and end the process with its exit code."""
    # OpenMP threads spin while they wait for one another, which beside any other busy process makes small
    # matrices tens of times slower (measured: ridge_cv, 1.6 s against 60 s); sleeping costs next to nothing
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from nfas_lightning.cli.process import run as run_command

    sys.exit(run_command())


if __name__ == "__main__":
    run()
