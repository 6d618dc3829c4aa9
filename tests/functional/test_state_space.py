import time

import numpy as np
import pytest
import torch

from nfas_lightning.functional.dmd import combine_depths, depth_gram, dmd
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.state_space import StateSpace, _sketch_matrix

WIDTHS = (9, 40, 64, 12)


def layers(n=30, widths=WIDTHS, seed=0, dtype=torch.float64):
    """Layers that share a three-dimensional signal, so that alignment has something to find."""
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    mixing = torch.Generator().manual_seed(99)
    return [
        (
            signal @ torch.randn(3, width, generator=mixing, dtype=torch.float64)
            + 0.3 * torch.randn(n, width, generator=generator, dtype=torch.float64)
            + 2
        ).to(dtype)
        for width in widths
    ]


def orthogonal(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


def plain_procrustes(states, k):
    """Center, unit norm, PCA by SVD, sequential Procrustes: H (N, L, k) up to the first layer's signs."""
    aligned = []
    for state in states:
        Z = state.numpy() - state.numpy().mean(axis=0)
        U, s, _ = np.linalg.svd(Z / np.linalg.norm(Z), full_matrices=False)
        scores = U[:, :k] * s[:k]
        if aligned:
            P, _, Qh = np.linalg.svd(scores.T @ aligned[-1])
            scores = scores @ P @ Qh
        aligned.append(scores)
    return np.stack(aligned, axis=1)


@pytest.mark.parametrize(("n", "bound"), [(6, None), (30, 9), (80, 5)])
def test_equals_a_plain_implementation_where_every_layer_is_wide_enough(n, bound):
    states = layers(n)
    H = StateSpace("procrustes", n_components=bound).fit_transform(states).numpy()
    wanted = plain_procrustes(states, min(9, n - 1, bound or 9))
    signs = np.sign((H[:, 0] * wanted[:, 0]).sum(axis=0))
    np.testing.assert_allclose(H, wanted * signs, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotating_units_changes_nothing(dtype):
    states = layers(dtype=dtype)
    turned = [(s.double() @ orthogonal(s.shape[1], i)).to(dtype) for i, s in enumerate(states)]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    one, other = StateSpace().fit(states), StateSpace().fit(turned)
    np.testing.assert_allclose(other.transform(turned), one.transform(states), atol=tolerance)
    new = layers(seed=5, dtype=dtype)
    new_turned = [(s.double() @ orthogonal(s.shape[1], i)).to(dtype) for i, s in enumerate(new)]
    np.testing.assert_allclose(other.transform(new_turned), one.transform(new), atol=10 * tolerance)


@pytest.mark.parametrize("widths", [(40, 4, 64, 12, 50), (4, 64, 9, 40), (12, 30, 50)])
def test_coordinates_that_a_narrow_layer_lacks_do_not_depend_on_axes_either(widths):
    """Layers beside a narrow one share more than it holds; nothing of that may be left to LAPACK's choice."""
    states, order = layers(80, widths), torch.Generator().manual_seed(0)
    H = StateSpace().fit_transform(states)
    moved = [s[:, torch.randperm(s.shape[1], generator=order)] for s in states]
    np.testing.assert_allclose(StateSpace().fit_transform(moved), H, atol=1e-9)
    turned = [s @ orthogonal(s.shape[1], i) for i, s in enumerate(states)]
    np.testing.assert_allclose(StateSpace().fit_transform(turned), H, atol=1e-9)


def test_padding_keeps_procrustes_exact():
    """No turn of a layer, of 300 drawn, brings it nearer to the layer before, zeros beside the narrower."""
    for widths in ((12, 5), (5, 12)):
        before, after = StateSpace().fit_transform(layers(40, widths)).unbind(1)
        reached = float((before - after).norm())
        for seed in range(300):
            small = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            turn = torch.linalg.matrix_exp((seed % 10 + 1) / 20 * (small - small.T))
            assert float((before - after @ turn).norm()) >= reached - 1e-12


def test_a_layer_is_turned_onto_the_last_one_that_had_its_coordinates():
    """Wide, narrow and the same wide layer again: the third lies on the first, however narrow the second."""
    wide = torch.randn(60, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, _, third = StateSpace().fit_transform([wide, wide[:, :3], wide]).unbind(1)
    np.testing.assert_allclose(third, first, atol=0.05)


def test_scale_offset_and_order():
    states = layers()
    H = StateSpace().fit_transform(states)
    moved = [(i + 1) * s + 7 * i for i, s in enumerate(states)]
    np.testing.assert_allclose(StateSpace().fit_transform(moved), H, atol=1e-9)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(StateSpace().fit_transform([s[order] for s in states]), H[order], atol=1e-9)


def test_alignment_makes_neighbors_alike():
    states = layers()
    H = StateSpace().fit_transform(states)
    shuffled = torch.stack([H[:, i] @ orthogonal(29, i) for i in range(4)], dim=1)
    assert float((H[:, 1:] - H[:, :-1]).norm()) < 0.7 * float((shuffled[:, 1:] - shuffled[:, :-1]).norm())


def test_only_training_stimuli_are_looked_at():
    train, test = layers(), layers(seed=3)
    space = StateSpace().fit(train)
    alone = space.transform(test)
    np.testing.assert_allclose(space.transform([s[:4] for s in test]), alone[:4], atol=1e-12)
    # centered by the training mean: the training set's mean is the origin
    assert float(space.transform(train).mean(dim=0).abs().max()) < 1e-12
    assert float(space.transform([s.mean(0, keepdim=True) for s in train]).abs().max()) < 1e-12


def test_the_space_is_as_wide_as_the_largest_rank():
    states = layers(80)
    space = StateSpace().fit(states)
    assert space.n_components_ == 64
    assert space.kept_ == pytest.approx((1,) * 4)
    H = space.transform(states)
    # an isometry: every layer keeps all of its variance, in as many coordinates as it has units
    np.testing.assert_allclose(H.norm(dim=(0, 2)), 1, atol=1e-12)
    assert [int(torch.linalg.matrix_rank(H[:, i], rtol=1e-6)) for i in range(4)] == list(WIDTHS)
    assert not H[:, 0, 9:].any()
    assert StateSpace().fit([s[:6] for s in states]).n_components_ == 5


def test_n_components_is_an_upper_bound():
    states = layers(80)
    space = StateSpace(n_components=20).fit(states)
    assert space.transform(states).shape == (80, 4, 20)
    assert space.kept_[0] == pytest.approx(1)
    for state, kept in zip(states, space.kept_, strict=True):
        share = torch.linalg.svdvals(state - state.mean(0)).square()
        assert kept == pytest.approx(float(share[:20].sum() / share.sum()))
    assert StateSpace(n_components=500).fit(states).n_components_ == 64
    assert StateSpace("native", n_components=2).fit([states[0]] * 3).n_components_ == 9


def test_time_and_memory_are_bounded_for_many_stimuli_and_wide_layers():
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(900, width, generator=generator) for width in (700, 16, 1200)]
    started = time.process_time()
    space = StateSpace().fit(states)
    assert space.n_components_ == 320
    assert space.transform(states).shape == (900, 3, 320)
    assert max(layer.weight.numel() for layer in space._maps) <= 320 * 1200
    assert time.process_time() - started < 20  # 1 s; an SVD of all 899 components takes longer


def test_dynamics_survive_a_narrow_layer():
    """Twelve directions persist through depth; one block of three units must not decide what is seen."""
    generator = torch.Generator().manual_seed(0)
    n, widths = 240, (40, 3, 32, 48, 24)
    lasting = torch.randn(n, 12, generator=generator, dtype=torch.float64)
    states = [
        torch.cat([lasting, 2 * torch.randn(n, 12, generator=generator, dtype=torch.float64)], 1)
        @ torch.randn(24, width, generator=generator, dtype=torch.float64)
        for width in widths
    ]
    Y = lasting @ torch.randn(12, 6, generator=generator, dtype=torch.float64)
    Y = Y + 0.5 * Y.std() * torch.randn(Y.shape, generator=generator, dtype=torch.float64)
    train, new = [s[:200] for s in states], [s[200:] for s in states]
    scored = {}
    for bound in (None, 3):
        space = StateSpace(n_components=bound).fit(train)
        H = space.transform(train)
        result = dmd(H)
        features = combine_depths(H, result)
        scored[bound] = float(ridge_cv(features, Y[:200], scaling="common").r.mean())
        # new stimuli go the way of the training stimuli
        later = combine_depths(space.transform(new), result)
        weights = torch.linalg.lstsq(
            torch.cat([features, torch.eye(features.shape[1]).double()]),
            torch.cat([Y[:200], torch.zeros(features.shape[1], 6).double()]),
        ).solution
        scored[bound, "new"] = float(torch.corrcoef(torch.stack([(later @ weights)[:, 0], Y[200:, 0]]))[0, 1])
    assert scored[None] > 0.75 > 0.5 > scored[3]
    assert scored[None, "new"] > 0.7 > scored[3, "new"]


def test_auto():
    equal = [torch.randn(5, 4) for _ in range(3)]
    space = StateSpace().fit(equal)
    assert space.kind_ == "native"
    assert torch.equal(space.transform(equal), torch.stack(equal, dim=1))
    assert StateSpace().fit(layers()).kind_ == "procrustes"
    assert StateSpace("procrustes").fit(equal).kind_ == "procrustes"


def test_a_layer_of_lower_rank():
    states = layers()
    states[1] = states[1][:, :2] @ torch.randn(2, 40, dtype=torch.float64)
    H = StateSpace().fit_transform(states)
    assert bool(torch.isfinite(H).all())
    assert int(torch.linalg.matrix_rank(H[:, 1] - H[:, 1].mean(0), rtol=1e-6)) == 2


@pytest.mark.parametrize("width", [5, 40])  # fewer units than stimuli, and more
def test_a_direction_that_training_lacks_carries_nothing(width):
    states = layers(n=12, widths=(width, 30))
    states[0] = states[0][:, :2] @ torch.randn(2, width, generator=torch.Generator().manual_seed(1)).double()
    space = StateSpace().fit(states)
    assert space.n_components_ > 2
    new = space.transform(layers(n=8, widths=(width, 30), seed=3))
    assert new[:, 0, :2].abs().min() > 0
    assert not new[:, 0, 2:].any()


class TestRandomProjection:
    def test_every_unit_goes_to_one_column_with_a_sign(self):
        sketch = _sketch_matrix(5000, 40, torch.Generator().manual_seed(0)).to_dense()
        assert torch.equal(sketch.abs().sum(dim=0), torch.ones(5000))
        assert sketch.unique().tolist() == [-1, 0, 1]
        assert abs(float(sketch.sum())) < 4 * 5000**0.5
        assert sketch.abs().sum(dim=1).min() > 5000 / 40 / 2

    def test_a_sketch_bounds_the_space(self):
        states = layers(n=60, widths=(500, 50, 90))
        space = StateSpace("random_projection", sketch_width=20)
        assert space.fit_transform(states).shape == (60, 3, 20)

    def test_keeps_inner_products(self):
        states = layers(n=20, widths=(30_000, 50, 20_000))
        exact = StateSpace("procrustes").fit_transform(states)
        hashed = StateSpace("random_projection", sketch_width=4096).fit_transform(states)
        assert hashed.shape == exact.shape
        np.testing.assert_allclose(depth_gram(hashed), depth_gram(exact), atol=0.06)
        # a layer that is narrow enough is not hashed
        np.testing.assert_allclose(hashed[:, 1] @ hashed[:, 1].T, exact[:, 1] @ exact[:, 1].T, atol=1e-9)

    def test_seed(self):
        states = layers(widths=(500, 50))
        first, again, other = (
            StateSpace("random_projection", seed=seed, sketch_width=64).fit_transform(states)
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.allclose(first, other, atol=1e-3)

    def test_new_stimuli(self):
        states = layers(widths=(500, 50))
        space = StateSpace("random_projection", sketch_width=64).fit(states)
        np.testing.assert_allclose(
            space.transform([s[:3] for s in states]), space.transform(states)[:3], atol=1e-12
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["procrustes", "random_projection"])
def test_low_precision_gives_float32(dtype, kind):
    states = layers(dtype=dtype)
    H = StateSpace(kind, sketch_width=50).fit_transform(states)
    assert H.dtype == torch.float32
    wanted = StateSpace(kind, sketch_width=50).fit_transform([s.double() for s in states])
    np.testing.assert_allclose(H, wanted, atol=1e-5)


class TestErrors:
    def test_native_needs_equal_widths(self):
        with pytest.raises(ValueError, match=r"layer 0: 9, layer 1: 40.*use kind='procrustes'"):
            StateSpace("native").fit(layers())

    def test_not_fitted(self):
        with pytest.raises(RuntimeError, match="call fit"):
            StateSpace().transform(layers())

    def test_other_layers(self):
        space = StateSpace().fit(layers())
        with pytest.raises(ValueError, match=r"fitted widths \(9, 40, 64, 12\), got \(9, 40\)"):
            space.transform(layers()[:2])

    def test_rows(self):
        states = layers()
        states[2] = states[2][:-1]
        with pytest.raises(ValueError, match=r"states\[2\] must have shape \(N=30, D\)"):
            StateSpace().fit(states)

    def test_constant_layer(self):
        states = layers(dtype=torch.float32)
        states[1] = torch.full((30, 40), 0.1)
        with pytest.raises(ValueError, match="Layer 1 is the same for all 30"):
            StateSpace().fit(states)

    def test_nan(self):
        states = layers()
        states[3][2, 1] = torch.nan
        with pytest.raises(ValueError, match=r"states\[3\] must be finite.*\(2, 1\)"):
            StateSpace().fit(states)

    def test_input(self):
        with pytest.raises(ValueError, match=r"pass H.unbind\(1\)"):
            StateSpace().fit(torch.randn(3, 4, 5))
        with pytest.raises(ValueError, match="record a layer"):
            StateSpace().fit([])
        with pytest.raises(ValueError, match="at least 2 training stimuli, got 1"):
            StateSpace("procrustes").fit([torch.randn(1, 4)])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kind": "cca"}, "kind must be one of 'auto'"),
            ({"n_components": 0}, "n_components must be a positive int or None, got 0"),
            ({"sketch_width": 0}, "sketch_width must be a positive int, got 0"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            StateSpace(**options)


def test_coordinates_ask_for_a_common_scale_and_units_for_their_own():
    generator = torch.Generator().manual_seed(0)
    equal = [torch.randn(10, 4, generator=generator) for _ in range(3)]
    ragged = [torch.randn(10, width, generator=generator) for width in (4, 6)]
    assert StateSpace().fit(equal).scaling_ == "unit"
    assert StateSpace("procrustes").fit(equal).scaling_ == "common"
    assert StateSpace().fit(ragged).scaling_ == "common"
