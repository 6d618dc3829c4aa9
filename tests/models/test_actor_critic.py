"""The example of a module that no library holds: its arithmetic, its weights, and clips end to end."""

import io
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nfas_lightning.alignment import align
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import ActorCritic, ClipPreprocess, FrozenModel, ImagePreprocess
from nfas_lightning.scoring import ScoringSettings

BLOCKS = [*(f"features_extractor.cnn.{i}" for i in (1, 3, 5)), "features_extractor.linear"]
FRAMES = torch.rand(2, 4, 3, 84, 84, generator=torch.Generator().manual_seed(0))


def test_four_blocks_lead_to_two_heads():
    network = ActorCritic(n_actions=3, hidden=16).eval()
    with DepthRecorder(network, BLOCKS) as rec, torch.no_grad():
        policy, value = network(FRAMES)
        assert [layer.width for layer in rec.layers] == [32, 64, 64, 16]
        torch.testing.assert_close(policy, network.action_net(rec.states[-1]))
        first = network.features_extractor["cnn"][0]
        red, green, blue = FRAMES.unbind(2)
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        maps = nn.functional.conv2d(gray, first.weight, first.bias, stride=4).relu()
        torch.testing.assert_close(rec.states[0], maps.mean((2, 3)))
    assert (policy.shape, value.shape) == ((2, 3), (2,))
    with pytest.raises(ValueError, match=r"reads frames \(B, 4, 3, 84, 84\), got \(2, 3, 84, 84\)"):
        network(FRAMES[:, 0])


def _saved_by_stable_baselines(network, path):
    """The file of `PPO.save`: the shared extractor stands in it under three names."""
    state = network.state_dict()
    for name in [name for name in state if name.startswith("features_extractor")]:
        state |= {f"{kind}_{name}": state[name] for kind in ("pi", "vf")}
    file = io.BytesIO()
    torch.save(state, file)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", file.getvalue())


@pytest.mark.parametrize("suffix", ["safetensors", "zip"])
def test_weights_of_a_file_are_those_that_were_saved(suffix, tmp_path):
    torch.manual_seed(0)
    trained, path = ActorCritic(hidden=16), tmp_path / f"net.{suffix}"
    if suffix == "zip":
        _saved_by_stable_baselines(trained, path)
    else:
        save_file(trained.state_dict(), path)
    again = ActorCritic(hidden=16, weights=str(path))
    for name, value in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_files_that_hold_no_such_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weights of ActorCritic at .*none\.safetensors"):
        ActorCritic(weights=str(tmp_path / "none.safetensors"))
    (tmp_path / "damaged.safetensors").write_bytes(b"not a tensor")
    (tmp_path / "damaged.zip").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("data", "{}")
    save_file(ActorCritic(n_actions=2, hidden=16).state_dict(), tmp_path / "other.safetensors")
    for name in ("damaged.safetensors", "damaged.zip", "empty.zip", "other.safetensors"):
        with pytest.raises(ValueError, match=f"{name} holds no weights of this ActorCritic"):
            ActorCritic(hidden=16, weights=str(tmp_path / name))


def test_a_policy_is_scored_on_clips(tmp_path):
    clips = torch.rand(30, 6, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    network = ActorCritic(hidden=16).eval()
    preprocess = ClipPreprocess(4, ImagePreprocess(84, (0,) * 3, (1,) * 3, interpolation="bilinear"))
    with torch.no_grad():
        policy, _ = network(preprocess({"clip": clips}).args[0])
    model = FrozenModel(network, layers=BLOCKS, preprocess=preprocess, name="policy")
    settings = ScoringSettings(n_permutations=0, n_bootstrap=0)
    result = align(model, ArrayDataModule(clips, policy), settings=settings, cache=False, progress=False)
    last = result.scores.query("feature == 'last_block'")
    assert last["r"].mean() > 0.9  # the heads are linear in the last block
    assert result.card["n_blocks"] == 4
    assert result.card["modality"] == "vision"
