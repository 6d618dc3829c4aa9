"""What is said of a suite's models: a failure at once and at the end, a warning of several models once."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from nfas_lightning.errors import FailureError
from nfas_lightning.results import RunResults

__all__ = ["FailedModelsError", "WarnedOnce", "say_failed"]


class FailedModelsError(FailureError):
    """Some models of a suite failed; the others were scored.

    Args:
        errors: of the models that failed, by name.
        n_models: of the suite.
        run_dir: where the results of the others lie.
        results: of the others; None where there are none.

    Attributes:
        errors, results: see above.
    """

    def __init__(
        self, errors: Mapping[str, Exception], n_models: int, run_dir: str, results: RunResults | None
    ) -> None:
        self.errors, self.results = dict(errors), results
        listed = "".join(f"\n  {name}: {_in_words(error)}" for name, error in errors.items())
        kept = f"; the tables in {run_dir} hold the others" if results is not None else ""
        super().__init__(f"{len(errors)} of {n_models} models failed{kept}. Run it again for those:{listed}")


def say_failed(console: Console, name: str, error: Exception) -> None:
    """Print that a model failed; with its traceback, where the reason is not that something is not there."""
    if not isinstance(error, OSError | ImportError):
        traceback.print_exception(error, file=sys.stderr)
    console.print(f"[red]✗[/] {name}: ", end="")
    console.print(_in_words(error), markup=False, highlight=False, soft_wrap=True)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class WarnedOnce:
    """Warnings of models that run one after another: what was said of one is not said again of the next.

    Two warnings are one where nothing but the model's name differs.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[Any, str], list[str]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Show inside only what was not said of an earlier model.

        Args:
            name: of the model that runs.
        """
        show = warnings.showwarning

        def show_once(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            text = str(message)
            for own in (name, f"{name}_random"):
                text = text.replace(repr(own), "this model")
            if text == str(message):  # not of a model: Python itself shows it once
                show(message, category, *where, **more)
                return
            models = self._said.setdefault((category, text), [])
            if name not in models:
                models.append(name)
                if len(models) == 1:
                    show(message, category, *where, **more)

        warnings.showwarning = show_once
        try:
            yield
        finally:
            warnings.showwarning = show

    def repeated(self) -> list[str]:
        """Return a line for each warning that was kept from several models: which, and how it began."""
        return [
            f"The same warning holds for {', '.join(models[1:])}: {text[:70].rstrip()}..."
            for (_, text), models in self._said.items()
            if len(models) > 1
        ]
