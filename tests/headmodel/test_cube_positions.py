"""FLAME's vertices in the cube: a deformed head whose true coordinates are known."""

import numpy as np
import pytest

from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.surface import find_pieces
from mvs.headmodel.cube_positions import Marks, find_eyeballs, place_template
from mvs.headmodel.load import load_head_model
from mvs.headmodel.types import Shape
from tests.headmodel import models
from tests.shared import ICT

MM = 375.7


@pytest.fixture(scope="module")
def placed():
    model, (_, true) = models.small_flame(), models.flame_arrays()
    off = np.linalg.norm(models.cm_from_cube(model.topology.coords) - true, axis=1) * 10
    return model, true, off


def test_vertices_find_their_places(placed):
    """The template differs by up to 10 mm after the best similarity's guess; see ``warp_cm``."""
    model, _, off = placed
    topology = model.topology
    of = {part: topology.parts == k for k, part in enumerate(topology.part_names)}
    assert np.median(off[of["face"]]) < 0.6
    assert np.quantile(off[of["face"]], 0.95) < 1.5
    assert np.quantile(off[of["head"]], 0.95) < 1.5
    assert np.quantile(off[of["neck"]], 0.95) < 3
    assert off[of["left_eye"] | of["right_eye"]].max() < 1.5
    front = of["face"] & (topology.coords[:, 2] > 0.62)
    assert np.quantile(off[front], 0.95) < 1.0


def test_landmarks_lie_where_they_do_on_the_canonical_head(placed):
    model, true, _ = placed
    topology = model.topology
    found = np.einsum("nk,nkc->nc", topology.landmark_weights, true[topology.landmarks])
    off = np.linalg.norm(found - models.cm_from_cube(landmark_positions()), axis=1) * 10
    assert off.max() < 2.5
    assert np.median(off) < 0.8


def test_places_do_not_depend_on_the_unit_or_the_origin(placed):
    model, _, _ = placed
    faces = model.topology.faces
    moved = model.template * 1000 + [300.0, -200.0, 50.0]
    found = place_template(moved, faces, 0.001)
    assert np.abs(found - model.topology.coords).max() * MM < 0.05


def test_known_landmarks_hold(placed):
    """Landmarks that are 4 mm aside take what is around them with them."""
    model, _, _ = placed
    topology = model.topology
    coords = landmark_positions()[48:].astype(np.float64)
    coords[:, 1] += 4 / MM
    marks = Marks(topology.landmarks[48:], topology.landmark_weights[48:], coords)
    found = place_template(model.template, topology.faces, 1.0, marks)
    lips = np.unique(topology.landmarks[48:])
    gone = (found - topology.coords)[lips] * MM
    assert np.median(gone[:, 1]) > 2
    crown = topology.coords[:, 1] > 0.85
    assert np.abs((found - topology.coords)[crown]).max() * MM < 0.5


def test_pieces_and_eyeballs():
    arrays, _ = models.flame_arrays()
    faces, vertices = arrays["f"].astype(np.int32), arrays["v_template"]
    pieces = find_pieces(faces, len(vertices) + 2)
    assert pieces[-2:].tolist() == [-1, -1]
    assert sorted(np.bincount(pieces[:-2]).tolist(), reverse=True)[1:] == [154, 154]
    right, left = find_eyeballs(vertices, pieces[:-2], 1.0)
    assert vertices[right, 0].max() < 0 < vertices[left, 0].min()
    assert find_eyeballs(vertices, pieces[:-2], 0.5) == []


@pytest.mark.slow
def test_a_head_of_its_own_identity_and_topology_finds_its_places():
    """Open eyes and nostrils, 11,248 vertices, and a face that is not the mean."""
    if not ICT.is_file():
        pytest.skip(f"{ICT} is absent")
    model = load_head_model(ICT)
    topology = model.topology
    names = ("face", "head", "neck")
    skin = np.isin(topology.parts, [topology.part_names.index(name) for name in names])
    n = int(skin.sum())
    assert skin[:n].all()
    faces = topology.faces[skin[topology.faces].all(axis=1)]
    identity = np.random.default_rng(1).normal(0, 0.7, 100)
    shape = Shape(identity, np.zeros(57), np.zeros((0, 3)))
    found = place_template(model.vertices(shape, np.arange(n)), faces, 0.01)
    off = np.linalg.norm(found - topology.coords[:n], axis=1) * MM
    face = topology.parts[:n] == topology.part_names.index("face")
    assert np.median(off[face]) < 1.2
    assert np.quantile(off[face], 0.95) < 3
    assert off[topology.landmarks[17:, 0]].mean() < 1.0
