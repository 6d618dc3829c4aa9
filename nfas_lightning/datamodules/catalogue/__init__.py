"""Which benchmarks there are, what of them lies under a folder, and how the rest gets there."""

from nfas_lightning.datamodules.catalogue.check_folder import Check, check_folder, find_benchmarks
from nfas_lightning.datamodules.catalogue.download_plan import OPENNEURO, Plan, make_plan
from nfas_lightning.datamodules.catalogue.entries import CATALOGUE, Entry

__all__ = [
    "CATALOGUE",
    "OPENNEURO",
    "Check",
    "Entry",
    "Plan",
    "check_folder",
    "find_benchmarks",
    "make_plan",
]
