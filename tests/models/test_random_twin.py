"""Random twins: what was learned is gone, or the twin is refused."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ModelInputs
from nfas_lightning.models.random_twin import random_twin, state_sha256
from nfas_lightning.runner import score_models
from nfas_lightning.scoring import ScoringSettings


def network(wrap=lambda layer: layer):
    torch.manual_seed(0)
    return nn.Sequential(*(wrap(nn.Linear(4, 4)) for _ in range(3))).eval()


class Buffered(nn.Module):
    """Weights held as buffers, as exported networks have them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(4, 4))

    def forward(self, x):
        return x @ self.weight


class Constant(nn.Module):
    def forward(self, x):
        return x


def quantized():
    return torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(Buffered(), Buffered()), "got 0 numbers in parameters and 32 in buffers"),
        (lambda: nn.Sequential(Buffered(), nn.LayerNorm(4)), "none of its weights could be drawn anew"),
        (Constant, "none of its weights"),
        (quantized, "quantized"),
        (lambda: nn.Sequential(quantized(), nn.Linear(4, 4)), "quantized"),
    ],
)
def test_a_twin_that_would_be_the_trained_network_is_refused(build, message):
    with pytest.raises(ValueError, match=rf"has no random twin: .*{message}.*random_twins=False"):
        random_twin(build())


def test_more_numbers_in_buffers_than_in_parameters_are_warned_of():
    with pytest.warns(UserWarning, match="keeps 64 numbers in buffers, more than the 20 parameters"):
        random_twin(nn.Sequential(*(Buffered() for _ in range(4)), nn.Linear(4, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        random_twin(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), Buffered()))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ],
)
def test_reparametrized_networks_that_have_run_are_forgotten_too(wrap):
    x = torch.randn(8, 4)
    trained = network(wrap)
    before = trained(x).detach()  # which leaves computed weights in attributes
    twin = random_twin(trained)
    assert torch.equal(trained(x), before)
    without_bias = [net.requires_grad_(False) for net in (copy.deepcopy(twin), random_twin(trained))]
    assert torch.equal(*(net(x) for net in without_bias))
    for one, other in zip(trained, twin, strict=True):
        rows = (one(x) - one.bias, other(x) - other.bias)
        assert not torch.allclose(*rows, atol=1e-3)


def test_a_reset_that_leaves_parameters_is_completed():
    class Half(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.token = nn.Parameter(torch.arange(4.0))

    trained = Half()
    twin = random_twin(trained, 1)
    assert not torch.equal(twin.token, trained.token)
    assert twin.token.sort().values.equal(trained.token)


@pytest.mark.filterwarnings("ignore")
def test_states_that_are_no_tensors_are_hashed():
    assert state_sha256(quantized()) == state_sha256(quantized())
    other = network()
    nn.init.constant_(other[1].weight, 0.3)
    assert state_sha256(torch.ao.quantization.quantize_dynamic(other, {nn.Linear})) != state_sha256(
        quantized()
    )


def test_compiled_parts_have_the_weights_of_their_originals():
    plain = network()
    compiled = nn.Sequential(*(torch.compile(part, backend="eager") for part in plain))
    assert state_sha256(compiled) == state_sha256(plain)


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_twin_is_refused_before_a_pass_and_scored_without_one(tmp_path):
    seen = []
    trained = quantized()
    trained.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    images = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    betas = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))

    def score(**options):
        return score_models(
            {
                "model": trained,
                "name": "net",
                "preprocess": lambda batch: ModelInputs(args=(batch["image"][:, 0, 0],)),
            },
            ArrayDataModule(images[:, None, None].expand(20, 3, 4, 4), betas),
            tmp_path,
            settings=ScoringSettings(n_permutations=0),
            report=False,
            enable_progress_bar=False,
            accelerator="cpu",
            **options,
        )

    with pytest.raises(ValueError, match="quantized"):
        score()
    assert not seen
    results = score(random_twins=False)
    assert seen
    assert list(results.models["model"]) == ["net"]
