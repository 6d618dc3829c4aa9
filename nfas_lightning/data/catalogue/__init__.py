"""Which benchmarks there are, what of them lies under a folder, and how the rest gets there."""

from nfas_lightning.data.catalogue.checks import Check, check_folder, find_benchmarks
from nfas_lightning.data.catalogue.entries import CATALOGUE, Entry
from nfas_lightning.data.catalogue.plan import OPENNEURO, Plan, make_plan

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
