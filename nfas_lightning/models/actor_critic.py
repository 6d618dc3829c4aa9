"""A small actor-critic network that sees, as an example of a module that no hub and no library holds."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nfas_lightning.errors import InputError, MissingFileError

__all__ = ["ActorCritic"]


class ActorCritic(nn.Module):
    """Policy and value of an image, over the convolutions of deep Q-networks.

    Four blocks (``torso.0`` to ``torso.3``, of 32, 64, 64 and `hidden` units), then two linear heads.

    Args:
        n_actions: actions of the policy.
        hidden: units of the last shared block.
        weights: safetensors file of a trained network's state dict; None leaves it untrained.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds another network.

    Reference:
        Mnih et al., Human-level control through deep reinforcement learning, Nature 518 (2015),
        doi:10.1038/nature14236.

    Example:
        >>> import torch
        >>> policy, value = ActorCritic(n_actions=6)(torch.zeros(2, 3, 84, 84))
        >>> policy.shape, value.shape
        (torch.Size([2, 6]), torch.Size([2]))
    """

    def __init__(self, n_actions: int = 6, hidden: int = 512, weights: str | None = None) -> None:
        super().__init__()
        self.torso = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 32, 8, stride=4), nn.ReLU()),
                nn.Sequential(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
                nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU()),
                nn.Sequential(nn.Flatten(), nn.Linear(64 * 7 * 7, hidden), nn.ReLU()),
            ]
        )
        self.policy = nn.Linear(hidden, n_actions)
        self.value = nn.Linear(hidden, 1)
        if weights is not None:
            self._load(Path(weights).expanduser())

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the policy (B, n_actions) and values (B,) of pixels (B, 3, 84, 84)."""
        for block in self.torso:
            pixels = block(pixels)
        return self.policy(pixels), self.value(pixels).squeeze(-1)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"No weights of ActorCritic at {path}: expected a safetensors file.")
        try:
            self.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise InputError(f"{path} holds no weights of this ActorCritic: {error}") from error
