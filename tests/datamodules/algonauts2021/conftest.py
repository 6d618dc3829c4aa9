"""A small tree of Algonauts 2021."""

from tests.helpers.algonauts_tree import copy, folder

__all__ = ["copy", "folder"]
