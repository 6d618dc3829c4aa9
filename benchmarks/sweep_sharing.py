"""What models of one job share, in seconds: a process, a benchmark's reading, its decoded stimuli.

Run: python benchmarks/sweep_sharing.py [folder of the real data]
"""

from __future__ import annotations

import subprocess
import sys
import time

import torch

from nfas_lightning.datamodules import AliceDataModule, NaturalSoundsDataModule, SimulatedBrainDataModule
from nfas_lightning.models import FrozenModel


def timed(function) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main(root: str | None) -> None:
    """Print one line per benchmark."""
    start = timed(lambda: subprocess.run([sys.executable, "-c", "import nfas_lightning.runner"], check=True))
    print(f"start of a process, once a job: {start:.1f} s\n")
    print(f"{'benchmark':<20} {'reading':>9} {'stimuli':>9} {'forward':>9}   model")
    for name, data, model in (
        ("simulated_vision", SimulatedBrainDataModule("vision"), "mobilenet_v2"),
        ("simulated_audio", SimulatedBrainDataModule("audio"), "silero_vad"),
        ("simulated_language", SimulatedBrainDataModule("language"), "paraphrase_minilm_l3"),
        ("alice", AliceDataModule(root), "paraphrase_minilm_l3"),
        ("natural_sounds", NaturalSoundsDataModule(root), "ge2e_voice_encoder"),
    ):
        reading = timed(data.setup)
        stimuli = timed(lambda data=data: list(data.test_dataloader()))
        network = FrozenModel(model)
        network.load()

        def forward(network=network, data=data):
            with torch.inference_mode():
                for batch in data.test_dataloader():
                    network(batch)

        print(
            f"{name:<20} {reading:>7.1f} s {stimuli:>7.2f} s {timed(forward):>7.1f} s   {model}", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
