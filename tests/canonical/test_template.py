"""The canonical head: one disc of a surface, an atlas without overlaps, layouts that lie on it."""

import json

import numpy as np
import pytest
from scipy.spatial import cKDTree

from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.layouts import LAYOUTS, load_layout
from mvs.canonical.regions import REGIONS
from mvs.canonical.template import load_template, spread_points
from mvs.canonical.unwrap import boundary, unwrap


def edges_of(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def test_it_is_one_disc_open_at_the_neck():
    head = load_template()
    undirected = np.unique(np.sort(edges_of(head.faces), axis=1), axis=0)
    assert len(head.coords) - len(undirected) + len(head.faces) == 1
    assert len(np.unique(edges_of(head.faces), axis=0)) == 3 * len(head.faces)
    assert head.coords[boundary(head.faces), 1].max() < 0.18


def test_it_faces_outwards_and_is_symmetric():
    head = load_template()
    a, b, c = (head.coords[head.faces[:, k]].astype(float) for k in range(3))
    normals = np.cross(b - a, c - a)
    nose = np.linalg.norm((a + b + c) / 3 - landmark_positions()[30], axis=1) < 0.02
    assert (normals[nose, 2] > 0).mean() > 0.9
    dense = spread_points(200_000).astype(float)
    mirrored = head.coords * [-1, 1, 1] + [1, 0, 0]
    assert np.quantile(cKDTree(dense).query(mirrored)[0], 0.99) < 0.004


def test_the_atlas_has_no_overlaps():
    head = load_template()
    places = head.atlas.astype(float)
    assert places.min() >= 0
    assert places.max() <= 1
    a, b, c = (places[head.atlas_faces[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()  # and the rim is convex: so no two faces meet
    assert 0.99 < area.sum() / 2 <= 1 + 1e-6


def test_the_atlas_cut_joins_the_same_places():
    head = load_template()
    vertex_of = np.full(len(head.atlas), -1)
    vertex_of[head.atlas_faces.ravel()] = head.faces.ravel()
    assert (vertex_of[head.atlas_faces] == head.faces).all()
    doubled = np.setdiff1d(np.arange(len(head.atlas)), np.arange(len(head.coords)))
    assert np.abs(head.coords[vertex_of[doubled], 0] - 0.5).max() < 0.05
    assert head.coords[vertex_of[doubled], 2].max() < 0.55


def test_unwrapping_again_gives_the_shipped_atlas():
    head = load_template()
    atlas, faces = unwrap(head.coords, head.faces)
    np.testing.assert_array_equal(faces, head.atlas_faces)
    np.testing.assert_allclose(atlas, head.atlas, atol=1e-5)


def test_a_surface_that_is_no_disc_is_refused():
    head = load_template()
    with pytest.raises(ValueError, match="more than one loop"):
        unwrap(head.coords, np.delete(head.faces, 5000, axis=0))


def test_parts_lie_where_heads_have_them():
    head = load_template()
    middle = {
        name: head.coords[head.region == REGIONS.index(name)].mean(axis=0)
        for name in ("nose", "lip", "eye", "ear", "hair", "neck")
    }
    assert middle["nose"][2] > middle["eye"][2] > middle["ear"][2] > middle["hair"][2]
    assert middle["eye"][1] > middle["nose"][1] > middle["lip"][1] > middle["neck"][1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shipped_layouts_lie_on_the_head_or_inside(layout):
    found = load_layout(layout)
    assert len(set(found.names)) == len(found) == len(found.positions)
    dense = cKDTree(spread_points(200_000))
    distance = dense.query(found.positions)[0]
    assert distance[~found.inside].max() < 0.02
    assert np.median(distance[~found.inside]) < 0.004
    if layout == "named":
        assert found.inside.sum() == 8


def test_points_are_spread_evenly():
    few, many = spread_points(2000), spread_points(20_000)
    np.testing.assert_array_equal(few, many[:2000])
    gaps = cKDTree(few).query(few, k=2)[0][:, 1]
    # Random points would have a coefficient of variation of 0.52.
    assert gaps.std() / gaps.mean() < 0.5


def test_a_layout_of_a_file(tmp_path):
    path = tmp_path / "mine.json"
    marks = [{"name": "a", "uvw": [0.5, 0.6, 0.7]}, {"name": "b", "uvw": [0, 0, 1], "inside": True}]
    path.write_text(json.dumps({"landmarks": marks}))
    found = load_layout(path)
    assert (found.name, found.names) == ("mine", ("a", "b"))
    np.testing.assert_array_equal(found.inside, [False, True])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a layout"),
        ("[]", "not a layout"),
        ('{"landmarks": []}', "three finite numbers"),
        ('{"landmarks": [{"name": "a", "uvw": [1, 2]}]}', "three finite numbers"),
        ('{"landmarks": [{"name": "a", "uvw": [1, 2, NaN]}]}', "three finite numbers"),
        ('{"landmarks": [{"name": "a", "xyz": [1, 2, 3]}]}', "unknown key 'xyz'"),
        (
            '{"landmarks": [{"name": "a", "uvw": [1, 2, 3]}, {"name": "a", "uvw": [1, 2, 3]}]}',
            "one",
        ),
    ],
)
def test_what_a_layout_can_have_wrong(tmp_path, text, reason):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.json: .*{reason}"):
        load_layout(path)
    with pytest.raises(ValueError, match="layout must be one of 68, 5, named"):
        load_layout("69")


def test_two_landmarks_of_one_name_are_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"landmarks": 2 * [{"name": "a", "uvw": [1, 2, 3]}]}))
    with pytest.raises(ValueError, match="two landmarks have one name"):
        load_layout(path)
