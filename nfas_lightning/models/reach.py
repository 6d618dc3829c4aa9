"""Whether a place of weights answers: known in seconds, where its client would retry for minutes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from nfas_lightning.errors import UnreadableError
from nfas_lightning.models.optional import require

__all__ = ["check_hub", "check_reachable", "hub_or_cache", "is_reachable"]

_PATIENCE = 5.0  # seconds for a name to be resolved and a connection to open
_REMEMBERED = 60.0  # seconds that an answer holds: each file of each model asks
_known: dict[tuple[str, int], tuple[float, bool]] = {}


def is_reachable(url: str) -> bool:
    """Return whether the host of a URL, or the proxy in front of it, opens a connection within seconds."""
    host, port = _door(url)
    asked, found = _known.get((host, port), (float("-inf"), False))
    if time.monotonic() - asked > _REMEMBERED:
        found = _opens(host, port)
        _known[host, port] = time.monotonic(), found
    return found


def check_reachable(url: str, cached: Path) -> None:
    """Raise where a file is not in a cache, and its host does not answer.

    Raises:
        OSError: the host is named.
    """
    if not cached.is_file() and not is_reachable(url):
        raise UnreadableError(_silent(url))


def check_hub() -> None:
    """Raise where the hub does not answer.

    Raises:
        OSError: the hub is named.
    """
    endpoint = require("huggingface_hub", "language").constants.ENDPOINT
    if not is_reachable(endpoint):
        raise UnreadableError(f"{_silent(endpoint)}, and its local cache does not hold the weights")


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Let what is loaded inside come from the hub, or where that does not answer from its local cache alone.

    Raises:
        OSError: the hub does not answer, and the cache does not hold what was asked for.
    """
    constants = require("huggingface_hub", "language").constants
    if constants.HF_HUB_OFFLINE or is_reachable(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True  # read at each request; the environment is read at import alone
    try:
        yield
    except OSError as error:
        raise UnreadableError(
            f"{_silent(constants.ENDPOINT)}, and its local cache does not hold it"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = False


def _silent(url: str) -> str:
    return f"{urlsplit(url).hostname} can't be reached from here (no connection within {_PATIENCE:g} s)"


def _door(url: str) -> tuple[str, int]:
    """Host and port that a request for a URL connects to."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or {"http": 80, "socks5": 1080}.get(parts.scheme, 443)


def _opens(host: str, port: int) -> bool:
    opened = threading.Event()

    def knock() -> None:
        try:
            with socket.create_connection((host, port), timeout=_PATIENCE):
                opened.set()
        except OSError:
            pass
        finally:
            ended.set()

    ended = threading.Event()
    # in a thread, since nothing bounds the time that a name takes to be resolved
    threading.Thread(target=knock, daemon=True).start()
    ended.wait(_PATIENCE)
    return opened.is_set()
