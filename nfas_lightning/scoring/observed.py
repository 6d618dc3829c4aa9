"""Responses without a value, refused before anything runs."""

from __future__ import annotations

import warnings

from nfas_lightning.data.responses import Responses

__all__ = ["check_observed"]

_SHOWN = 5  # names in a message


def check_observed(responses: Responses, subjects: str) -> None:
    """Refuse responses that have not a single value where one is to be scored.

    ROIs without a value pass, as long as some ROI has one: they score NaN, and the scoring says so.

    Args:
        responses: the benchmark's.
        subjects: what is scored, ``"group"``, ``"each"`` or ``"both"``.

    Raises:
        ValueError: all values are NaN, or those of a subject that is scored alone.

    Warns:
        UserWarning: a subject has no part in the group's mean.
    """
    missing = responses.values.isnan().flatten(1).all(dim=1).tolist()
    silent = [name for name, gone in zip(responses.subjects, missing, strict=True) if gone]
    if not silent:
        return
    rois = responses.rois["roi"]
    among = f"all {len(rois)} ROIs ({_listed(rois.tolist())})"
    who = f"{len(silent)} of {len(missing)} subjects ({_listed(silent)})"
    leave_out = "Leave them out: subjects=[...] of the datamodule names those to keep."
    if len(silent) < len(missing) and subjects == "group":
        warnings.warn(
            f"The responses of {responses.dataset!r} are NaN at {among} for {who}, who have no part in the "
            f"group's mean. {leave_out}",
            stacklevel=3,
        )
        return
    advice = (
        leave_out
        if len(silent) < len(missing)
        else "Look at how they were read: a wrong file, or a mask that holds no voxel."
    )
    raise ValueError(
        f"The responses of {responses.dataset!r} must hold a value for whoever is scored, got NaN throughout "
        f"for {who}, at {among}. {advice}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
