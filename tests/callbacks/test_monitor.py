"""One evaluation: what it finds, what it shows the network, what fails, and what a mistake says."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ImagePreprocess, RawStimuli
from nfas_lightning.scoring import ScoringSettings
from tests.helpers.ordinary import Ordinary, fit
from tests.helpers.training import QUICK, RAW, Network, brain, images, logged, monitor, train


def test_an_evaluation_finds_what_align_finds_on_the_same_weights():
    # no memory for states: they go to disk, and scores are the same
    callback = monitor(settings=ScoringSettings(n_permutations=0), name="net", memory_budget=0)
    module, _ = train(callback)
    again = align(module.model, brain(), name="net", progress=False, preprocess=RAW)
    pd.testing.assert_frame_equal(callback.result.scores, again.scores)
    last = callback.curves.query("step == step.max() and network == 'all ROIs' and feature == 'stable_mode'")
    assert float(last["r"].iloc[0]) == pytest.approx(
        again.scores.query("feature == 'stable_mode'")["r"].mean()
    )


def test_planted_responses_are_found_and_noise_is_not():
    found, missed = (monitor(signal) for signal in (True, False))
    train(found, missed)
    signal, noise = (c.curves.query("network == 'all ROIs'")["r"].iloc[-1] for c in (found, missed))
    assert signal > 0.5
    assert abs(noise) < 0.25


# which network


def test_the_only_network_is_evaluated():
    callback = monitor()
    module = Ordinary()
    fit(module, callback)
    for what in (module.net, module):  # align() takes either
        again = align(what, brain(), settings=QUICK, preprocess=RAW, progress=False)
        assert callback.result.scores["r"].tolist() == pytest.approx(again.scores["r"].tolist())


def test_of_two_networks_one_must_be_named():
    def module():
        return Ordinary(student=Network(), teacher=Network(), head=nn.Linear(4, 2))

    message = (
        "has no forward pass of its own, and holds 2 networks .* submodule='student' or submodule='teacher'"
    )
    with pytest.raises(ValueError, match=message):
        fit(module(), monitor())
    with pytest.raises(ValueError, match=message):
        align(module(), brain(), preprocess=RAW, progress=False)
    callback = monitor(submodule="teacher")
    fit(module(), callback)
    assert not callback.curves.empty


def test_a_network_that_is_made_late_is_found():
    class Late(Ordinary):
        def configure_model(self):
            self.net = Network()

    module = Late(net=nn.Identity())
    callback = monitor()
    fit(module, callback)
    assert not callback.curves.empty


class Talking(Ordinary):
    """Logs from its forward pass and from a hook on its network."""

    def __init__(self):
        super().__init__()
        self.net.register_forward_hook(lambda *_: self.log("size", float(_[2].detach().abs().mean())))

    def forward(self, x):
        out = self.net(x)
        self.log_dict({"forward": out.mean()})
        return out

    def training_step(self, batch, batch_idx):
        loss = self.criterion(self(batch["image"]), batch["label"])
        self.log("loss", loss)
        return loss


@pytest.mark.parametrize("submodule", [None, "net"])
def test_what_a_network_logs_during_an_evaluation_is_dropped(tmp_path, submodule):
    tables, values = [], []
    for watched in (False, True):
        torch.manual_seed(1)
        module = Talking()
        callback = monitor(every_n_train_steps=1, submodule=submodule)
        run = fit(module, *([callback] if watched else []), logger=CSVLogger(tmp_path, str(watched)))
        tables.append(logged(run))
        values.append({k: v for k, v in run.callback_metrics.items() if not k.startswith("brain/")})
    pd.testing.assert_frame_equal(*tables)
    assert {"size", "forward", "loss"} <= set(tables[0])
    assert values[0] == values[1]
    assert "log" not in vars(module)


# what a network wants to be shown


def test_a_network_without_a_configuration_is_shown_raw_images_and_said_so_once():
    callback = BrainAlignment(brain(), every_n_train_steps=1, settings=QUICK, on_error="raise")
    with pytest.warns(
        UserWarning, match=r"shown the images as they are, in \[0, 1\] and of 16 x 16"
    ) as caught:
        fit(Ordinary(), callback)
    said = [str(w.message) for w in caught if "as they are" in str(w.message)]
    assert len(said) == 1
    assert "preprocess=RawStimuli() says so" in said[0]
    assert len(callback.curves["step"].unique()) == 2


def small(**options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=4, **options)


class Around(nn.Module):
    """A module around a network; one that prepares images itself, too."""

    def __init__(self, prepares):
        super().__init__()
        self.body, self.prepares = small(), prepares

    def forward(self, x):
        return self.body((x - 0.5) / 0.2 if self.prepares else x)


@pytest.mark.parametrize("how", ["network", "around", "prepares", "given", "lightning"])
def test_timm_networks_are_shown_what_they_were_trained_on(how):
    own = ImagePreprocess((160, 160), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.95, "bilinear")
    network = small()
    assert network.pretrained_cfg["input_size"][1:] == (160, 160)
    given, wanted = None, own
    if how in ("around", "prepares"):
        network = Around(how == "prepares")
        wanted = RawStimuli() if how == "prepares" else own
    elif how == "given":
        given = wanted = RawStimuli()
    expected = align(network, brain(), settings=QUICK, preprocess=wanted, progress=False).scores["r"]
    if how == "lightning":
        module = Ordinary(net=network)
        module.training_step = lambda *_: None  # so that the weights stay
        callback = BrainAlignment(brain(), settings=QUICK, every_n_epochs=0, on_error="raise")
        module.net.eval()
        fit(module, callback)
        found = callback.result.scores["r"]
    else:
        found = align(network, brain(), settings=QUICK, preprocess=given, progress=False).scores["r"]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    other = RawStimuli() if wanted is own else own
    assert align(network, brain(), settings=QUICK, preprocess=other, progress=False).scores[
        "r"
    ].tolist() != pytest.approx(expected.tolist(), abs=1e-3)


# failures


class Failing(Network):
    """Fails in evaluation, once it has trained: what it is shown before the first step is several passes."""

    has_trained = False

    def forward(self, x):
        self.has_trained |= self.training
        if self.has_trained and not self.training:
            raise self.failure
        return super().forward(x)


class Broken(Failing):
    failure = RuntimeError("the sensor is unplugged")


def test_a_failed_evaluation_is_reported_once_and_the_training_goes_on():
    callback = monitor(on_error="warn")
    with pytest.warns(UserWarning, match="the sensor is unplugged") as caught:
        module, _ = train(callback, network=Broken)
    assert sum("sensor" in str(w.message) for w in caught) == 1
    assert len(module.seen) == 12
    assert module.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_shares_that_do_not_fit_together_are_a_failed_evaluation(monkeypatch):
    def refuse(own):
        raise ValueError("All processes must record the same layers")

    monkeypatch.setattr("nfas_lightning.callbacks.monitor.gather_trajectories", refuse)
    with pytest.warns(UserWarning, match="failed, .* ValueError: All processes must record"):
        module, _ = train(monitor(on_error="warn"))
    assert len(module.seen) == 12


def test_a_failed_evaluation_stops_the_training_where_asked():
    callback = monitor()
    network = Broken()
    with pytest.raises(RuntimeError, match="step 6 failed: RuntimeError: the sensor is unplugged"):
        train(callback, network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class Interrupted(Failing):
    failure = KeyboardInterrupt


def test_hooks_are_gone_after_an_interruption():
    network = Interrupted()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(monitor(), network=lambda: network)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert network.blocks.training


class Hungry(Network):
    """Runs out of memory above three images."""

    def forward(self, x):
        if not self.training and len(x) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved():
    plain = monitor()
    train(plain)
    halved = monitor()
    with pytest.warns(UserWarning, match="A batch of 7 stimuli did not fit into memory: going on with 3"):
        train(halved, network=Hungry)
    pd.testing.assert_frame_equal(halved.curves, plain.curves)


class Starving(Failing):
    failure = torch.cuda.OutOfMemoryError("out of memory")


def test_a_stimulus_that_never_fits_is_a_failure():
    callback = monitor(on_error="warn")
    with pytest.warns(UserWarning, match=r"step 6 failed.*OutOfMemoryError: out of memory") as caught:
        module, _ = train(callback, network=Starving)
    halvings = [str(w.message) for w in caught if "did not fit" in str(w.message)]
    assert [text.split()[3] for text in halvings[:2]] == ["7", "3"]
    assert len(module.seen) == 12


def test_a_logger_that_fails_does_not_end_the_training(tmp_path):
    class Offended(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if any(key.startswith("brain/") for key in metrics):
                raise OSError("disk full")
            super().log_metrics(metrics, step)

    with pytest.warns(UserWarning, match="OSError: disk full"):
        module, _ = train(monitor(on_error="warn"), logger=Offended(tmp_path))
    assert len(module.seen) == 12
    with pytest.raises(RuntimeError, match="OSError: disk full"):
        train(
            monitor(),
            logger=Offended(tmp_path),
        )


def test_stimuli_have_a_preprocessing_of_their_own():
    def negative(batch):
        return 1 - batch["image"]

    callback = BrainAlignment(brain(), settings=QUICK, preprocess=negative, name="net", on_error="raise")
    module, _ = train(callback)
    scores = {
        given: align(
            module.model, brain(), settings=QUICK, preprocess=given, name="net", progress=False
        ).scores
        for given in (negative, RAW)
    }
    pd.testing.assert_frame_equal(callback.result.scores, scores[negative])
    assert not np.allclose(callback.result.scores["r"], scores[RAW]["r"])


def test_compiled_networks_run_uncompiled_and_stay_compiled():
    eager = monitor()
    train(eager)
    wrapped = monitor()
    train(wrapped, network=lambda: torch.compile(Network(), backend="eager"))
    pd.testing.assert_frame_equal(wrapped.curves, eager.curves)

    def in_place():
        network = Network()
        network.compile(backend="eager")
        return network

    module, _ = train(monitor(), network=in_place)
    assert module.model._compiled_call_impl is not None


def test_a_compiled_part_calls_its_hooks_and_is_not_compiled_again():
    """Each new compilation counts against the limit after which the training itself would run uncompiled."""
    compilations = []

    def backend(graph, inputs):
        compilations.append(len(inputs))
        return graph.forward

    torch.manual_seed(0)
    network = Network().eval()
    expected = align(network, brain(), settings=QUICK, progress=False, preprocess=RAW)
    network.blocks = torch.compile(network.blocks, backend=backend)
    network(images(7))
    before = len(compilations)
    found = align(
        network, brain(), layers="blocks._orig_mod.*", settings=QUICK, progress=False, preprocess=RAW
    )
    assert before > 0
    assert len(compilations) == before
    pd.testing.assert_frame_equal(found.scores, expected.scores)


def silent_brain() -> ArrayDataModule:
    return ArrayDataModule(images(), torch.full((len(images()), 2), torch.nan))


def test_mistakes_show_before_the_first_step():
    with pytest.raises(TypeError, match="a BrainDataModule such as ArrayDataModule; got LightningDataModule"):
        BrainAlignment(pl.LightningDataModule())
    with pytest.raises(ValueError, match="on_error must be one of"):
        monitor(on_error="ignore")
    with pytest.raises(ValueError, match="never due"):
        monitor(every_n_epochs=0, at_end=False)
    with pytest.raises(ValueError, match="every_n_train_steps must be at least 1, or 0 for never, got -1"):
        monitor(every_n_train_steps=-1)
    with pytest.raises(ValueError, match=r"memory_budget must be .*got -1"):
        monitor(memory_budget=-1)
    with pytest.raises(ValueError, match=r"blocks\.7"):
        train(monitor(layers=["blocks.7"]))
    with pytest.raises(
        ValueError,
        match=r"^submodule must be the dotted name of a module inside \w+, got 'modell'\. Did you mean",
    ):
        train(monitor(submodule="modell"))
    with pytest.raises(ValueError, match=r"got 'qqq'\. It holds .*'model'"):
        train(monitor(submodule="qqq"))
    with (
        pytest.warns(UserWarning, match="no value at all"),
        pytest.raises(ValueError, match="NaN throughout for 1 of 1 subjects"),
    ):
        train(BrainAlignment(silent_brain(), preprocess=RAW))
    for settings, reason in (
        (ScoringSettings(gap=40, selection="folds"), "leaves no training data beside a test block"),
        (ScoringSettings(n_folds=61), "need at least that many volumes, got 60"),
    ):
        with pytest.raises(ValueError, match=reason):
            train(monitor(settings=settings))
    texts = ArrayDataModule([f"text {i}" for i in range(12)], torch.zeros(12, 2))
    with pytest.raises(ValueError, match="Give the model a preprocess"):
        train(BrainAlignment(texts, preprocess=RAW))
