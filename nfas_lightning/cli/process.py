"""The `nfas` process: what it returns to the shell, and what it says when something fails."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from nfas_lightning.cli.main import main
from nfas_lightning.cli.messages import is_debugging, is_message
from nfas_lightning.termination import Terminated, ending_on_sigterm

__all__ = ["run"]


def run(args: Sequence[str] | None = None) -> int:
    """Run the `nfas` command and return its exit code, see `EXIT_CODES`.

    An error that is a message for the user is one line, everything else its traceback, as is every error with
    ``--debug`` or NFAS_DEBUG=1.

    Args:
        args: arguments; None takes those of the process.
    """
    given = list(sys.argv[1:] if args is None else args)
    if "--debug" in given:
        os.environ["NFAS_DEBUG"] = "1"  # the environment, so that the other processes of a run hear of it
        given = [word for word in given if word != "--debug"]
    if args is None:
        sys.argv = [sys.argv[0], *given]  # which Lightning starts the other processes of a run with
    if os.getcwd() not in sys.path and "" not in sys.path and not sys.flags.safe_path:
        sys.path.append(
            os.getcwd()
        )  # a model of one's own, next to its config; last, so that it hides nothing
    try:
        # a training ends between two steps, as Lightning has it
        with nullcontext() if given[:1] == ["fit"] else ending_on_sigterm():
            main(given)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except SystemExit as stop:
        return _code(stop)
    except BrokenPipeError:
        # the reader of a pipe went away, as `head` does; Python would complain again while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the end of the process: everything becomes an exit code here
        if is_debugging() or not is_message(error):
            traceback.print_exception(error)
            return 1
        return _say(f"error: {error}\n(--debug shows where)", 1)
    return 0


def _code(stop: SystemExit) -> int:
    if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning exits with 1 after an orderly shutdown
        return _say("interrupted", 130)
    # Lightning's, whose own code would mean success, or ours
    if isinstance(stop, Terminated) or type(stop).__name__ == "SIGTERMException":
        return _say("terminated", 143)
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    return _say(str(stop.code), 1)


def _say(message: str, code: int) -> int:
    print(f"nfas: {message}", file=sys.stderr)
    return code
