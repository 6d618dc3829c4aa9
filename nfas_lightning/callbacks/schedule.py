"""When a network in training is due for a look."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """When to look at a network that is being trained.

    The attributes are the arguments of `BrainAlignment` of the same names.

    Raises:
        ValueError: a negative number, or nothing that would ever be due.
    """

    every_n_epochs: int = 1
    every_n_steps: int = 0
    at_start: bool = False
    at_end: bool = True
    on_checkpoint: bool = False

    def __post_init__(self) -> None:
        for name in ("every_n_epochs", "every_n_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 1, or 0 for never, got {getattr(self, name)}.")
        if not any((self.every_n_epochs, self.every_n_steps, self.at_start, self.at_end, self.on_checkpoint)):
            raise ValueError("The schedule is never due: set every_n_epochs or one of its other arguments.")

    def due_after_epoch(self, epoch: int) -> bool:
        """Whether the end of this epoch, counted from 0, is due."""
        return self.every_n_epochs > 0 and (epoch + 1) % self.every_n_epochs == 0

    def due_after_step(self, step: int, previous: int) -> bool:
        """Whether a step of the optimizer was due since the `previous` one; both counted from 1.

        A batch may take several steps (several optimizers), or none (accumulation of gradients).
        """
        return self.every_n_steps > 0 and step // self.every_n_steps > previous // self.every_n_steps
