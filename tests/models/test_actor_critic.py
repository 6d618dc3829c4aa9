"""The example of a module that no library holds: its arithmetic, and its weights from a file."""

import pytest
import torch
from safetensors.torch import save_file

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import ActorCritic


def test_four_blocks_lead_to_two_heads():
    network = ActorCritic(n_actions=3, hidden=16).eval()
    pixels = torch.rand(2, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    with DepthRecorder(network) as rec, torch.no_grad():
        policy, value = network(pixels)
        assert [layer.name for layer in rec.layers] == [f"torso.{i}" for i in range(4)]
        assert [layer.width for layer in rec.layers] == [32, 64, 64, 16]
        torch.testing.assert_close(policy, network.policy(rec.states[-1]))
    assert (policy.shape, value.shape) == ((2, 3), (2,))


def test_weights_of_a_file_are_those_that_were_saved(tmp_path):
    torch.manual_seed(0)
    trained = ActorCritic(hidden=16)
    save_file(trained.state_dict(), tmp_path / "net.safetensors")
    again = ActorCritic(hidden=16, weights=str(tmp_path / "net.safetensors"))
    for name, value in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_files_that_hold_no_such_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weights of ActorCritic at .*none\.safetensors"):
        ActorCritic(weights=str(tmp_path / "none.safetensors"))
    (tmp_path / "damaged.safetensors").write_bytes(b"not a tensor")
    save_file(ActorCritic(n_actions=2, hidden=16).state_dict(), tmp_path / "other.safetensors")
    for name in ("damaged", "other"):
        with pytest.raises(ValueError, match=f"{name}.safetensors holds no weights of this ActorCritic"):
            ActorCritic(hidden=16, weights=str(tmp_path / f"{name}.safetensors"))
