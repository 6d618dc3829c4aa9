"""Rows of several groups, and how far apart they are by definition."""

from __future__ import annotations

import itertools

import torch


def models(sizes, n_rois=6, shift=0.0, seed=0):
    """Rows of len(sizes) groups, `shift` apart, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    codes = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    V = torch.randn(len(labels), n_rois, generator=generator, dtype=torch.float64)
    return V + shift * codes[:, None], labels


def plain_f(D, labels):
    """Pseudo-F by Anderson's definition, one loop per pair."""
    n, groups = len(labels), sorted(set(labels))
    total = sum(D[i, j] ** 2 for i, j in itertools.combinations(range(n), 2)) / n
    within = 0.0
    for group in groups:
        rows = [i for i, label in enumerate(labels) if label == group]
        within += sum(D[i, j] ** 2 for i, j in itertools.combinations(rows, 2)) / len(rows)
    return (total - within) / (len(groups) - 1) / (within / (n - len(groups)))
