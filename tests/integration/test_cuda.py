"""On a CUDA device: the numbers of the CPU, and nothing left behind."""

import pytest
import torch

from nfas_lightning import align, score_models
from nfas_lightning.alignment import record_trajectory
from nfas_lightning.callbacks import BrainAlignment, DepthTrajectory
from nfas_lightning.metrics import SNCI, DepthSpectrum, DMDAlignment, RoiAlignment
from nfas_lightning.scoring import ScoringSettings
from tests.helpers.metrics import planted, splits
from tests.helpers.training import QUICK, RAW, Network, assert_same_training, brain, train

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """The same kernels in every run, and no TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def on_device(*callbacks, **options):
    return train(*callbacks, accelerator="gpu", devices=1, epochs=1, **options)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_a_training_is_the_same_with_and_without_evaluations(precision):
    watch = BrainAlignment(
        brain(), every_n_train_steps=2, at_start=True, settings=QUICK, preprocess=RAW, on_error="raise"
    )
    depth = DepthTrajectory()
    plain = on_device(precision=precision, validate=True)
    watched = on_device(watch, depth, precision=precision, validate=True)
    assert_same_training(plain, watched)
    assert watched[1].strategy.root_device.type == "cuda"
    assert len(watch.curves["step"].unique()) >= 3
    assert all(state.device.type == "cpu" for state in depth.trajectory.states)


def test_an_evaluation_scores_what_the_cpu_scores():
    network = Network().eval()
    cpu = align(network, brain(), settings=QUICK, preprocess=RAW, progress=False).scores
    cuda = align(network, brain(), settings=QUICK, preprocess=RAW, progress=False, device="cuda").scores
    assert next(network.parameters()).device.type == "cuda"
    assert list(cuda["feature"]) == list(cpu["feature"])
    assert cuda["r"].to_numpy() == pytest.approx(cpu["r"].to_numpy(), abs=1e-3)


def test_a_suite_scores_what_the_cpu_scores(tmp_path):
    settings = ScoringSettings(n_permutations=19)
    tables = []
    for accelerator in ("cpu", "gpu"):
        torch.manual_seed(0)
        results = score_models(
            {"model": Network(), "name": "net"},
            brain(),
            tmp_path / accelerator,
            settings=settings,
            report=False,
            accelerator=accelerator,
            enable_progress_bar=False,
        )
        tables.append(results.scores)
    assert list(tables[0]["feature"]) == list(tables[1]["feature"])
    assert "random_weights" in set(tables[0]["feature"])  # the twin draws the same weights on both
    assert tables[1]["r"].to_numpy() == pytest.approx(tables[0]["r"].to_numpy(), abs=2e-3, nan_ok=True)


def test_text_with_padding_is_pooled_alike():
    transformers = pytest.importorskip("transformers")
    from nfas_lightning.hooks import DepthRecorder

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64
    )
    network = transformers.BertModel(config).eval()
    ids = torch.randint(0, 50, (6, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [1], [7], [9], [2]])
    states = []
    for device in ("cpu", "cuda"):
        network.to(device)
        with DepthRecorder(network, device="cpu") as recorder, torch.no_grad():
            recorder.mask = mask.to(device)
            network(ids.to(device), attention_mask=mask.to(device).long())
            recorder.collect(torch.arange(6))
        states.append(recorder.trajectory().stack())
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"design": True, "nuisance": True}], ids=["plain", "design"])
@pytest.mark.parametrize("kind", [DMDAlignment, RoiAlignment, DepthSpectrum])
def test_a_metric_computes_what_it_computes_on_the_cpu(kind, options, dtype):
    H, responses = planted(**options)
    H = H.to(dtype)
    results = []
    for device in ("cpu", "cuda"):
        metric = (kind() if kind is DepthSpectrum else kind(responses)).to(device)
        for batch in splits(len(H), 13):
            part = H[batch].flatten(1) if kind is RoiAlignment else H[batch]
            metric.update(part.to(device), batch.to(device))
        assert metric.compute().device.type == device
        results.append(metric.details)
    assert set(results[0]) == set(results[1])
    tolerance = 1e-7 if dtype == torch.float64 else 1e-3
    for name, value in results[1].items():
        assert value.device.type == "cuda", name
        torch.testing.assert_close(
            value.cpu(), results[0][name], rtol=tolerance, atol=tolerance, equal_nan=True
        )


def test_snci_on_a_device():
    scores = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for device in ("cpu", "cuda"):
        metric = SNCI().to(device)
        metric.update(scores.to(device), ["a", "a", "b"] * 2)
        results.append(metric.compute())
    assert results[1].device.type == "cuda"
    torch.testing.assert_close(results[1].cpu(), results[0], equal_nan=True)


class Wide(Network):
    """Holds 64 MB per stimulus while it runs."""

    def forward(self, x):
        self.held = x.new_zeros(len(x), 2**24)
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved():
    datamodule = brain()
    datamodule.setup()
    network = Wide().eval().cuda()
    expected = record_trajectory(network, datamodule.stimuli, preprocess=RAW, batch_size=2, limit=16).stack()
    network.held = None
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400 * 2**20) / total)
        with pytest.warns(
            UserWarning, match="A batch of 16 stimuli did not fit into memory: going on with 8"
        ):
            halved = record_trajectory(
                network, datamodule.stimuli, preprocess=RAW, batch_size=16, limit=16
            ).stack()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(halved, expected, rtol=1e-4, atol=1e-5)
