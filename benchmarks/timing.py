"""The clocks of the benchmarks, which wait for a CUDA device where one is in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def synchronize() -> None:
    """Wait until a CUDA device has done what was asked of it."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, by the clock given."""
    synchronize()
    start = clock()
    run()
    synchronize()
    return clock() - start


def best(run: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Best wall-clock and processor seconds of some calls, and the result."""
    wall, processor, kept = [], [], []
    for _ in range(repeats):
        spent = time.process_time()
        wall.append(seconds(lambda: kept.append(run())))
        processor.append(time.process_time() - spent)
        del kept[:-1]
    return min(wall), min(processor), kept[-1]
