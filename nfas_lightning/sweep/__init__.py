"""Models x benchmarks: resumable, in processes of this machine or on a cluster, each failure on its own."""

from nfas_lightning.sweep.conduct import SweepReport, conduct
from nfas_lightning.sweep.config import Benchmark, Sweep, read_sweep

__all__ = ["Benchmark", "Sweep", "SweepReport", "conduct", "read_sweep"]
