"""What recording a depth trajectory costs on top of a bare forward pass.

Runs a convolutional network, a vision transformer and a BERT, random weights, with and without a
`DepthRecorder` in turns, so that a busy machine slows both alike. Prints the medians and the median ratio.
The networks are small ones on a CPU and of the usual size on a CUDA device.

    python benchmarks/capture.py --repeats 20 --device cpu
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

import timm
import torch
from timing import seconds
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from nfas_lightning.hooks import DepthRecorder

Case = tuple[str, nn.Module, Callable[[nn.Module], object], Tensor | None]


def cases(device: str) -> list[Case]:
    large = device != "cpu"
    n, size = (64, 224) if large else (16, 160)
    images = torch.rand(n, 3, size, size, device=device)
    batch, length = (64, 128) if large else (32, 64)
    ids = torch.randint(0, 1000, (batch, length), device=device)
    mask = torch.arange(length, device=device) < torch.randint(8, length + 1, (batch, 1), device=device)
    depth, width = (12, 768) if large else (6, 384)
    bert = BertModel(
        BertConfig(
            vocab_size=1000,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=12,
            intermediate_size=4 * width,
        )
    )
    resnet, vit = ("resnet50", "vit_base_patch16_224") if large else ("resnet18", "vit_tiny_patch16_224")
    return [
        (f"{resnet}, {n} x {size} px", timm.create_model(resnet), lambda net: net(images), None),
        (
            f"{vit}, {n} x {size} px",
            timm.create_model(vit, img_size=size),
            lambda net: net(images),
            None,
        ),
        (
            f"BERT {depth} x {width}, {batch} x {length} tokens",
            bert,
            lambda net: net(ids, attention_mask=mask.long()),
            mask,
        ),
    ]


def compare(case: Case, repeats: int, device: str) -> tuple[int, float, float, float]:
    """Return the number of blocks, the two medians in seconds, and the median ratio."""
    _, net, forward, mask = case
    net = net.to(device).eval().requires_grad_(False)
    recorder = DepthRecorder(net)

    def recorded() -> None:
        recorder.mask = mask
        forward(net)
        _ = recorder.states  # the check for NaN included

    bare_times, recorded_times = [], []
    with torch.inference_mode():
        for i in range(repeats + 2):
            bare = seconds(lambda: forward(net))
            with recorder:
                hooked = seconds(recorded)
            if i >= 2:  # the first two warm up
                bare_times.append(bare)
                recorded_times.append(hooked)
    ratios = [hooked / bare for hooked, bare in zip(recorded_times, bare_times, strict=True)]
    return len(recorder.names), median(bare_times), median(recorded_times), median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{'network':40s} {'blocks':>6s} {'bare':>10s} {'recorded':>10s} {'ratio':>7s}")
    for case in cases(options.device):
        n_blocks, bare, recorded, ratio = compare(case, options.repeats, options.device)
        print(f"{case[0]:40s} {n_blocks:6d} {1e3 * bare:7.1f} ms {1e3 * recorded:7.1f} ms {ratio:7.3f}")


if __name__ == "__main__":
    main()
