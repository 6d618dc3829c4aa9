"""Modules as people write them: without a forward pass, with logs in odd places, with pretrained networks."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning import align
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.models import ImagePreprocess, RawStimuli
from tests.helpers.training import QUICK, RAW, Network, Pictures, brain, logged

timm = pytest.importorskip("timm")


class Ordinary(pl.LightningModule):
    """No forward pass, a network, a loss and more."""

    def __init__(self, **networks):
        super().__init__()
        for name, network in (networks or {"net": Network()}).items():
            setattr(self, name, network)
        self.criterion = nn.CrossEntropyLoss()

    def training_step(self, batch, batch_idx):
        loss = self.criterion(next(self.children())(batch["image"]), batch["label"])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        next(self.children())(batch["image"])

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def trainer(*callbacks, **options):
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        callbacks=list(callbacks),
        **{"logger": False, "max_epochs": 1, "accelerator": "cpu", **quiet, **options},
    )


def loader():
    return DataLoader(Pictures(16), batch_size=8)


def fit(module, *callbacks, **options):
    run = trainer(*callbacks, log_every_n_steps=1, **options)
    pl.seed_everything(0, verbose=False)
    run.fit(module, loader())
    return run


def test_the_only_network_is_looked_at():
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW, on_error="raise")
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
        fit(module(), BrainAlignment(brain(), preprocess=RAW))
    with pytest.raises(ValueError, match=message):
        align(module(), brain(), preprocess=RAW, progress=False)
    callback = BrainAlignment(brain(), submodule="teacher", settings=QUICK, preprocess=RAW, on_error="raise")
    fit(module(), callback)
    assert not callback.curves.empty


class Flat(nn.Module):
    """A network that reads 48 numbers."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Linear(48, 48) for _ in range(3)))

    def forward(self, x):
        return self.blocks(x.flatten(1)[:, :48] if self.training else x)


def test_a_network_that_does_not_read_the_stimuli_says_so_before_the_first_step():
    module = Ordinary(net=Flat(), other=Network())
    steps = []
    module.training_step = lambda *_: steps.append(1)
    with pytest.raises(RuntimeError) as caught:
        fit(module, BrainAlignment(brain(), submodule="net", preprocess=RAW))
    text = str(caught.value)
    assert "Flat can't be shown the stimuli of 'array'" in text
    assert "It got (1, 3, 16, 16) of RawStimuli()" in text
    assert "another network: submodule='other'" in text
    assert not steps


def test_a_network_that_is_made_late_is_found():
    class Late(Ordinary):
        def configure_model(self):
            self.net = Network()

    module = Late(net=nn.Identity())
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW, on_error="raise")
    fit(module, callback)
    assert not callback.curves.empty


class Lazy(Network):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(4)


def test_what_has_no_shape_before_the_first_batch_is_looked_at_after_it():
    modules, callback = [], BrainAlignment(brain(), settings=QUICK, preprocess=RAW, on_error="raise")
    for callbacks in ([], [callback]):
        torch.manual_seed(0)
        modules.append(Ordinary(net=Lazy()))
        fit(modules[-1], *callbacks)
    assert not callback.curves.empty
    for a, b in zip(*(module.state_dict().values() for module in modules), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match=r"'head\.weight' of Lazy has no shape yet"):
        fit(Ordinary(net=Lazy()), BrainAlignment(brain(), at_start=True, preprocess=RAW))


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
def test_what_a_network_logs_while_it_is_looked_at_is_dropped(tmp_path, submodule):
    tables, values = [], []
    for look in (False, True):
        torch.manual_seed(1)
        module = Talking()
        callback = BrainAlignment(
            brain(), every_n_steps=1, submodule=submodule, settings=QUICK, preprocess=RAW, on_error="raise"
        )
        run = fit(module, *([callback] if look else []), logger=CSVLogger(tmp_path, str(look)))
        tables.append(logged(run))
        values.append({k: v for k, v in run.callback_metrics.items() if not k.startswith("brain/")})
    pd.testing.assert_frame_equal(*tables)
    assert {"size", "forward", "loss"} <= set(tables[0])
    assert values[0] == values[1]
    assert "log" not in vars(module)


# validate and test


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_ends_with_a_look(tmp_path, stage):
    module = Ordinary()
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW, on_error="raise")
    run = trainer(callback, logger=CSVLogger(tmp_path))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    getattr(run, stage)(module, loader(), verbose=False)
    again = align(module, brain(), settings=QUICK, preprocess=RAW, progress=False)
    stable = again.scores.query("feature == 'stable_mode'")
    value = run.callback_metrics[f"{stage}/brain/mean_r"]
    assert float(value) == pytest.approx(stable["r"].mean(), abs=1e-6)
    assert callback.curves.empty  # which is of a training
    assert callback.result is not None
    run.logger.save()
    assert f"{stage}/brain/mean_r2" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    for name, value in module.state_dict().items():
        if name != "net.passes":  # the stage's own
            assert torch.equal(value, before[name])


def test_a_training_s_own_validation_is_no_look_and_a_test_after_it_is_one():
    callback = BrainAlignment(brain(), settings=QUICK, preprocess=RAW, on_error="raise")
    module, run = Ordinary(), trainer(callback)
    run.fit(module, loader(), loader())
    assert callback.curves["moment"].unique().tolist() == ["epoch"]
    with torch.no_grad():
        module.net.head.weight.zero_()
        module.net.blocks[0][0].weight.mul_(-1)  # as where another checkpoint is tested
    last = callback.result.scores["r"].to_numpy()
    run.test(module, loader(), verbose=False)
    assert not np.allclose(callback.result.scores["r"].to_numpy(), last)
    assert len(callback.curves["step"].unique()) == 1


def test_a_network_that_can_not_be_shown_the_stimuli_is_refused_before_a_stage():
    with pytest.raises(RuntimeError, match="Flat can't be shown the stimuli"):
        trainer(BrainAlignment(brain(), preprocess=RAW)).test(Ordinary(net=Flat()), loader(), verbose=False)


# what a network wants to be shown


def test_a_network_without_a_configuration_is_shown_raw_images_and_said_so_once():
    callback = BrainAlignment(brain(), every_n_steps=1, settings=QUICK, on_error="raise")
    with pytest.warns(
        UserWarning, match=r"shown the images as they are, in \[0, 1\] and of 16 x 16"
    ) as caught:
        fit(Ordinary(), callback)
    said = [str(w.message) for w in caught if "as they are" in str(w.message)]
    assert len(said) == 1
    assert "preprocess=RawStimuli() says so" in said[0]
    assert len(callback.curves["step"].unique()) == 2


def small(**options):
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
