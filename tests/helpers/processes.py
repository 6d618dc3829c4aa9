"""Processes of one gloo group."""

import os
import sys
import tempfile
from multiprocessing import set_forkserver_preload
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# imported once by the server that the processes are forked from, and not by each of them
set_forkserver_preload(["torch.distributed", "nfas_lightning.runner.suite_trainer"])


def run_group(work, world, *args):
    """Call ``work(rank, world, *args)`` in each process of a group; return what they returned, by rank."""
    # a process takes over this one's path, on which pytest's import mode leaves the repository out
    path = [str(Path(__file__).parents[2]), *sys.path]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", path):
        mp.start_processes(_member, args=(world, folder, work, args), nprocs=world, start_method="forkserver")
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(world)]


def _member(rank, world, folder, work, args):
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    torch.save(work(rank, world, *args), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
