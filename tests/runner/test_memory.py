"""The memory that a plan counts, against the peak that runs of a process of their own have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nfas_lightning.runner import memory
from nfas_lightning.runner.memory import LivePeak, network_bytes

_RUNS = """
import contextlib, gc, io, json, tempfile, warnings
import torch
from torch import nn
from nfas_lightning import score_models
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ModelSuite, RawStimuli
from nfas_lightning.runner import plan
from nfas_lightning.runner.memory import peak_mb, reset_peak, resident_mb
from nfas_lightning.scoring import ScoringSettings

warnings.simplefilter("ignore")


class Dense(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        pairs = zip((48, *widths), widths)
        self.blocks = nn.Sequential(*(nn.Linear(*pair) for pair in pairs))

    def forward(self, x):
        return self.blocks(x.flatten(1))


def maps(channels):
    pairs = zip((3, channels, channels), (channels,) * 3)
    return nn.Sequential(*(nn.Conv2d(*pair, 3, padding=1) for pair in pairs))


def run(build, pooling, n, size, batch, twins=False, targets=5):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 3, size, size, generator=generator)
    responses = torch.randn(n, targets, generator=generator)
    spec = {"model": build(), "pooling": pooling, "preprocess": RawStimuli(), "name": "net"}
    settings = ScoringSettings(n_permutations=0)
    data = ArrayDataModule(images, responses, batch_size=batch)
    data.setup()
    with contextlib.redirect_stdout(io.StringIO()):
        (row,) = plan(ModelSuite([spec], random_twins=twins), data, settings=settings)
        gc.collect()
        before, _ = resident_mb(), reset_peak()
        score_models([spec], data, tempfile.mkdtemp(), settings=settings, random_twins=twins, report=False,
                     enable_progress_bar=False, accelerator="cpu")
    return row.memory.of_host / 1e6, peak_mb() - before


CASES = {
    "warm": (lambda: maps(4), "mean", 40, 8, 16),
    "many targets": (lambda: maps(8), "mean", 200, 8, 32, False, 4000),
    "every unit is kept": (lambda: maps(8), "none", 120, 32, 16),
    "activations": (lambda: maps(24), "mean", 24, 128, 24),
    "weights and their twin": (lambda: Dense(3000, 3000, 3000, 3000), "mean", 24, 4, 16, True),
    "widths that differ": (lambda: Dense(4096, 1024, 4096), "mean", 400, 4, 32),
}
print(json.dumps({name: run(*case) for name, case in CASES.items()}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux starts a peak anew")
def test_what_is_counted_is_within_thirty_percent_of_what_is_measured(tmp_path):
    # what was freed goes back to the system, instead of staying with the process
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _RUNS], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    del found["warm"]
    apart = {name: round(counted / peak, 2) for name, (counted, peak) in found.items()}
    assert [f"{name}: {ratio}" for name, ratio in apart.items() if not 0.7 <= ratio <= 1.3] == []


def test_tensors_that_are_alive_at_a_time_are_counted_once():
    x = torch.zeros(100)
    with LivePeak() as live, torch.inference_mode():
        y = x + 1  # 400 bytes
        y.add_(1)
        z = y[:50].view(5, 10)  # no memory of its own
        del y
        z = z.sum()  # 4 more, and 400 less
        x * 2  # 400
    assert live.peak == 404
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.append(network[0])  # shared
    assert network_bytes(network) == 4 * (6 + 4 + 4) + 8
    assert network_bytes(network.to("meta")) == 0


def test_a_container_with_less_than_the_machine_has_less(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8000000 kB\n",
        "/sys/fs/cgroup/memory.max": "2000000000\n",
        "/sys/fs/cgroup/memory.current": "500000000\n",
    }
    monkeypatch.setattr(memory.Path, "read_text", lambda path: files[str(path)])
    assert memory.available_mb() == pytest.approx(1500)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available_mb() == pytest.approx(8192)


def test_states_are_counted_where_they_are_kept_and_scored():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    parts = {"weights": 100, "activations": 20, "trajectory": 7, "scoring": 30, "building": 150}
    there, here = (memory.Memory(**parts, device=cuda, home=home) for home in (cuda, cpu))
    assert (there.of_device, there.of_host) == (137, 150)
    assert (here.of_device, here.of_host) == (120, 150)
    assert (memory.Memory(**parts, device=cpu, home=cpu).of_host, there.on(cpu)) == (150, 0)
