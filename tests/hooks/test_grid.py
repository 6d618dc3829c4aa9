"""Grid pooling against a loop over cells."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.pooling import pool
from nfas_lightning.hooks.recorder import DepthRecorder


def cells(maps, n):
    """(B, C, H, W) to (B, C, n, n) by the rule of torch's adaptive pooling, in a loop."""
    height, width = maps.shape[-2:]

    def span(i, size):
        return slice(i * size // n, -(-(i + 1) * size // n))

    rows = [
        torch.stack([maps[..., span(i, height), span(j, width)].mean((-2, -1)) for j in range(n)], -1)
        for i in range(n)
    ]
    return torch.stack(rows, -2)


@pytest.mark.parametrize(
    ("how", "n"), [("grid", 4), ("grid:4", 4), ("grid:7", 7), ("grid:1", 1), ("grid:3", 3)]
)
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (14, 14), (2, 2)])
def test_every_cell_is_a_mean(how, n, size):
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    wanted = cells(maps, n).flatten(1)
    assert wanted.shape == (2, 3 * n * n)
    torch.testing.assert_close(pool(maps, how), wanted)
    torch.testing.assert_close(pool(maps.movedim(1, -1), how, layout="channels_last"), wanted)
    clips = torch.stack([maps - 1, maps + 1], dim=2)  # time is averaged
    torch.testing.assert_close(pool(clips, how), wanted)
    assert pool(maps.half(), how).dtype == torch.float32


def test_one_cell_is_the_mean_and_vectors_stay():
    maps = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(pool(maps, "grid:1"), pool(maps, "mean"))
    torch.testing.assert_close(pool(maps[..., 0, 0], "grid"), maps[..., 0, 0])


@pytest.mark.parametrize("n_before", [0, 1, 5])
def test_patch_tokens_are_their_map_without_what_stands_before_them(n_before):
    maps = torch.randn(2, 3, 14, 14)
    patches = torch.cat([torch.full((2, n_before, 3), 99.0), maps.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(pool(patches, "grid"), pool(maps, "grid"))
    hidden = torch.ones(2, n_before + 196, dtype=torch.bool)
    hidden[:, :n_before] = False
    torch.testing.assert_close(pool(patches, "grid", hidden), pool(maps, "grid"))


def test_masks_are_respected():
    maps = torch.randn(1, 3, 4, 4)
    mask = torch.ones(1, 4, dtype=torch.bool)
    mask[0, 1] = False
    wild = maps.clone()
    wild[..., 1] = torch.nan
    places = [(rows, columns) for rows in (slice(0, 2), slice(2, 4)) for columns in ([0], [2, 3])]
    wanted = torch.stack([maps[0, :, rows][..., columns].mean((1, 2)) for rows, columns in places], dim=-1)
    torch.testing.assert_close(pool(wild, "grid:2", mask), wanted.flatten()[None])
    tokens = wild.flatten(2).transpose(1, 2)
    torch.testing.assert_close(pool(tokens, "grid:2", mask.repeat(1, 4)), wanted.flatten()[None])
    with pytest.raises(ValueError, match="hides whole cells"):
        pool(maps, "grid", mask)
    with pytest.raises(ValueError, match=r"mask of shape \(1, 4\).*got \(1, 8\)"):
        pool(maps, "grid", mask.repeat(1, 2))
    with pytest.raises(ValueError, match=r"mask of shape \(1, 16\).*got \(1, 4\)"):
        pool(tokens, "grid", mask)


@pytest.mark.parametrize("how", ["grid:0", "grid:", "grid:x", "grid:-1", "grid:2.5"])
def test_a_grid_has_a_whole_number_of_cells(how):
    with pytest.raises(ValueError, match="'grid:n' with a whole number of cells a side"):
        pool(torch.zeros(1, 2, 4, 4), how)


def test_what_is_no_map_is_refused():
    for output, layout in ((torch.zeros(2, 31, 4), "auto"), (torch.zeros(2, 4, 16), "channels_first")):
        with pytest.raises(ValueError, match=r"needs maps .*or tokens .*square of patches.*use .mean."):
            pool(output, "grid", layout=layout)
    for how in ("cls:all", "none:2", "mean:some", "mean:"):
        with pytest.raises(ValueError, match=r"^pooling must be "):
            pool(torch.zeros(1, 2, 4), how)


def test_a_batch_equals_its_stimuli_alone():
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))).requires_grad_(False)
    x = torch.randn(8, 3, 9, 9)
    with DepthRecorder(net, pooling="grid:3") as rec:
        net(x)
        together = rec.states
        assert rec.layers[0].width == 27
        assert rec.layers[0].pooling == "grid:3"
        for row in range(8):
            net(x[row : row + 1])
            for one, other in zip(rec.states, together, strict=True):
                torch.testing.assert_close(one[0], other[row])
