import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.canonical.surface import sample_faces
from mvs.evaluation.truth import Truth, mesh_scene, tensor
from tests.evaluation.captures import (
    CUBE_PER_METRE,
    RADIUS,
    ball_mesh,
    blobs,
    pixel_of,
    seen,
    setting,
    write_ball,
    write_mesh,
    write_points,
)

PLATE = np.array(
    [[-0.06, -0.03, 0.2], [0.05, -0.05, 0.22], [0.06, 0.02, 0.23], [-0.05, 0.04, 0.21]]
)


def coverage(seed):
    """Hair of all degrees; below 128 it hides nothing."""
    return np.where(blobs(seed, 0.35), 200, np.where(blobs(seed + 50, 0.5), 127, 0)).astype(
        np.uint8
    )


def full_setting(model="PINHOLE"):
    return setting(
        4,
        model,
        masks=(blobs(1), None, blobs(2), blobs(3, 0.5)),
        hair=(coverage(4), coverage(5), coverage(6), coverage(7)),
        plate=PLATE,
    )


@pytest.fixture(scope="module", params=["PINHOLE", "OPENCV"])
def case(request, tmp_path_factory):
    scene = full_setting(request.param)
    return scene, Truth(write_ball(tmp_path_factory.mktemp("ball"), scene))


def test_views_that_see_a_point_inside_their_masks(case):
    scene, truth = case
    points = truth.sample(1500).positions
    counts = truth.count_views(points)
    assert counts.dtype == np.int32
    checked, outcomes = 0, np.zeros(5, int)
    for point, count in zip(points, counts, strict=True):
        votes = [seen(scene, view, point) for view in range(4)]
        if None in votes:
            continue
        expected = 0
        for view in range(4):
            if votes[view]:
                place, mask = pixel_of(scene, view, point), scene.masks[view]
                kept = mask is None or mask[place]
                expected += kept and scene.hair[view][place] < 128
        assert count == expected
        checked += 1
        outcomes[expected] += 1
    assert checked > 1000
    assert (outcomes[:4] > 20).all()


def test_points_among_hair(case):
    scene, truth = case
    rng = np.random.default_rng(0)
    points = truth.sample(1200).positions * rng.uniform(1, 1.02, (1200, 1))
    found = truth.on_hair(points)
    checked, among = 0, 0
    for point, hair in zip(points, found, strict=True):
        votes = [seen(scene, view, point * RADIUS / np.linalg.norm(point)) for view in range(4)]
        if None in votes or np.linalg.norm(point) > 1.002 * RADIUS:
            continue
        seeing = [view for view in range(4) if seen(scene, view, point)]
        covered = [scene.hair[view][pixel_of(scene, view, point)] >= 128 for view in seeing]
        assert hair == (2 * sum(covered) > len(covered))
        checked += 1
        among += hair
    assert checked > 60
    assert 5 < among < checked - 5


def test_without_hair_nothing_is_among_it(tmp_path):
    truth = Truth(write_ball(tmp_path, setting()))
    assert not truth.on_hair(truth.sample(500).positions).any()


def test_hidden_from_all_sides(tmp_path):
    scene = setting(masks=(np.zeros((120, 120), bool),) * 4)
    truth = Truth(write_ball(tmp_path, scene))
    assert not truth.count_views(truth.sample(500).positions).any()


def test_the_nearest_points_of_a_ball(case):
    _, truth = case
    rng = np.random.default_rng(1)
    points = rng.normal(size=(800, 3))
    points *= rng.uniform(0.02, 0.25, (800, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    distance, nearest = truth.closest(points)
    radius = np.linalg.norm(points, axis=1)
    # The mesh lies up to 0.03 mm inside the ball.
    np.testing.assert_allclose(distance, np.abs(radius - RADIUS), atol=4e-5)
    np.testing.assert_allclose(np.linalg.norm(points - nearest.positions, axis=1), distance)
    assert np.abs(np.linalg.norm(nearest.positions, axis=1) - RADIUS).max() < 4e-5
    np.testing.assert_allclose(nearest.coords, 0.5 + nearest.positions * CUBE_PER_METRE, atol=1e-6)
    front = np.abs(nearest.positions[:, 2]) > 0.003
    np.testing.assert_array_equal(nearest.parts[front], nearest.positions[front, 2] <= 0)


def test_samples_are_spread_evenly():
    points, faces = ball_mesh()
    picked, weights = sample_faces(points, faces, 40_000, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.min() >= 0
    samples = np.einsum("nk,nkc->nc", weights, points[faces[picked]]) / RADIUS
    # On a ball each coordinate is spread evenly (Archimedes), though triangles shrink at its poles.
    for axis in range(3):
        counts = np.histogram(samples[:, axis], 10, (-1, 1))[0]
        assert np.abs(counts - 4000).max() < 5 * np.sqrt(4000)
    again = sample_faces(points, faces, 40_000, 3)
    assert picked.tobytes() == again[0].tobytes()
    assert weights.tobytes() == again[1].tobytes()
    assert picked.tobytes() != sample_faces(points, faces, 40_000, 4)[0].tobytes()


def test_samples_within_a_triangle_are_spread_evenly():
    points = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 2]])
    _, weights = sample_faces(points, np.array([[0, 1, 2]], np.int32), 30_000, 0)
    # Cut into 16 equal triangles by fourths of the weights, each gets its share.
    cell = np.floor(weights * 4).astype(int)
    _, counts = np.unique(cell @ [1, 10, 100], return_counts=True)
    assert len(counts) == 16
    assert np.abs(counts - 30_000 / 16).max() < 5 * np.sqrt(30_000 / 16)


def test_rays_and_distances_of_a_scene():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    scene = mesh_scene(
        [
            (corners, np.array([[0, 1, 2]], np.int32)),
            (corners + np.array([0, 0, 1]), np.array([[0, 1, 2]], np.int32)),
        ]
    )
    rays = np.array([[0.2, 0.2, 3, 0, 0, -2], [0.2, 0.2, -1, 0, 0, 1], [2, 2, 3, 0, 0, -1]])
    hits = scene.cast_rays(tensor(rays, np.float32))["t_hit"].numpy()
    np.testing.assert_allclose(hits, [1, 1, np.inf])


def test_no_truth(tmp_path):
    capture = write_ball(tmp_path, setting())
    (tmp_path / "gt" / "mesh.ply").unlink()
    with pytest.raises(CaptureError, match="no ground truth") as caught:
        Truth(capture)
    assert str(tmp_path / "gt" / "mesh.ply") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mesh.ply", "torso.ply"])
@pytest.mark.parametrize("kind", ["text", "empty", "cut", "cloud", "no faces"])
def test_damaged_truth(tmp_path, name, kind):
    capture = write_ball(tmp_path, setting(plate=PLATE))
    path = tmp_path / "gt" / name
    points, faces = ball_mesh(4, 6)
    if kind == "text":
        path.write_text("a mesh")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "cloud":
        write_points(path, points)
    else:
        write_mesh(path, points, faces[:0])
    with pytest.raises(CaptureError, match="restore the ground truth") as caught:
        Truth(capture)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hair_of_another_size(tmp_path):
    scene = setting(hair=(np.zeros((60, 60), np.uint8), None, None, None))
    truth = Truth(write_ball(tmp_path, scene))
    with pytest.raises(CaptureError, match="not a picture of the view's size"):
        truth.count_views(truth.sample(10).positions)


def test_truth_without_parts_is_face(tmp_path):
    capture = write_ball(tmp_path, setting())
    points, faces = ball_mesh(20, 30)
    write_mesh(tmp_path / "gt" / "mesh.ply", points, faces)
    samples = Truth(capture).sample(100)
    assert (samples.parts == 0).all()
    assert np.isnan(samples.coords).all()


def test_a_point_belongs_to_the_part_of_the_nearest_corner(tmp_path):
    capture = write_ball(tmp_path, setting())
    corners = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.05, 0.05 * np.sqrt(3), 0]])
    parts = np.array([4, 0, 1], np.uint8)
    faces = np.array([[0, 1, 2]], np.int32)
    write_mesh(tmp_path / "gt" / "mesh.ply", corners, faces, part=parts)
    truth = Truth(capture)
    samples = truth.sample(3000)
    distance = np.linalg.norm(samples.positions[:, None] - corners, axis=2)
    np.testing.assert_array_equal(samples.parts, parts[distance.argmin(axis=1)])
    assert set(samples.parts) == {0, 1, 4}
    # Also where it is looked for, but for rounding half-way.
    _, nearest = truth.closest(samples.positions + np.array([0, 0, 0.01]))
    assert (nearest.parts == samples.parts).mean() > 0.999
