"""Time the decomposition against a PyDMD loop, and show how it grows with N, L and D.

    python benchmarks/dmd.py --n 2000 --depth 24 --width 768

Both sides get the same float32 trajectory and deliver eigenvalues, modes and amplitudes. The PyDMD loop is
timed on `--loop` stimuli and scaled to N. With a CUDA device the last table shows the bandwidth of the Gram
pass as a share of a copy on the device. Needs `pydmd` (part of the test extra). `--threads 1` is the fairer
setting on a machine that does other work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import torch
from pydmd import DMD
from timing import best
from torch import Tensor

from nfas_lightning.functional.dmd import depth_gram, dmd, stable_mode


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Return the fastest of some runs in seconds, after one to warm up."""
    function()
    return best(function, repeats)[0]


def trajectory(n: int, depth: int, width: int, device: torch.device) -> Tensor:
    """Return a residual stream: states that add up from block to block."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, depth, width, generator=generator).cumsum(dim=1).to(device)


def print_table(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(list(header)))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def against_pydmd(H: Tensor, svd_rank: int, loop: int, repeats: int) -> list[list[str]]:
    """Return rows of the comparison; the oracle always runs on the CPU."""
    stimuli = H[:loop].cpu().numpy()

    def pydmd_loop() -> None:
        for states in stimuli:
            DMD(svd_rank=svd_rank, exact=True).fit(states.T)

    stacked = H.cpu().transpose(0, 1).flatten(1).T.contiguous().numpy()
    peers = {
        "per_stimulus": best_of(pydmd_loop, repeats) * len(H) / len(stimuli),
        "joint": best_of(lambda: DMD(svd_rank=svd_rank, exact=True).fit(stacked), 1),
    }
    rows = []
    for operator, peer in peers.items():
        fit = best_of(lambda op=operator: dmd(H, operator=op, svd_rank=svd_rank), repeats)
        full = best_of(lambda op=operator: stable_mode(H, operator=op, svd_rank=svd_rank), repeats)
        rows.append(
            [
                operator,
                f"{peer * 1e3:.0f}",
                f"{fit * 1e3:.1f}",
                f"{full * 1e3:.1f}",
                f"{peer / fit:.0f}x",
                f"{peer / full:.0f}x",
            ]
        )
    return rows


def growth(
    n: int, depth: int, width: int, svd_rank: int, repeats: int, device: torch.device
) -> list[list[str]]:
    """Return the times of `dmd`, and its memory on a CUDA device, when one size at a time changes."""
    rows = []
    for name in ("N", "L", "D"):
        for factor in (0.5, 1, 2):
            sizes = {"N": n, "L": depth, "D": width}
            sizes[name] = max(3, int(sizes[name] * factor))
            H = trajectory(*sizes.values(), device)
            row = [name, *(str(size) for size in sizes.values())]
            for operator in ("joint", "per_stimulus"):
                seconds = best_of(lambda op=operator, H=H: dmd(H, operator=op, svd_rank=svd_rank), repeats)
                row.append(f"{seconds * 1e3:.1f}" + beyond_the_input(H, operator))
            rows.append(row)
    return rows


def beyond_the_input(H: Tensor, operator: str) -> str:
    """Peak memory of a call on a CUDA device beside its input, in MB; nothing on a CPU."""
    if not H.is_cuda:
        return ""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    dmd(H, operator=operator)
    return f" ({(torch.cuda.max_memory_allocated() - before) / 2**20:.0f} MB)"


def bandwidth(H: Tensor, repeats: int) -> list[list[str]]:
    """Return bytes per second of the Gram pass and of a copy on the same device."""
    size = H.numel() * H.element_size()
    target = torch.empty_like(H)
    copy = 2 * size / best_of(lambda: target.copy_(H), repeats)  # a copy reads and writes
    gram = size / best_of(lambda: depth_gram(H), repeats)
    return [[f"{gram / 1e9:.0f}", f"{copy / 1e9:.0f}", f"{gram / copy:.0%}"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="stimuli")
    parser.add_argument("--depth", type=int, default=24, help="recorded blocks")
    parser.add_argument("--width", type=int, default=768, help="units")
    parser.add_argument("--svd-rank", type=int, default=2)
    parser.add_argument("--loop", type=int, default=200, help="stimuli that the PyDMD loop is timed on")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-growth", action="store_true", help="leave the growth table out")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    H = trajectory(arguments.n, arguments.depth, arguments.width, device)
    place = torch.cuda.get_device_name() if device.type == "cuda" else device
    print(f"torch {torch.__version__}, {arguments.threads} threads, {place}, H {tuple(H.shape)} {H.dtype}")
    print_table(
        f"Against PyDMD, svd_rank {arguments.svd_rank} (ms)",
        ["operator", "PyDMD", "dmd", "stable_mode", "PyDMD / dmd", "PyDMD / stable_mode"],
        against_pydmd(H, arguments.svd_rank, arguments.loop, arguments.repeats),
    )
    if not arguments.no_growth:
        sizes = (arguments.n, arguments.depth, arguments.width)
        print_table(
            "Growth of dmd (ms; on a CUDA device the memory beside the input too)",
            ["varied", "N", "L", "D", "joint", "per_stimulus"],
            growth(*sizes, arguments.svd_rank, arguments.repeats, device),
        )
    if device.type == "cuda":
        print_table("Gram pass (GB/s)", ["Gram", "copy", "share"], bandwidth(H, arguments.repeats))


if __name__ == "__main__":
    main()
