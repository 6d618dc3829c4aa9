"""Metrics over trajectories: equal to the functional core, whatever the batching, order and processes."""

import dataclasses
import pickle

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import MetricCollection, MetricTracker, MinMaxMetric

from nfas_lightning.alignment import card_of
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.dmd import dmd, stable_mode
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.snci import snci
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory
from nfas_lightning.metrics import SNCI, DepthSpectrum, DMDAlignment, RoiAlignment
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.metrics import SHARES, found, planted, ragged, run_processes, splits, update

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")


def expected_r(H, responses, **options):
    features = responses.to_volumes(stable_mode(H, **options))
    runs = responses.runs if responses.runs.unique().numel() > 1 else None
    selection = "loo" if responses.tr is None else "folds"
    return ridge_cv(
        features, responses.group_mean.to(features.dtype), groups=runs, gap=responses.gap, selection=selection
    )


@pytest.mark.parametrize("operator", ["joint", "per_stimulus", "pooled"])
@pytest.mark.parametrize("design", [False, True])
def test_alignment_equals_the_functional_core(operator, design):
    H, responses = planted(design=design)
    metric = update(DMDAlignment(responses, operator=operator), H, splits(len(H), 7))
    result = found(metric)
    expected = expected_r(H, responses, operator=operator)
    torch.testing.assert_close(result["r"], expected.r)
    torch.testing.assert_close(result["r2"], expected.r2)
    torch.testing.assert_close(result["mean_r"], expected.r.mean())
    torch.testing.assert_close(result["eigenvalue"], dmd(H, operator=operator).stable_eigenvalue)


@pytest.mark.parametrize(
    "options",
    [
        {"svd_rank": 4},
        {"centering": "none"},
        {"criterion": "amplitude", "svd_rank": 3},
        {"phase": "real", "centering": "none"},
    ],
)
def test_choices_of_dynamics_are_those_of_the_functional_core(options):
    H, responses = planted()
    result = found(update(DMDAlignment(responses, **options), H, splits(60, 20)))
    torch.testing.assert_close(result["r"], expected_r(H, responses, **options).r)
    others = dict(list(options.items())[1:])
    assert not torch.allclose(result["r"], expected_r(H, responses, **others).r, atol=1e-6)
    options = {name: value for name, value in options.items() if name != "phase"}
    spectrum, dynamics = found(update(DepthSpectrum(**options), H, splits(60, 20))), dmd(H, **options)
    torch.testing.assert_close(spectrum["stable_eigenvalue"], dynamics.stable_eigenvalue)
    torch.testing.assert_close(spectrum["eigenvalues"], dynamics.eigenvalues)
    torch.testing.assert_close(spectrum["amplitudes"], dynamics.amplitudes)
    torch.testing.assert_close(spectrum["distance_to_unit_circle"], dynamics.distance_to_unit_circle)
    torch.testing.assert_close(spectrum["weights"], dynamics.coefficients.abs())
    torch.testing.assert_close(result["eigenvalue"], dynamics.stable_eigenvalue)
    torch.testing.assert_close(result["distance_to_unit_circle"], dynamics.distance_to_unit_circle)


@pytest.mark.parametrize(
    ("series", "settings", "expected"),
    [
        (False, {}, {"selection": "loo"}),
        (False, {"selection": "folds", "n_folds": 4}, {"n_folds": 4}),
        (True, {}, {"gap": 5}),
        (True, {"gap": 0}, {"gap": 0}),
        (True, {"gap": 2, "n_folds": 3, "selection": "loo"}, {"gap": 2, "n_folds": 3, "selection": "loo"}),
        (True, {"score": "joint"}, {"gap": 5}),
        (True, {"score": "alone"}, {"gap": 5}),
    ],
)
def test_choices_of_encoding_are_those_of_the_functional_core(series, settings, expected):
    H, responses = planted(nuisance=True)
    generator = torch.Generator().manual_seed(3)
    values = responses.values + torch.randn(2, 60, 3, generator=generator).double()  # two noisy subjects
    responses = dataclasses.replace(responses, values=values, subjects=("s1", "s2"))
    if series:
        responses = dataclasses.replace(responses, tr=2.0, gap=5)
    X, score = stable_mode(H), settings.get("score", "partial")
    alone = ridge_cv(X, values.mean(0), **expected)
    beside = ridge_cv(X, values.mean(0), nuisances=responses.nuisances, **expected)
    three = {"alone": alone.r, "joint": beside.r_joint, "partial": beside.r}
    squares = {"alone": alone.r2, "joint": beside.r2_joint, "partial": beside.r2}
    whole = found(update(DMDAlignment(responses, **settings), H, splits(60, 20)))
    readout = RoiAlignment(responses, **settings)
    readout.update(X, torch.arange(60))
    for result in (whole, found(readout)):
        torch.testing.assert_close(result["r"], three[score])
        torch.testing.assert_close(result["r2"], squares[score])
        torch.testing.assert_close(result["mean_r2"], squares[score].mean())
        for name in three:
            torch.testing.assert_close(result[f"r_{name}"], three[name])
            torch.testing.assert_close(result[f"r2_{name}"], squares[name])
            torch.testing.assert_close(result[f"mean_r_{name}"], three[name].mean())


def test_planted_alignment_is_found_and_noise_is_not():
    H, responses = planted()
    assert found(update(DMDAlignment(responses), H, splits(len(H), 20)))["mean_r"] > 0.8
    noise, _ = planted(seed=1)
    assert found(update(DMDAlignment(responses), noise, splits(len(H), 20)))["mean_r"].abs() < 0.2


def test_any_order_batching_and_duplicates_give_the_same_bits():
    H, responses = planted(dtype=torch.float32)
    once = found(update(DMDAlignment(responses), H, [torch.arange(len(H))]))
    order = torch.randperm(len(H), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([order, order[:5], order[3:4]])
    metric = DMDAlignment(responses)
    # the sampler's padding repeats stimuli: inside a batch, across batches
    for batch in torch.split(padded, 11):
        metric.update(H[batch], batch)
    again = found(metric)
    for name, value in once.items():
        assert torch.equal(value, again[name]), name
        assert value.dtype == again[name].dtype


def test_missing_stimuli_are_nan_and_never_a_score():
    H, responses = planted()
    metric = update(DMDAlignment(responses), H, splits(len(H) - 1, 20))
    with pytest.warns(UserWarning, match="1 of the 60 stimuli of 'toy' have not been seen"):
        result = found(metric)
    assert metric.compute().isnan()
    assert all(bool(value.isnan().all()) for value in result.values())
    assert result["r"].shape == (len(responses.rois),)


def test_constant_depth_is_nan():
    H, responses = planted()
    H[:, 0] = 1.0  # the CLS vector before the first block
    metric = update(DMDAlignment(responses), H, splits(len(H), 20))
    with pytest.warns(RuntimeWarning, match=r"same state at depth \[0\]"):
        result = found(metric)
    assert result["r"].isnan().all()
    assert result["eigenvalue"].isnan()


def test_without_nuisances_there_is_one_number():
    H, responses = planted()
    result = found(update(DMDAlignment(responses), H, splits(len(H), 20)))
    assert not any("joint" in name or "alone" in name or "partial" in name for name in result)


def test_stimuli_without_a_part_in_any_volume_change_nothing():
    H, responses = planted(design=True)
    plain = found(update(DMDAlignment(responses), H, splits(len(H), 20)))
    operator = torch.cat([responses.design[0].to_dense(), torch.zeros(60, 3)], dim=1)
    ids = (*responses.stimulus_ids, "a", "b", "c")
    more = dataclasses.replace(responses, design=(operator,), stimulus_ids=ids)
    longer = torch.cat([H, 50 * torch.ones_like(H[:3])])
    result = found(update(DMDAlignment(more), longer, splits(63, 20)))
    torch.testing.assert_close(result["r"], plain["r"])
    torch.testing.assert_close(result["eigenvalue"], plain["eigenvalue"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_follows_the_input(dtype):
    H, responses = planted(dtype=dtype)
    result = found(update(DMDAlignment(responses), H, splits(len(H), 20)))
    assert result["r"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    reference = found(update(DMDAlignment(responses), H.double(), splits(len(H), 20)))
    torch.testing.assert_close(result["r"].double(), reference["r"], atol=2e-3, rtol=0)


def test_a_list_of_one_is_a_list():
    """Torchmetrics makes a scalar of a value that holds one number: details keep their shape."""
    H, responses = planted()
    responses = dataclasses.replace(responses, values=responses.values[..., :1], rois=responses.rois[:1])
    spectrum, alignment = DepthSpectrum(svd_rank=1), DMDAlignment(responses)
    for _ in range(2):  # anew after a reset
        for metric, name in ((spectrum, "eigenvalues"), (spectrum, "amplitudes"), (alignment, "r")):
            update(metric, H, splits(len(H), 20))
            for same in (metric, metric, metric.clone(), pickle.loads(pickle.dumps(metric))):
                assert found(same)[name].shape == (1,)
            metric.reset()
    assert spectrum.forward(H, torch.arange(len(H))).shape == ()


@pytest.mark.ddp
@pytest.mark.slow
def test_two_and_three_processes_with_uneven_shares_agree():
    H, responses = planted()
    alignment = found(update(DMDAlignment(responses), H, splits(len(H), 20)))
    spectrum = found(update(DepthSpectrum(), H, splits(len(H), 20)))
    uneven = DepthSpectrum()
    uneven.update([H[:, depth, : 4 + depth] for depth in range(4)], torch.arange(len(H)))
    apart = found(uneven)
    consistency = snci(
        torch.rand(9, 4, generator=torch.Generator().manual_seed(0)), ["vision", "audio", "language"] * 3
    )
    results = run_processes()
    assert sorted(results) == [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    for (world, rank), result in results.items():
        torch.testing.assert_close(result["alignment"], alignment, rtol=0, atol=1e-6)
        torch.testing.assert_close(result["spectrum"], spectrum, rtol=0, atol=1e-6)
        torch.testing.assert_close(result["uneven"], apart, rtol=0, atol=1e-6)
        torch.testing.assert_close(result["snci"], consistency, rtol=0, atol=1e-6)
        # after compute each process holds its own share again
        assert result["kept"] == len(SHARES[world][rank])
        assert "one shape and dtype" in result["mismatch"]


def test_torchmetrics_contract():
    H, responses = planted()
    for metric in (DMDAlignment(responses), DepthSpectrum()):
        assert metric.full_state_update is False
        assert metric.is_differentiable is False
        update(metric, H, splits(len(H), 20))
        result = found(metric)
        for other in (metric.clone(), pickle.loads(pickle.dumps(metric))):
            assert len(other.collected()[1]) == len(H)
            other.reset()
            assert not len(other.collected()[1])
            again = found(update(other, H, splits(len(H), 20)))
            torch.testing.assert_close(again, result)
        metric.persistent(True)
        state = metric.state_dict()
        fresh = metric.clone()
        fresh.reset()
        fresh.load_state_dict(state)
        torch.testing.assert_close(found(fresh), result)
    assert DMDAlignment(responses).higher_is_better is SNCI().higher_is_better is True
    assert DMDAlignment(responses).state_dict() == {}


def test_collection_shares_one_copy_of_the_trajectories():
    H, responses = planted()
    collection = MetricCollection(
        {"two": DMDAlignment(responses), "one": DMDAlignment(responses, svd_rank=1)}
    )
    for batch in splits(len(H), 20):
        collection.update(H[batch], batch)
    collection.compute()
    alone = found(update(DMDAlignment(responses, svd_rank=1), H, splits(len(H), 20)))
    torch.testing.assert_close(collection["one"].details, alone)
    # one of the two is updated, the other reads its states
    assert list(collection.compute_groups.values()) == [["one", "two"]]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_memory_does_not_grow_with_stimuli():
    H, responses = planted()
    metric = DMDAlignment(responses).to("cuda")
    metric.update(H[:10].cuda(), torch.arange(10))
    before = torch.cuda.memory_allocated()
    metric.update(H[10:].cuda(), torch.arange(10, len(H)))
    assert torch.cuda.memory_allocated() == before
    assert found(metric)["r"].device.type == "cuda"


@pytest.mark.parametrize("operator", ["joint", "per_stimulus", "pooled"])
@pytest.mark.parametrize("space", [{}, {"n_components": 3}, {"state_space": "random_projection", "seed": 2}])
def test_depths_of_other_widths_score_as_they_do_elsewhere(operator, space):
    _, responses = planted()
    states = ragged()
    metric = DMDAlignment(responses, operator=operator, **space)
    for batch in splits(60, 13):
        metric.update([state[batch] for state in states], batch)
    result = found(metric)
    settings = ScoringSettings(n_permutations=0, baselines=False, operator=operator, **space)
    layers = tuple(LayerInfo(str(i), i, "Linear", s.shape[1:], s.shape[1], "") for i, s in enumerate(states))
    trajectory = Trajectory(tuple(states), layers, torch.arange(60))
    card = card_of(torch.nn.Identity(), responses, "net", "mean", seconds=0.0)
    table = score_trajectory(trajectory, responses, card, settings).scores
    assert result["r"].tolist() == pytest.approx(table["r"].tolist(), abs=1e-9)
    spectrum = DepthSpectrum(**space)
    spectrum.update(states, torch.arange(60))
    if operator == "joint":
        torch.testing.assert_close(found(spectrum)["stable_eigenvalue"], result["eigenvalue"])


def test_figures():
    H, responses = planted()
    metric = update(DMDAlignment(responses), H, splits(len(H), 20))
    ax = metric.plot()[1]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(found(metric)["r"].tolist())
    assert metric.plot(ax=ax)[1] is ax
    ax = update(DepthSpectrum(), H, splits(len(H), 20)).plot()[1]
    assert len(ax.collections[0].get_offsets()) == 2
    scores = SNCI()
    scores.update(torch.rand(4, 3, generator=torch.Generator().manual_seed(0)), ["audio", "vision"] * 2)
    ax = scores.plot()[1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["audio", "vision"]


def test_errors_say_what_came():
    H, responses = planted()
    metric = DMDAlignment(responses)
    with pytest.raises(ValueError, match="below the 60 stimuli of 'toy', got 60"):
        metric.update(H[:1], torch.tensor([60]))
    with pytest.raises(ValueError, match=r"trajectory must have shape \(B, L, D\), got \(60, 5\)"):
        metric.update(H[:, :, 0], torch.arange(60))
    with pytest.raises(
        TypeError, match=r"trajectory must be a torch.Tensor \(B, L, D\) or a list .* got a list of list"
    ):
        metric.update(H.tolist(), torch.arange(60))
    with pytest.raises(ValueError, match=r"stimulus_id must have shape \(B=2,\), got \(3,\)"):
        metric.update(H[:2], torch.arange(3))
    with pytest.raises(ValueError, match="L >= 3 depths, got L = 2"):
        metric.update(H[:, :2], torch.arange(60))
    with pytest.raises(ValueError, match="integers >= 0"):
        metric.update(H[:2], torch.tensor([-1, 0]))
    with pytest.raises(ValueError, match="floating-point"):
        metric.update(H[:2].long(), torch.arange(2))
    with pytest.raises(ValueError, match="trajectory must be finite"):
        metric.update(H[:2].log(), torch.arange(2))
    metric.update(H[:2], torch.arange(2))
    with pytest.raises(ValueError, match=r"of widths \[8, 8, 8, 8, 8\], got \[8, 8, 8, 8\]"):
        metric.update(H[2:4, :4], torch.arange(2, 4))
    scores = SNCI()
    with pytest.raises(ValueError, match="seen no model"):
        scores.compute()
    with pytest.raises(ValueError, match="must fit in 63 bytes"):
        scores.update(torch.rand(1, 2), ["x" * 64])
    scores.update(torch.rand(1, 2), ["audio"])
    with pytest.raises(ValueError, match=r"scores must have shape \(B, R=2\), got \(1, 3\)"):
        scores.update(torch.rand(1, 3), ["audio"])
    with pytest.raises(ValueError, match="form must be one of"):
        SNCI(form="dB")


def test_responses_with_missing_values_are_masked():
    H, responses = planted()
    values = responses.values.clone()
    values[:, :4, 1] = float("nan")
    masked = dataclasses.replace(responses, values=values, rois=pd.DataFrame({"roi": list("abc")}))
    result = found(update(DMDAlignment(masked), H, splits(len(H), 20)))
    assert result["r"].isfinite().all()


@pytest.mark.parametrize("metric", [DMDAlignment, RoiAlignment])
@pytest.mark.parametrize("kind", ["Tensor", "ndarray", "ArrayDataModule", "NoneType"])
def test_only_responses_are_responses(metric, kind):
    values = torch.zeros(60, 2)
    given = {
        "Tensor": values,
        "ndarray": values.numpy(),
        "ArrayDataModule": ArrayDataModule(torch.rand(60, 3, 4, 4), values),
        "NoneType": None,
    }[kind]
    with pytest.raises(TypeError, match=rf"datamodule.responses after datamodule.setup\(\), got {kind}\."):
        metric(given)


@pytest.mark.parametrize(
    ("metrics", "option", "value", "message"),
    [
        ("d", "operator", "both", "operator must be one of 'joint', 'per_stimulus', 'pooled', got 'both'"),
        ("d", "phase", "quad", "phase must be one of 'quadrature', 'real', got 'quad'"),
        ("ds", "criterion", "unitcircle", "criterion must be one of 'unit_circle', .*got 'unitcircle'"),
        ("ds", "centering", "middle", "centering must be one of 'none', .*got 'middle'"),
        ("ds", "svd_rank", -2, "svd_rank must be a positive int"),
        ("ds", "svd_rank", 1.5, "svd_rank must be a positive int"),
        ("dr", "selection", "cv", "selection must be one of 'folds', 'loo', got 'cv'"),
        ("dr", "n_folds", 1, "n_folds must be at least 2, got 1"),
        ("dr", "gap", -1, "gap must be at least 0, got -1"),
        ("dr", "score", "sum", "score must be one of 'alone', 'joint', 'partial', got 'sum'"),
        ("r", "ceiling_threshold", 0.0, "ceiling_threshold must be positive, got 0.0"),
    ],
)
def test_a_bad_choice_is_refused_before_any_batch(metrics, option, value, message):
    responses = planted()[1]
    for letter in metrics:
        given = () if letter == "s" else (responses,)
        with pytest.raises(ValueError, match=message):
            {"d": DMDAlignment, "s": DepthSpectrum, "r": RoiAlignment}[letter](*given, **{option: value})


STEPS = (1, 0, 2)  # seeds of networks in training; the responses follow seed 0


def over_steps(metric, increment=lambda: None):
    """Feed one network after the other; return the mean r of each, from the functional core."""
    _, responses = planted()
    for seed in STEPS:
        H = planted(seed=seed)[0]
        increment()
        update(metric, H, splits(len(H), 20))
        yield float(expected_r(H, responses).r.mean())


def test_metric_tracker_finds_the_best_step():
    tracker = MetricTracker(DMDAlignment(planted()[1]), maximize=True)
    expected = list(over_steps(tracker, tracker.increment))
    assert tracker.compute_all().tolist() == pytest.approx(expected)
    assert tracker.best_metric(return_step=True) == (pytest.approx(expected[1]), 1)


def test_min_max_metric_keeps_the_range():
    metric, expected, seen = MinMaxMetric(DMDAlignment(planted()[1])), [], []
    for value in over_steps(metric):
        expected.append(value)
        seen.append({name: float(bound) for name, bound in metric.compute().items()})
        metric._base_metric.reset()  # an epoch ends; reset of the wrapper forgets the range too
    assert seen[-1]["raw"] == pytest.approx(expected[-1])
    assert seen[-1]["max"] == pytest.approx(max(expected))
    assert seen[-1]["min"] == pytest.approx(min(expected))


def collected():
    """A fed collection of one metric of each kind that compute makes a scalar of."""
    H, responses = planted()
    collection = MetricCollection(
        {"two": DMDAlignment(responses), "one": DMDAlignment(responses, svd_rank=1), "s": DepthSpectrum()}
    )
    return update(collection, H, splits(len(H), 20))


def test_metric_collection_is_one_number_per_metric():
    H, responses = planted()
    values = collected().compute()
    assert sorted(values) == ["one", "s", "two"]
    torch.testing.assert_close(values["two"], expected_r(H, responses).r.mean())
    torch.testing.assert_close(values["one"], expected_r(H, responses, svd_rank=1).r.mean())
    torch.testing.assert_close(values["s"], dmd(H).distance_to_unit_circle)


@pytest.mark.parametrize("together", [True, False])
def test_a_collection_draws_values_and_steps(together):
    collection = collected()
    value = {name: number.cpu() for name, number in collection.compute().items()}
    drawn = collection.plot(together=together)
    if together:
        assert len(drawn[1].lines) == 3
    else:
        assert len(drawn) == 3
    steps = collection.plot([value] * 4, together=together)
    lines = steps[1].lines if together else steps[0][1].lines
    assert len(lines[0].get_ydata()) == 4


def test_metrics_of_a_collection_draw_themselves():
    collection = collected()
    drawn = {name: metric.plot()[1] for name, metric in collection.items()}
    for name in ("one", "two"):
        bars = [bar.get_height() for bar in drawn[name].patches]
        assert bars == pytest.approx(collection[name].details["r"].tolist())
    assert len(drawn["s"].collections[0].get_offsets()) == 2


class Logs(pl.LightningModule):
    """A module that evaluates its own states, as a user of torchmetrics writes it."""

    def __init__(self, metrics):
        super().__init__()
        self.metrics = torch.nn.ModuleDict(metrics)

    def test_step(self, batch, index):
        states, ids = batch
        for name, metric in self.metrics.items():
            metric.update(states, ids)
            self.log(name, metric)


def test_self_log_takes_the_metric():
    H, responses = planted(dtype=torch.float32)
    module = Logs({"alignment": DMDAlignment(responses), "spectrum": DepthSpectrum()})
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(H, torch.arange(len(H))), batch_size=20
    )
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    logged = trainer.test(module, loader, verbose=False)[0]
    assert logged["alignment"] == pytest.approx(float(expected_r(H, responses).r.mean()), abs=1e-5)
    assert logged["spectrum"] == pytest.approx(float(dmd(H).distance_to_unit_circle), abs=1e-6)
    assert module.metrics["alignment"].details["r"].shape == (3,)  # what is not logged is still there
