import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from nfas_lightning.data.regions.targets import vertex_targets
from nfas_lightning.plotting import (
    plot_glass,
    plot_surface,
)
from nfas_lightning.plotting.brain import (
    _face_pixels,
    _nearest_roi,
    _paint,
    disc_radius,
    hemisphere,
    vertex_rois,
)
from nfas_lightning.plotting.score_tables import mean_r2
from nfas_lightning.plotting.style import SEQUENTIAL, SIMULATED
from tests.helpers.figures import texts


def _said(figure):
    return " ".join(texts(figure).split())


def test_surface_has_four_views_per_map(results):
    figure = plot_surface(mean_r2(results.scores), results.rois, title="r2", simulated=True)
    assert sum(bool(ax.images) for ax in figure.axes) >= 12
    assert "ROIs reach the cortical surface" in _said(figure)
    assert figure.get_supxlabel() == SIMULATED


def test_occipital_pole_lies_behind_and_frontal_pole_in_front():
    # left hemisphere from its left: the front of the brain is on the left of the picture
    points = np.array([[-20.0, -98.0, 2.0], [-25.0, 58.0, 5.0]])
    index = _nearest_roi("left", points, 12.0)
    assert set(index) == {-1, 0, 1}
    face, _ = _face_pixels("left", "lateral")
    shown = np.where(face >= 0, index[hemisphere("left").faces[np.clip(face, 0, None), 0]], -1)
    back, front = (np.nonzero(shown == roi)[1].mean() for roi in (0, 1))
    assert front < face.shape[1] / 2 < back
    face, _ = _face_pixels("left", "medial")
    shown = np.where(face >= 0, index[hemisphere("left").faces[np.clip(face, 0, None), 0]], -1)
    assert np.nonzero(shown == 0)[1].mean() < face.shape[1] / 2


def test_nearest_roi_equals_the_plain_search():
    points = np.random.default_rng(0).uniform([-60, -90, -30], [0, 60, 60], (12, 3))
    pial = hemisphere("left").pial
    distance = np.linalg.norm(pial[:, None] - points[None], axis=-1)
    expected = np.where(distance.min(1) <= 15, distance.argmin(1), -1)
    np.testing.assert_array_equal(_nearest_roi("left", points, 15.0), expected)


def test_parcels_are_drawn_as_they_are(results):
    """Every vertex of a parcel is its own, however far from its center; other vertices stay gray."""
    rois = results.rois.head(3).assign(x=[-40.0, -40.0, 40.0], y=0.0, z=20.0, hemisphere=["L", "L", "R"])
    rois = rois.assign(vertices=["0 5 10241", "7", "10242 20483"])
    found, n_discs = vertex_rois(rois, 12.0)
    assert n_discs == 0
    wanted = np.full((2, 10242), -1)
    wanted[0, [0, 5, 10241]], wanted[0, 7], wanted[1, [0, 10241]] = 0, 1, 2
    np.testing.assert_array_equal(np.stack([found["left"], found["right"]]), wanted)
    values = pd.DataFrame({"r2": [0.1, 0.2, 0.3]}, index=rois["roi"])
    assert "3 of 3 ROIs reach the cortical surface" in _said(plot_surface(values, rois))
    discs = _said(plot_surface(values, rois.drop(columns="vertices")))
    assert "discs of 12 mm for 3 known by their center only" in discs


def test_every_vertex_shows_its_own_value():
    rois = vertex_targets(10_242).rois
    rng = np.random.default_rng(0)
    values = pd.DataFrame({"r": rng.uniform(0, 1, len(rois))}, index=rois["roi"])
    values.iloc[::3] = np.nan
    figure = plot_surface(values, rois)
    assert "20484 of 20484 targets reach the cortical surface" in _said(figure)
    norm = Normalize(0, np.nanpercentile(values, 99), clip=True)
    picture = np.asarray(next(ax for ax in figure.axes if ax.images).images[0].get_array())
    face, light = _face_pixels("left", "lateral")
    corner = hemisphere("left").faces[:, 0]
    shown = values["r"].to_numpy()[corner][face]
    there = (face >= 0) & np.isfinite(shown)
    wanted = SEQUENTIAL(norm(shown[there]))[:, :3] * light[face[there], None]
    np.testing.assert_allclose(picture[there], wanted, atol=1e-6)


def test_voxels_color_the_cortex_next_to_them():
    inside = np.indices((36, 46, 34)).reshape(3, -1).T * 4.0 + [-70, -106, -55]
    rois = pd.DataFrame(inside, columns=["x", "y", "z"]).assign(index=range(len(inside)))
    rois["roi"] = rois["index"].astype(str)
    found, n_discs = vertex_rois(rois, disc_radius(rois))
    assert disc_radius(rois) == 4.0
    assert n_discs == len(rois)
    for side, row in found.items():
        pial = hemisphere(side).pial
        near = row >= 0
        assert np.linalg.norm(pial[near] - inside[row[near]], axis=1).max() <= 4.0
        assert near.mean() > 0.95
    assert disc_radius(rois.drop(columns="index")) == 12.0


def test_glass_brain_has_one_panel_per_map(results):
    figure = plot_glass(mean_r2(results.scores), results.rois, title="r2", simulated=True)
    assert figure.get_supxlabel() == SIMULATED
    assert {"vision", "audio", "language"} <= set(texts(figure).split())


def test_maps_of_rois_with_a_planted_truth_are_marked(results):
    r2 = mean_r2(results.scores)
    planted = results.rois.assign(driven_by="all", integrative=True)
    measured = planted.drop(columns=["driven_by", "integrative"])
    for draw in (plot_surface, plot_glass):
        assert draw(r2, planted).get_supxlabel() == SIMULATED
        assert draw(r2, measured).get_supxlabel() == ""


def test_no_roi_zero_and_no_score_look_different():
    owned = np.zeros(10242, dtype=bool)
    owned[:7000] = True
    values = np.where(np.arange(10242) < 3500, 0.0, np.nan)
    picture = _paint("left", "lateral", values, owned, Normalize(0, 1))
    face, light = _face_pixels("left", "lateral")
    corner = hemisphere("left").faces[face, 0]
    bare = picture / light[face][..., None]
    shown = face >= 0
    zero, unscored, none = (
        np.unique(bare[shown & part].round(3), axis=0)
        for part in (corner < 3500, (corner >= 3500) & (corner < 7000), corner >= 7000)
    )
    np.testing.assert_allclose(zero, [SEQUENTIAL(0.0)[:3]], atol=2e-3)
    np.testing.assert_allclose(unscored, [[0.80, 0.67, 0.55]], atol=2e-3)
    assert (np.ptp(none, axis=1) < 1e-9).all()  # gray
    assert none.max() < 0.8 < zero.min()
