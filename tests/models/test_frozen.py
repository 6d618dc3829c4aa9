"""FrozenModel: frozen, lazy, and a twin without training."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import FrozenModel, LoadedModel, ModelInfo, ModelInputs, ModelSuite
from nfas_lightning.models.loaded import move_inputs
from nfas_lightning.models.random_twin import random_twin, seeded, state_sha256


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def _batch(n=2):
    return {"stimulus_id": torch.arange(n), "image": torch.rand(n, 3, 2, 2)}


def test_the_network_is_frozen_and_in_evaluation_mode_whatever_is_asked():
    model = FrozenModel(_network())
    assert not any(p.requires_grad for p in model.parameters())
    model.train()
    assert not any(module.training for module in model.modules())
    batch = _batch()
    torch.testing.assert_close(model(batch), model(batch))
    torch.testing.assert_close(model(batch), model.module(batch["image"]))


def test_a_name_loads_nothing_before_setup():
    model = FrozenModel("timm:resnet18", weights="random")
    assert not list(model.parameters())
    model.setup("predict")
    module = model.module
    assert module is not None
    model.load()
    assert model.module is module
    assert model.info.name == "resnet18_random"
    assert model.layers == "auto"
    assert model.pooling == "auto"


def test_a_wrong_name_of_the_zoo_fails_at_once_and_loads_nothing(monkeypatch):
    def load(*_, **__):
        raise AssertionError

    monkeypatch.setattr("nfas_lightning.models.frozen.load_model", load)
    for name, close in (("zoo:resnet51", "resnet50"), ("minilm_16", "minilm_l6"), ("gpt3", "zoo:gpt2")):
        with pytest.raises(ValueError, match=f"Try one of: .*{close}"):
            FrozenModel(name)
        with pytest.raises(ValueError, match=f"Try one of: .*{close}"):
            ModelSuite([{"model": name}])


def test_a_wrong_name_of_timm_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="timm has no model 'resnet_eighteen'"):
        FrozenModel("timm:resnet_eighteen", weights="random")


def test_arguments_overrule_the_loaders_choice():
    def preprocess(batch):
        return ModelInputs(args=(batch["image"] * 0,))

    loaded = LoadedModel(
        _network(), preprocess, ModelInfo("tiny", "vision", "mlp", "here"), ["1", "2", "4"], "mean"
    )
    model = FrozenModel(loaded)
    assert (model.layers, model.pooling, model.info.name) == (["1", "2", "4"], "mean", "tiny")
    changed = FrozenModel(
        loaded, layers="auto", pooling="max", preprocess=lambda b: ModelInputs((b["image"],))
    )
    assert (changed.layers, changed.pooling) == ("auto", "max")
    batch = _batch()
    assert not torch.equal(changed(batch), model(batch))


def test_inputs_go_to_the_networks_dtype_and_carry_the_mask():
    mask = torch.tensor([[True, False], [True, True]])

    def preprocess(batch):
        return ModelInputs((batch["image"],), {"ids": torch.ones(2, dtype=torch.long), "flag": True}, mask)

    class Network(nn.Linear):
        def forward(self, x, *, ids, flag):
            assert flag
            return super().forward(x.flatten(1)) * ids[:, None]

    model = FrozenModel(Network(12, 3).double(), preprocess=preprocess)
    inputs = model.inputs(_batch())
    assert inputs.args[0].dtype == torch.float64
    assert inputs.kwargs["ids"].dtype == torch.int64
    assert model(_batch()).dtype == torch.float64
    assert torch.equal(model.mask, mask)


def test_a_network_that_is_loaded_late_goes_where_the_model_was_sent():
    model = FrozenModel("timm:test_vit", weights="random").to("meta")
    assert {p.device.type for p in model.load().module.parameters()} == {"meta"}
    assert model(_batch()).device.type == "meta"


def test_the_weights_device_counts_and_a_module_that_is_handed_over_stays_there():
    mask = torch.ones(2, 4, dtype=torch.bool)
    card = ModelInfo("tiny", "vision", "mlp", "here")
    elsewhere = FrozenModel(
        LoadedModel(_network().to("meta"), lambda b: ModelInputs((b["image"],), mask=mask), card)
    )
    assert {p.device.type for p in elsewhere.parameters()} == {"meta"}
    assert elsewhere(_batch()).device.type == elsewhere.mask.device.type == "meta"
    here = FrozenModel(_network())
    here._device = torch.device("meta")  # a Trainer says so before it moves anything
    assert here(_batch()).device.type == "cpu"


def test_inputs_follow_buffers_where_there_are_no_parameters_and_stay_where_there_is_neither():
    inputs = ModelInputs((torch.zeros(2, 3),))
    assert move_inputs(inputs, nn.BatchNorm1d(3, affine=False).double()).args[0].dtype == torch.float64
    assert move_inputs(inputs, nn.BatchNorm1d(3, affine=False).to("meta")).args[0].device.type == "meta"
    assert move_inputs(inputs, nn.Flatten()) is inputs


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda batch: batch["image"],
        lambda batch: (batch["image"],),
        lambda batch: {"input": batch["image"]},
        lambda batch: ModelInputs((batch["image"],)),
    ],
)
def test_a_preprocessing_may_return_whatever_a_forward_pass_takes(preprocess):
    plain = nn.Linear(12, 4)
    batch = {"image": torch.randn(2, 12)}
    model = FrozenModel(plain, preprocess=preprocess)
    assert torch.equal(model(batch), plain(batch["image"]))


def test_preprocessing_is_checked():
    model = FrozenModel(_network(), preprocess=lambda batch: [batch["image"]])
    with pytest.raises(TypeError, match=r"must return ModelInputs, a tensor, .* of keywords, got list\."):
        model(_batch())
    with pytest.raises(TypeError, match=r"Raw stimuli must not be halved.*bf16-mixed"):
        model({"image": torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16)})
    with pytest.raises(ValueError, match=r"must hold 'image', 'clip' or 'audio', got \['text'\]"):
        FrozenModel(_network())({"text": []})


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_a_trainer_runs_every_stage_and_keeps_only_ids(method, tmp_path):
    model = FrozenModel(_network())
    loader = DataLoader([{"stimulus_id": i, "image": torch.rand(3, 2, 2)} for i in range(5)], batch_size=2)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    result = getattr(trainer, method)(model, loader)
    if method == "predict":
        assert torch.cat(result).tolist() == [0, 1, 2, 3, 4]


def test_fit_is_refused(tmp_path):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path, max_epochs=1,
        enable_checkpointing=False,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="FrozenModel does not train"):
        trainer.fit(FrozenModel(_network()), DataLoader([_batch(1)]))


def test_hyperparameters_can_be_written_to_yaml():
    model = FrozenModel("timm:resnet18", weights="random", seed=3, layers=["layer1.*"])
    assert dict(model.hparams) == {
        "model": "timm:resnet18", "weights": "random", "seed": 3, "layers": ["layer1.*"], "pooling": None,
        "time": "mean",
        "revision": None, "options": None, "folder": None, "name": None, "modality": None, "dtype": None,
        "device_map": None, "quantization_config": None, "attn_implementation": None,
    }  # fmt: skip
    assert FrozenModel(_network()).hparams["model"] == "sequential"


def test_options_reach_the_builder_of_a_packaged_model_and_no_other():
    model = FrozenModel("whisper_base", weights="random", options={"max_seconds": 5.0})
    assert "max_seconds=5.0" in model.info.note
    with pytest.raises(ValueError, match="packaged models have them"):
        FrozenModel("timm:resnet18", weights="random", options={"size": 96}).load()


def test_jsonargparse_builds_it_from_plain_values():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser()
    parser.add_subclass_arguments(FrozenModel, "model")
    parsed = parser.parse_object(
        {"model": {"class_path": "nfas_lightning.models.FrozenModel",
                   "init_args": {"model": "timm:resnet18", "weights": "random", "layers": ["layer*.0"]}}}
    )  # fmt: skip
    build = getattr(parser, "instantiate", parser.instantiate_classes)  # renamed in 4.49
    model = build(parsed).model
    model.setup("predict")
    assert isinstance(model, FrozenModel)


class Odd(nn.Module):
    """Parameters that no reset_parameters reaches, and weights shared between depths."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.arange(64.0))
        self.norm = nn.BatchNorm1d(64)
        self.attention = nn.MultiheadAttention(64, 2)
        self.first = nn.Linear(64, 64)
        self.last = nn.Linear(64, 64)
        self.last.weight = self.first.weight
        self.register_buffer("positions", torch.arange(5))


def test_a_random_twin_forgets_everything_and_nothing_else_changes():
    trained = Odd()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.copy_(torch.linspace(3, 4, parameter.numel()).view_as(parameter))
        trained.norm.running_mean.fill_(5)
    before, state = state_sha256(trained), torch.get_rng_state()
    twin = random_twin(trained, seed=1)
    assert state_sha256(trained) == before
    assert torch.equal(torch.get_rng_state(), state)
    for (name, old), (_, new) in zip(trained.named_parameters(), twin.named_parameters(), strict=True):
        assert not torch.equal(old, new), name
    assert torch.equal(twin.token.sort().values, trained.token.sort().values)
    assert torch.equal(twin.norm.running_mean, torch.zeros(64))
    assert torch.equal(twin.positions, trained.positions)
    assert twin.last.weight is twin.first.weight
    assert state_sha256(random_twin(trained, seed=1)) == state_sha256(twin)
    assert state_sha256(random_twin(trained, seed=2)) != state_sha256(twin)


def test_a_twin_seeds_no_accelerator_that_it_does_not_live_on(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    random_twin(_network(), seed=1)
    assert seeds == [0]  # of _network, which seeds as a user would


def test_accelerators_of_a_network_are_seeded_and_put_back_and_others_left_alone(monkeypatch):
    generators = (torch.Generator().manual_seed(10), torch.Generator().manual_seed(11))  # of a pretended CUDA
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: generators[device].get_state())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: generators[device].set_state(state)
    )
    network = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=torch.device("cuda", 1))])
    before = [generator.get_state() for generator in generators]
    first, second = (
        seeded(3, lambda: (generators[0].initial_seed(), torch.rand(4, generator=generators[1])), network)
        for _ in range(2)
    )
    assert first[0] == second[0] == 10
    assert torch.equal(first[1], second[1])
    assert torch.equal(first[1], torch.rand(4, generator=torch.Generator().manual_seed(3)))
    for generator, state in zip(generators, before, strict=True):
        assert torch.equal(generator.get_state(), state)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_twins_leave_the_stream_of_a_cuda_device_as_it_was():
    for device in ("cpu", "cuda"):
        network = _network().to(device)
        state = torch.cuda.get_rng_state()
        assert state_sha256(random_twin(network, 1)) == state_sha256(random_twin(network, 1))
        assert torch.equal(torch.cuda.get_rng_state(), state)


def test_weights_random_draws_a_modules_weights_anew():
    network = _network()
    weight = network[1].weight.clone()
    model = FrozenModel(network, weights="random", seed=1)
    assert torch.equal(network[1].weight, weight)
    assert not torch.equal(model.module[1].weight, weight)
    assert model.info.name == "sequential_random"
    assert model.info.source == "random (seed 1)"
    card = ModelInfo("x", "vision", "x", "x", "CC-BY-4.0", note="cut", objective="supervised (ImageNet)")
    again = FrozenModel(LoadedModel(network, lambda b: ModelInputs(), card), weights="random", seed=1)
    assert torch.equal(again.module[1].weight, model.module[1].weight)
    assert again.info.weights_sha256 == model.info.weights_sha256
    assert (again.info.license, again.info.objective) == ("", "none")
    assert again.info.note == "Random weights, never trained."
    with pytest.raises(ValueError, match="weights must be one of 'pretrained', 'random', got 'none'"):
        FrozenModel(network, weights="none")


def test_a_recorder_reads_the_mask_of_the_running_batch():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))

        def forward(self, x):
            return self.layers(x)

    def preprocess(batch):
        return ModelInputs((batch["image"],), mask=batch["image"][..., 0] < 0.5)

    model = FrozenModel(Tokens(), preprocess=preprocess)
    x = torch.rand(3, 9, 2)
    with DepthRecorder(model.module, "layers.*", mask_source=lambda: model.mask) as rec:
        model({"image": x})
    for state, row, value in zip(rec.states[0], x, model.module.layers[0](x), strict=True):
        torch.testing.assert_close(state, value[row[:, 0] < 0.5].mean(0))


def test_an_offloaded_network_has_its_hash_and_runs_under_a_trainer():
    accelerate = pytest.importorskip("accelerate")
    whole, network = _network(), _network()
    network.load_state_dict(whole.state_dict())
    network.register_buffer("steps", torch.zeros(1))
    whole.register_buffer("steps", torch.zeros(1))
    accelerate.cpu_offload(network, execution_device=torch.device("cpu"))
    model = FrozenModel(network)
    assert model.info.weights_sha256 == state_sha256(whole)
    assert model.to(torch.float64) is model  # stays: accelerate moves what runs
    batch = _batch()
    torch.testing.assert_close(model(batch), FrozenModel(whole)(batch))
    with pytest.raises(ValueError, match=r"no random twin: its weights are offloaded"):
        FrozenModel(network, weights="random")
