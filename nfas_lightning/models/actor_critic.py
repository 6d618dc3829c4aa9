"""A small actor-critic that sees frames, as an example of a module that no hub and no library holds."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nfas_lightning.errors import InputError, MissingFileError

__all__ = ["ActorCritic"]

_GRAY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as the wrappers of Atari games have it


class ActorCritic(nn.Module):
    """Policy and value of the last frames, in the shape of the ``CnnPolicy`` of stable-baselines3.

    Frames are made gray and are the channels of the convolutions of deep Q-networks. Its states:
    ``features_extractor.cnn.1``, ``.3`` and ``.5``, of 32, 64 and 64 units, and
    ``features_extractor.linear`` of `hidden`. `ClipPreprocess` chooses and resizes the frames.

    Args:
        n_actions: actions of the policy.
        hidden: units of the last shared block.
        n_frames: frames that it sees at a time.
        weights: of a trained network: what ``PPO("CnnPolicy", ...).save`` of stable-baselines3 wrote (.zip),
            or a state dict in safetensors; None leaves it untrained. Nothing is unpickled but tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds another network.

    Reference:
        Mnih et al., Human-level control through deep reinforcement learning, Nature 518 (2015),
        doi:10.1038/nature14236.

    Example:
        >>> policy, value = ActorCritic(n_actions=6)(torch.zeros(2, 4, 3, 84, 84))
        >>> policy.shape, value.shape
        (torch.Size([2, 6]), torch.Size([2]))
    """

    def __init__(
        self, n_actions: int = 6, hidden: int = 512, n_frames: int = 4, weights: str | None = None
    ) -> None:
        super().__init__()
        self.n_frames = n_frames
        convolutions = nn.Sequential(
            *(nn.Conv2d(n_frames, 32, 8, stride=4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3), nn.ReLU()),
            nn.Flatten(),
        )
        linear = nn.Sequential(nn.Linear(64 * 7 * 7, hidden), nn.ReLU())
        self.features_extractor = nn.ModuleDict({"cnn": convolutions, "linear": linear})
        self.action_net = nn.Linear(hidden, n_actions)
        self.value_net = nn.Linear(hidden, 1)
        if weights is not None:
            self._load(Path(weights).expanduser())

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, n_actions) and values (B,) of frames (B, n_frames, 3, 84, 84) in [0, 1]."""
        if frames.shape[1:] != (self.n_frames, 3, 84, 84):
            raise InputError(
                f"ActorCritic reads frames (B, {self.n_frames}, 3, 84, 84), got {tuple(frames.shape)}: "
                f"prepare them with ClipPreprocess({self.n_frames}, ImagePreprocess(84, ...))."
            )
        gray = torch.einsum("bfchw,c->bfhw", frames, frames.new_tensor(_GRAY))
        seen = self.features_extractor["linear"](self.features_extractor["cnn"](gray))
        return self.action_net(seen), self.value_net(seen).squeeze(-1)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"No weights of ActorCritic at {path}: expected .zip or safetensors.")
        try:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as saved:
                    state = torch.load(io.BytesIO(saved.read("policy.pth")), weights_only=True)
            else:
                state = load_file(path)
            # the extractor under its other names, which policy and value would have of their own
            shared = {name: value for name, value in state.items() if not name.startswith(("pi_", "vf_"))}
            self.load_state_dict(shared)
        except (SafetensorError, RuntimeError, KeyError, zipfile.BadZipFile, UnpicklingError) as error:
            raise InputError(f"{path} holds no weights of this ActorCritic: {error}") from error
