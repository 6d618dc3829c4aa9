"""What a model takes: shared stimuli and peak memory."""

import subprocess
import sys
import time

import pytest
import torch

from nfas_lightning.sweep.cost import share_stimuli


class Slow:
    def __init__(self, seconds):
        self.seconds, self.reads = seconds, 0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.reads += 1
        time.sleep(self.seconds)
        return torch.full((3, 4, 4), index / 10)


@pytest.mark.parametrize(
    ("forward", "limit", "said", "reads"),
    [
        (0.1, 1.0, "kept in memory", 8),
        (100.0, 1.0, "little beside", 20),
        (0.1, 1e-9, "more than share_gb", 20),
    ],
)
def test_slow_stimuli_are_shared_where_it_pays(folder, forward, limit, said, reads):
    import toy_sweep

    from nfas_lightning.data.stimuli.stimulus_set import StimulusSet

    brain = toy_sweep.Brain(n=8)
    brain.setup()
    assert "in memory already" in share_stimuli(brain, forward, limit)
    slow = Slow(0.01)
    brain._stimuli = StimulusSet(slow, "vision")
    assert said in share_stimuli(brain, forward, limit)
    slow.reads = 0
    twice = [torch.cat([batch["image"] for batch in brain.test_dataloader()]) for _ in range(2)]
    assert torch.equal(*twice)
    assert slow.reads == (reads if reads == 8 else 16)


def test_peak_memory_is_that_since_the_reset():
    # in a process of its own: what other tests held and gave back would hide 400 MB
    script = """
import torch
from nfas_lightning.runner.memory import reset_peak
big = torch.ones(300_000_000)
del big
peak = reset_peak()
before = peak()
held = torch.ones(100_000_000)
print(peak() - before)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 300 < float(said) < 500
