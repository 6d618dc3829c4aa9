"""Pretrained models of public hubs, one config each: what they are, and what must be true of them."""

from nfas_lightning.models.zoo.entry import ZooEntry
from nfas_lightning.models.zoo.registry import load_zoo, read_entry, zoo, zoo_entry

__all__ = ["ZooEntry", "load_zoo", "read_entry", "zoo", "zoo_entry"]
