"""What a model takes: shared stimuli and peak memory."""

import copy
import subprocess
import sys

import pytest
import torch

from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.sweep import cost
from nfas_lightning.sweep.cost import seconds_scoring, share_stimuli
from tests.helpers.suites import brain


class Files:
    """Stimuli that are read from files, and hash as these."""

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.reads += 1
        return torch.full((3, 4, 4), index / 10)

    def sha256(self):
        return "of the files"


@pytest.mark.parametrize(
    ("limit", "said", "reads"), [(1.0, "kept in memory", 0), (1e-9, "more than share_gb", 16)]
)
def test_stimuli_are_shared_where_they_fit(folder, limit, said, reads):
    import toy_sweep

    from nfas_lightning.data.stimuli.stimulus_set import StimulusSet

    brain = toy_sweep.Brain(n=8)
    brain.setup()
    assert "in memory already" in share_stimuli(brain, limit)
    files = Files()
    brain._stimuli = StimulusSet(files, "vision")
    digest = brain.stimuli.sha256()
    assert said in share_stimuli(brain, limit)
    files.reads = 0
    twice = [torch.cat([batch["image"] for batch in brain.test_dataloader()]) for _ in range(2)]
    assert torch.equal(*twice)
    assert twice[0][3, 0, 0, 0] == pytest.approx(0.3)
    assert files.reads == reads
    assert brain.stimuli.sha256() == digest  # or its results would have another key
    assert copy.deepcopy(brain.stimuli).sha256() == digest


def test_scoring_is_carried_on_from_few_blocks_and_draws(monkeypatch):
    probed = []

    def least_seconds(run):
        result = run()
        probed.append((len(result.depth), bool(result.scores["p"].notna().any())))
        return 2.0 + 0.5 * len(probed)

    monkeypatch.setattr(cost, "least_seconds", least_seconds)
    data = brain(30)
    data.setup()
    settings = ScoringSettings(n_permutations=200)
    # 2.5 s for fits of three blocks and three sets, and half a second for twenty draws
    assert seconds_scoring(30, 5, 21, data, settings) == pytest.approx(2.5 * 24 / 6 + 0.5 * 200 / 20)
    assert probed == [(3, False), (3, True)]


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
