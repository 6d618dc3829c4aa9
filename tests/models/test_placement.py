"""Networks in half precision, spread over devices, offloaded, quantized: recorded where they run."""

import json
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.errors import InputError
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import FrozenModel, load_model, load_zoo
from nfas_lightning.models.placement import as_dtype
from nfas_lightning.models.random_twin import NoTwinError, random_twin
from tests.helpers.pretended_device import PretendedDevice, pretend, reveal
from tests.helpers.zoo import save_files, small_entry

accelerate = pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

PLACES = {
    "embeddings": "cpu", "encoder.layer.0": "cpu", "encoder.layer.1": "disk", "encoder.layer.2": "cpu",
    "pooler": "cpu",
}  # fmt: skip
TEXTS = {"text": [TextStimulus("the cat sat"), TextStimulus("cat")]}
ELSEWHERE = torch.device("meta")  # where nothing could run


@pytest.fixture
def folder(word_tokenizer, tmp_path):
    """A small BERT, as save_pretrained writes it."""
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    word_tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def states(model: FrozenModel) -> torch.Tensor:
    module = model.load().module
    with torch.inference_mode(), DepthRecorder(module, model.layers, mask_source=lambda: model.mask) as rec:
        model(TEXTS)
        return torch.stack([state.float() for state in rec.states], 1)


def test_a_dtype_is_raised_kept_or_chosen_and_the_card_says_which(folder):
    plain = FrozenModel(f"hf:{folder}")
    half = folder.parent / "half"
    transformers.BertModel.from_pretrained(folder).half().save_pretrained(half)
    for file in folder.glob("token*"):
        (half / file.name).write_bytes(file.read_bytes())
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))  # the files know better
    for path, dtype, runs, note in (
        (half, None, torch.float32, "Stored in torch.float16, loaded as torch.float32."),
        (half, "float16", torch.float16, "Runs in torch.float16."),
        (folder, "auto", torch.float32, ""),
        (
            folder,
            "bfloat16",
            torch.bfloat16,
            "Stored in torch.float32, loaded as torch.bfloat16. Runs in torch.bfloat16.",
        ),
    ):
        model = FrozenModel(f"hf:{path}", dtype=dtype)
        torch.testing.assert_close(states(model), states(plain), rtol=0.1, atol=0.05)
        assert {value.dtype for value in model.module.parameters()} == {runs}
        assert model.info.note == note
        twin = FrozenModel(f"hf:{path}", dtype=dtype, weights="random")
        assert {value.dtype for value in twin.load().module.parameters()} == {runs}
    with pytest.raises(ValueError, match="dtype must be one of 'float32', 'bfloat16'"):
        load_model(f"hf:{folder}", dtype="int8")
    assert as_dtype("auto", ["torch.float16", "torch.float32"]) == torch.float32  # which holds both


def test_an_attention_is_chosen_and_what_a_source_does_not_take_is_refused(folder, tmp_path):
    for weights in ("pretrained", "random"):
        loaded = load_model(f"hf:{folder}", attn_implementation="eager", weights=weights)
        assert loaded.module.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match=r"'linear' takes no dtype, got 'float16': .*module.to\(dtype\)"):
        load_model(nn.Linear(2, 2), dtype="float16")
    with pytest.raises(ValueError, match=r"'resnet18' takes no device_map, got 'auto': models of transf"):
        load_model("timm:resnet18", device_map="auto")
    with pytest.raises(ValueError, match=r"takes no dtyp, got 'auto': expected one of revision"):
        load_model(f"hf:{folder}", dtyp="auto")
    for weights in ("pretrained", "random"):
        with pytest.raises(ValueError, match="deit_base is of timm, which takes no device_map: dtype alone"):
            load_zoo("deit_base", device_map="cpu", weights=weights, folder=tmp_path)
    half = load_model("timm:test_vit", dtype="bfloat16", weights="random")
    assert {value.dtype for value in half.module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("device_map", ["auto", "cpu", PLACES], ids=["auto", "one", "offloaded"])
def test_a_network_under_a_device_map_stays_where_it_is_and_has_the_same_states(device_map, folder, tmp_path):
    plain = FrozenModel(f"hf:{folder}")
    model = FrozenModel(f"hf:{folder}", device_map=device_map).to(ELSEWHERE)
    torch.testing.assert_close(states(model), states(plain), rtol=0, atol=0)
    assert states(model.to(torch.float64)).equal(states(plain))
    assert model.info.weights_sha256 == plain.info.weights_sha256
    recorded = DepthTrajectory()
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[recorded],
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.test(model, DataLoader([{"stimulus_id": torch.arange(2), **TEXTS}], batch_size=None))
    torch.testing.assert_close(recorded.trajectory.stack(), states(plain), rtol=1e-5, atol=1e-6)
    twin = FrozenModel(f"hf:{folder}", device_map=device_map, weights="random", seed=3)
    if device_map is PLACES:
        with pytest.raises(NoTwinError, match=r"no random twin: parts of it lie on the disk.*random_twins=F"):
            twin.load()
        return
    state = torch.get_rng_state()
    assert not torch.allclose(states(twin), states(plain), atol=1e-2)
    assert torch.equal(torch.get_rng_state(), state)
    assert twin.module.hf_device_map
    again = FrozenModel(f"hf:{folder}", device_map=device_map, weights="random", seed=3)
    assert again.info.weights_sha256 == twin.info.weights_sha256


@pytest.mark.parametrize("how", ["cpu_offload", "disk_offload", "dispatch_model", "hooked"])
def test_what_accelerate_has_placed_is_recorded_as_it_is(how, folder, tmp_path):
    plain = FrozenModel(f"hf:{folder}")
    network, cpu = transformers.BertModel.from_pretrained(folder), torch.device("cpu")
    if how == "cpu_offload":
        accelerate.cpu_offload(network, execution_device=cpu)
    elif how == "disk_offload":
        accelerate.disk_offload(network, tmp_path / "off", execution_device=cpu)
    elif how == "dispatch_model":
        accelerate.dispatch_model(network, PLACES, offload_dir=tmp_path / "off")
    else:
        accelerate.hooks.attach_align_device_hook(network, execution_device=cpu)
    model = FrozenModel(network, preprocess=plain.load().preprocess).to(ELSEWHERE)
    assert model.info.weights_sha256 == plain.info.weights_sha256
    assert states(model).equal(states(plain))
    if how == "hooked":  # nothing is offloaded: it has a twin, whose hooks run the twin's own weights
        twin = FrozenModel(network, preprocess=plain.load().preprocess, weights="random")
        assert not torch.allclose(states(twin), states(plain), atol=1e-2)
        assert states(model).equal(states(plain))
    else:
        with pytest.raises(NoTwinError, match="no random twin: its weights are offloaded"):
            random_twin(network)


def test_blocks_on_two_devices_are_recorded_where_they_run():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            y = self.layers[1](self.layers[0](x))
            return reveal(self.layers[2](pretend(y)))

    network = Split()
    x, mask = torch.randn(2, 5, 4), torch.tensor([[True, True, False, False, False], [True] * 5])
    wanted, state = [], x
    for layer in network.layers:
        state = layer(state).detach()
        wanted.append(torch.stack([row[shown].mean(0) for row, shown in zip(state, mask, strict=True)]))
    last, network.hf_device_map = network.layers[2], {"layers.2": "elsewhere"}
    with torch.no_grad(), PretendedDevice():
        last._parameters = {name: pretend(value) for name, value in last._parameters.items()}
        with DepthRecorder(network, "layers.*", device="cpu") as rec:
            rec.mask = mask
            network(x)
            torch.testing.assert_close(rec.states, wanted)


QUANTIZED = {
    "bitsandbytes 4-bit": ("bitsandbytes", {"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.1),
    "bitsandbytes 8-bit": ("bitsandbytes", {"quant_method": "bitsandbytes", "load_in_8bit": True}, 0.01),
    "torchao": ("torchao", None, 0.01),
}


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.filterwarnings("ignore")
def test_a_quantized_network_is_never_moved_and_has_no_twin(name, folder):
    package, config, within = QUANTIZED[name]
    pytest.importorskip(package)
    if config is None:
        kind = pytest.importorskip("torchao.quantization").Int8WeightOnlyConfig
        config = transformers.TorchAoConfig(kind())
    plain = FrozenModel(f"hf:{folder}")
    model = FrozenModel(f"hf:{folder}", quantization_config=config, device_map="cpu").to(ELSEWHERE)
    found, expected = states(model), states(plain)
    assert 0 < float((found - expected).norm() / expected.norm()) < within
    assert model.info.note == f"Quantized ({package})."
    again = FrozenModel(f"hf:{folder}", quantization_config=config)
    assert again.info.weights_sha256 == model.info.weights_sha256 != plain.info.weights_sha256
    for build in (
        lambda: FrozenModel(f"hf:{folder}", quantization_config=config, weights="random").load(),
        lambda: random_twin(model.module),
    ):
        with pytest.raises(NoTwinError, match=r"no random twin: its weights are quantized.*random_twins=Fa"):
            build()


def test_a_network_that_says_it_is_quantized_is_believed(folder):
    network = transformers.BertModel.from_pretrained(folder)
    network.is_quantized, network.quantization_method = True, SimpleNamespace(value="some")
    plain = FrozenModel(f"hf:{folder}")
    model = FrozenModel(network, preprocess=plain.load().preprocess).to(ELSEWHERE)
    assert states(model).equal(states(plain))
    assert model.info.note == "Quantized (some)."
    with pytest.raises(NoTwinError, match="its weights are quantized"):
        random_twin(network)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}  # the checkpoint itself is quantized
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(NoTwinError, match="bert has no random twin: its weights are quantized"):
        load_model(f"hf:{folder}", weights="random")


def test_the_zoo_takes_all_of_it(tmp_path):
    entry = small_entry("whisper_tiny")
    saved = save_files(entry, tmp_path)
    loaded = load_zoo(entry, folder=tmp_path, dtype="auto", device_map="cpu", attn_implementation="eager")
    assert loaded.module.hf_device_map == {"": "cpu"}  # of the whole, of which the encoder runs
    assert loaded.module.config._attn_implementation == "eager"
    model = FrozenModel(loaded).to(ELSEWHERE)
    assert torch.equal(next(model.module.parameters()), next(saved.encoder.parameters()))
    for weights in ("pretrained", "random"):
        half = load_zoo(entry, folder=tmp_path, dtype="bfloat16", weights=weights)
        assert {value.dtype for value in half.module.parameters()} == {torch.bfloat16}
        assert half.info.note.endswith("Runs in torch.bfloat16.")
    with pytest.raises(InputError, match="no random twin"):
        load_zoo(entry, folder=tmp_path, quantization_config={"load_in_8bit": True}, weights="random")
