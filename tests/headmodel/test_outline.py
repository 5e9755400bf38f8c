"""The outline of a head: found where it is, met by the model, and worth what nothing else tells."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.headmodel.energy import Energy
from mvs.headmodel.fit_image import fit_map
from mvs.headmodel.observe import Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.outline import Contour, find_outline
from mvs.headmodel.stages import solve_stages
from mvs.headmodel.state import State
from mvs.headmodel.terms import reprojection
from mvs.headmodel.types import Shape
from mvs.types import CubeMap
from tests.headmodel.maps import camera_at, half_hidden, map_of, person, place
from tests.headmodel.models import small_ict

JAW = 3


@pytest.fixture(scope="module")
def model():
    return small_ict(3000)


def scene(model, azimuth_deg, size=160, shape=None):
    shape = shape or person(model, 1)
    camera = camera_at(azimuth_deg, size=size, focal=2.0 * size)
    state = State(shape, place(model, 4.0))
    return map_of(model, shape, state.world_from_model, camera), camera, state


def across(model, outline, state):
    """Pixels from the outline to the model's contour, and the coordinates of the rows."""
    seen, roots = Contour(model).meet(outline, state)
    unit = roots / np.linalg.norm(roots[:, :1], axis=2, keepdims=True)
    error = reprojection(seen.places, state, seen.camera, seen.pixels, unit, False)[0]
    assert not error[:, 1].any()
    return error[:, 0], seen.coords


@pytest.mark.parametrize("azimuth_deg", [0.0, 35.0, -60.0])
def test_the_outline_is_where_the_model_ends(model, azimuth_deg):
    cube_map, camera, state = scene(model, azimuth_deg)
    outline = find_outline(cube_map, camera, 1.0)
    assert len(outline) > 40
    error, _ = across(model, outline, state)
    assert len(error) > 0.8 * len(outline)
    assert np.abs(error).mean() < 0.4
    assert abs(np.median(error)) < 0.2
    moved = replace(outline, pixels=outline.pixels + 3.0 * outline.across)
    error, _ = across(model, moved, state)
    assert np.median(error) == pytest.approx(-3.0, abs=0.3)


def test_the_picture_may_be_scaled_and_shifted(model):
    cube_map, camera, _ = scene(model, 20.0)
    affine = np.array([[2.0, 0, 30.0], [0, 2.0, -10.0]])
    other = CubeMap(cube_map.coords, cube_map.confidence, cube_map.mask, affine)
    wide = replace(camera, width=camera.width * 4, height=camera.height * 4)
    here, there = find_outline(cube_map, wide, 1.0), find_outline(other, wide, 1.0)
    inside = (there.pixels[:, None] == here.pixels * 2 + [30.0, -10.0]).all(axis=2).any(axis=1)
    assert inside.all()
    assert there.pixels_per_cube == pytest.approx(2 * here.pixels_per_cube)


def test_hidden_borders_and_those_of_the_picture_are_no_outline(model):
    cube_map, camera, state = scene(model, 0.0)
    cut = half_hidden(cube_map)
    middle = cut.mask.shape[1] // 2
    outline = find_outline(cut, camera, 1.0)
    seen, _ = Contour(model).meet(outline, state)
    assert len(seen) > 20
    at_cut = [(np.abs(o.pixels[:, 0] - middle) < 2).sum() for o in (outline, seen)]
    assert at_cut[0] > 40
    assert at_cut[1] < 4
    close = replace(camera, params=camera.params * [4, 4, 1, 1])
    full = map_of(model, state.shape, state.world_from_model, close)
    assert full.mask.all()
    assert len(find_outline(full, close, 1.0)) == 0


def test_only_the_outline_tells_the_width_of_the_jaw(model):
    n = len(model.identity_names)
    wide = replace(model.neutral(), identity=1.5 * np.eye(n)[JAW])
    cube_map, camera, state = scene(model, 0.0, shape=wide)
    seen = Observer(model).observe(cube_map, camera)
    seen = seen.rows(np.abs(seen.coords[:, 0] - 0.5) < 0.06)
    options = FitOptions(normals=0.0)
    start = State(model.neutral(), state.world_from_model)
    found = []
    for views in ([seen], [seen, find_outline(cube_map, camera, 4.0)]):
        energy = Energy(model, views, options, knows_scale=True, knows_focal=True)
        found.append(solve_stages(energy, start, options).shape)
    assert found[0].identity[JAW] < 0.8
    assert found[1].identity[JAW] == pytest.approx(1.5, abs=0.35)
    assert jaw_mm(model, found[1], wide) < 0.4 * jaw_mm(model, found[0], wide)


def jaw_mm(model, shape: Shape, truth: Shape):
    """Mean error in width of the jaw's sides, millimetres."""
    coords = model.topology.coords
    rows = (coords[:, 1] > 0.3) & (coords[:, 1] < 0.45) & (np.abs(coords[:, 0] - 0.5) > 0.1)
    off = model.vertices(shape)[rows] - model.vertices(truth)[rows]
    return 1000 * model.unit_m * np.abs(off[:, 0]).mean()


def test_a_fit_with_an_exact_outline_stays_exact(model):
    cube_map, camera, state = scene(model, 20.0)
    options = replace(FitOptions(), normals=0.0, identity_sd=3.0, expression_sd=3.0)
    errors = []
    for weight in (0.0, 1.0):
        fit = fit_map(cube_map, camera, model, replace(options, outline=weight))
        seen = camera.project(fit.vertices())[0]
        true = camera.project(state.world_from_model.points(model.vertices(state.shape)))[0]
        errors.append(np.abs(seen - true).mean())
    assert errors[1] < max(1.1 * errors[0], 0.3)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="negative"):
        FitOptions(outline=-1.0)
