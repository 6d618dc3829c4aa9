"""Models x benchmarks: resumable, one process a slot or a cluster's array, failures isolated and listed."""

from nfas_lightning.sweep.conduct import SweepReport, conduct
from nfas_lightning.sweep.config import Benchmark, Sweep, read_sweep

__all__ = ["Benchmark", "Sweep", "SweepReport", "conduct", "read_sweep"]
