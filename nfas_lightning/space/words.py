"""Lower layers call every group of models a modality; a space grouped by another column says that instead."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from nfas_lightning.results import group_words

__all__ = ["say_groups"]


@contextmanager
def say_groups(group_by: str) -> Iterator[None]:
    """Word the warnings and the ValueErrors of the block for groups by another column than modality.

    Args:
        group_by: the column that groups are of.
    """
    if group_by == "modality":
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ValueError as error:
            raise ValueError(_worded(str(error), group_by)) from error
    for item in caught:
        # the frames between are contextlib's and this one's: the method that was called is named, as without
        warnings.warn(_worded(str(item.message), group_by), item.category, stacklevel=3)


def _worded(sentence: str, group_by: str) -> str:
    words = {
        "modality": group_by,
        "Modality": group_by[:1].upper() + group_by[1:],
        "modalities": group_words(group_by)[1],
    }
    # what stands in quotes is a group's name
    return re.sub(
        r"'[^']*'|\"[^\"]*\"|\b([mM]odality|modalities)\b",
        lambda found: words[found[1]] if found[1] else found[0],
        sentence,
    )
