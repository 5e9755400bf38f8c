"""Clicked places, what sees them, and the crops of the pictures that show them."""

import numpy as np
import pytest

from mvs.viewer.frusta import frustum_hit, picture_plane, vertical_angle
from mvs.viewer.pick import Place, crop, describe, region_name, sightings
from mvs.viewer.pictures import Pictures, pinhole_picture
from mvs.viewer.subject import Shape, load_subject
from mvs.viewer.surface import Points, Surface, point_spacing, target_of
from tests.ball import cloud_of, look_from, make_ball
from tests.viewer.results import write_capture_of_ball

KNOWN = frozenset({"normal", "rgb", "uvw", "confidence", "views"})


def ball_shape(shift=0.0, scale=1.0, rows=40):
    mesh = make_ball(rows, 2 * rows).mesh
    cloud = cloud_of(scale * mesh.vertices.points + shift, mesh.vertices.normals)
    return Shape(cloud, mesh.faces, KNOWN)


def plate_shape():
    """A square of side 2 in the plane z = 0, facing +z."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    cloud = cloud_of(corners, np.tile([0.0, 0, 1], (4, 1)))
    return Shape(cloud, np.array([[0, 1, 2], [0, 2, 3]], np.int32), KNOWN)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_a_ray_meets_a_plate_where_it_must(shift):
    shape = plate_shape()
    points = shape.cloud.points + shift
    moved = Shape(cloud_of(points, shape.cloud.normals), shape.faces, KNOWN)
    origin = np.array([0.3, -0.2, 5.0]) + shift
    hit = Surface(moved).hit(origin, np.array([0.0, 0.0, -2.0]))
    place = describe(moved, hit)
    np.testing.assert_allclose(place.position - shift, [0.3, -0.2, 0], atol=1e-5)
    np.testing.assert_allclose(place.normal, [0, 0, 1], atol=1e-6)
    assert hit.along == pytest.approx(5, abs=1e-5)
    assert Surface(moved).hit(origin, np.array([0.0, 0.0, 1.0])) is None


def test_a_place_knows_what_its_corners_know():
    """Attributes are linear on a face; the corners' confidences are 0.1, 0.4, 0.7 and 1."""
    shape = plate_shape()
    origin = np.array([0.5, -0.5, 1.0])
    place = describe(shape, Surface(shape).hit(origin, np.array([0.0, 0, -1])))
    weights = np.array([0.25, 0.5, 0.25])
    assert place.confidence == pytest.approx(weights @ [0.1, 0.4, 0.7], abs=1e-5)
    expected = weights @ shape.cloud.coords[[0, 1, 2]].astype(float)
    np.testing.assert_allclose(place.coords, expected, atol=1e-5)
    assert place.n_views == 3
    bare = Shape(shape.cloud, shape.faces, frozenset({"normal"}))
    place = describe(bare, Surface(bare).hit(origin, np.array([0.0, 0, -1])))
    assert (place.coords, place.confidence, place.n_views, place.region) == (None,) * 4


def test_a_ray_meets_the_front_of_a_cloud():
    shape = ball_shape()
    cloud = Shape(shape.cloud, None, KNOWN)
    assert isinstance(target_of(cloud), Points)
    assert isinstance(target_of(shape), Surface)
    toward = np.array([0.6, 0.64, 0.48])
    hit = target_of(cloud).hit(4 * toward, -toward)
    found = describe(cloud, hit).position
    assert np.linalg.norm(found - toward) < 0.06
    assert target_of(cloud).hit(4 * toward, toward) is None


def test_distances_of_a_moved_mesh_are_exact():
    """A plate over a plate: the gap, its sign by the side; and balls inside one another."""
    plate = Surface(plate_shape())
    places = np.array([[0.2, 0.1, 0.25], [0.9, -0.9, -0.5], [1.3, 0.0, 0.4], [0, 0, 0]])
    found = plate.distances(places)
    np.testing.assert_allclose(found, [0.25, -0.5, 0.5, 0], atol=1e-6)
    outer = ball_shape(scale=1.0, rows=120)
    inner = ball_shape(scale=0.9, rows=120)
    np.testing.assert_allclose(Surface(outer).distances(inner.cloud.points), -0.1, atol=5e-4)
    np.testing.assert_allclose(Surface(inner).distances(outer.cloud.points), 0.1, atol=5e-4)
    moved = Surface(ball_shape(shift=1e5)).distances(ball_shape(shift=1e5).cloud.points)
    np.testing.assert_allclose(moved, 0, atol=1e-6)
    grid = Shape(cloud_of(np.eye(3)), None, KNOWN)
    np.testing.assert_allclose(Points(grid).distances(1.1 * np.eye(3)), 0.1)


def ring(n=8):
    angles = 2 * np.pi * np.arange(n) / n
    return [look_from(4.5 * np.array([np.cos(a), np.sin(a), 0.2])) for a in angles]


@pytest.mark.parametrize("kind", ["mesh", "cloud"])
def test_only_views_that_see_a_place_are_listed_the_best_first(kind):
    """A plate hides the ball from the camera in front of it, and from no other."""
    ball = ball_shape()
    cameras = ring()
    place = Place(np.array([1.0, 0, 0]), np.array([1.0, 0, 0]))
    faces = ball.faces if kind == "mesh" else None
    found = sightings(place, cameras, target_of(Shape(ball.cloud, faces, KNOWN)))
    # 45 degrees off to either side are seen, 90 and more are not.
    assert found[0].view == 0
    assert {s.view for s in found[1:]} == {1, 7}
    assert found[0].score > found[1].score
    for sighting in found:
        pixel, depth = cameras[sighting.view].project(place.position[None])
        np.testing.assert_allclose(sighting.pixel, pixel[0], atol=1e-9)
        assert sighting.depth == pytest.approx(depth[0])
    between = cameras[0].center * 0.5 + 0.5 * place.position
    side = np.linspace(-0.2, 0.2, 60)
    grid = np.stack(np.meshgrid(0.0, side, side, indexing="ij"), -1).reshape(-1, 3) + between
    index = np.arange(3600).reshape(60, 60)
    a, b, c, d = (
        index[i : i + 59, j : j + 59].ravel() for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))
    )
    plate_faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    both = cloud_of(np.concatenate([ball.cloud.points, grid]))
    faces = np.concatenate([ball.faces, plate_faces + len(ball.cloud)]).astype(np.int32)
    hidden = target_of(Shape(both, faces if kind == "mesh" else None, KNOWN))
    assert {s.view for s in sightings(place, cameras, hidden)} == {1, 7}


def test_a_place_outside_every_picture_is_seen_by_none():
    place = Place(np.array([0.0, 0.0, 50.0]))
    assert sightings(place, ring(), None) == []
    behind = Place(np.array([9.0, 0.0, 0.0]))
    assert 0 not in {s.view for s in sightings(behind, ring(), None)}


@pytest.mark.parametrize("width", [20, 31, 64, 150])
@pytest.mark.parametrize("pixel", [(100.25, 60.75), (17.0, 101.5), (181.9, 12.1)])
def test_the_cross_lies_where_the_place_is(width, pixel):
    """Each pixel of the picture says where it is, so the middle of the cross does."""
    column, row = np.meshgrid(np.arange(200), np.arange(120))
    image = np.stack([column, row, 0 * row], axis=2).astype(np.uint8)
    size = 96
    found = crop(image, np.array(pixel), width, size)
    assert found.shape == (size, size, 3)
    rows, columns = np.nonzero((found == [255, 0, 160]).all(axis=2))
    middle = np.array([columns.mean(), rows.mean()]) + 0.5
    assert np.abs(middle - size / 2).max() <= 0.5 * size / width + 1
    x, y = np.floor(middle).astype(int)
    shown = found[y, x].astype(float)[:2] + 0.5
    # Half a grey level, and a pixel of the crop.
    assert np.abs(shown - pixel).max() <= 0.5 + 1.0 * width / size


def test_a_crop_is_the_picture():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    found = crop(image, np.array([60.0, 45.0]), 48, 48)
    same = (found == image[21:69, 36:84]).all(axis=2)
    assert same.mean() > 0.9
    assert same[:16].all()
    corner = crop(image, np.array([1.0, 1.0]), 48, 48)
    assert (corner[:20, :20] == 64).all()


def test_a_clicked_vertex_projects_to_the_middle_of_its_crops(tmp_path):
    """The ball's pictures: what the crop shows there is the paint of the place."""
    from tests.ball import paint

    write_capture_of_ball(tmp_path, 8)
    capture = load_subject(tmp_path).capture
    pictures = Pictures(capture, kept_bytes=1)
    shape = ball_shape()
    row = 1234
    vertex = shape.cloud.points[row]
    hit = Surface(shape).hit(3 * vertex, -vertex)
    place = describe(shape, hit)
    np.testing.assert_allclose(place.position, vertex, atol=1e-5)
    found = sightings(place, [view.camera for view in capture.views], Surface(shape))
    assert 2 <= len(found) <= 4
    for sighting in found:
        image = pictures.taken(sighting.view)
        part = crop(image, sighting.pixel, 24, 96)
        shown = part[47:49, 47:49].reshape(-1, 3).mean(axis=0)
        assert np.abs(shown - paint(vertex[None])[0]).max() < 4


def test_pictures_are_kept_within_bounds(tmp_path):
    write_capture_of_ball(tmp_path, 3)
    capture = load_subject(tmp_path).capture
    pictures = Pictures(capture, kept_bytes=2 * 200 * 200 * 3)
    first = pictures.taken(0)
    assert pictures.taken(0) is first
    pictures.taken(1)
    pictures.taken(2)
    assert pictures.taken(0) is not first
    np.testing.assert_array_equal(pictures.taken(0), first)
    small = pinhole_picture(capture.views[0], 50)
    assert small.shape == (50, 50, 3)
    assert np.abs(small.mean(axis=(0, 1)) - first.mean(axis=(0, 1))).max() < 1


def test_a_ray_meets_the_camera_whose_picture_it_passes():
    cameras = ring()
    # From the middle of the ring outwards through camera 2's picture, drawn one unit deep.
    center = cameras[2].center
    axis = cameras[2].rotation[2]
    found = frustum_hit(center - 2 * axis, axis, cameras, 1.0)
    assert found[1] == 2
    assert found[0] == pytest.approx(3.0)
    half = 100 / 420
    for off, is_hit in ((0.95 * half, True), (1.05 * half, False)):
        start = center - 2 * axis + off * cameras[2].rotation[0]
        met = frustum_hit(start, axis, cameras[2:3], 1.0)
        assert (met is not None) == is_hit


def test_a_picture_lies_where_its_camera_sees_it():
    """The plane's corners project to the picture's, also where the axis is off its middle."""
    from calib.camera import Camera

    camera = look_from([1.0, 2, 3])
    camera = Camera("PINHOLE", 200, 150, [400, 380, 80, 90], camera.cam_from_world)
    width, height, middle = picture_plane(camera, 2.5)
    right, down = camera.rotation[0], camera.rotation[1]
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) / 2
    corners = middle + signs * [width, height] @ np.stack([right, down])
    pixels, depths = camera.project(corners)
    np.testing.assert_allclose(pixels, [[0, 0], [0, 150], [200, 0], [200, 150]], atol=1e-9)
    np.testing.assert_allclose(depths, 2.5)
    assert vertical_angle(camera) == pytest.approx(2 * np.arctan(75 / 380))
    assert vertical_angle(camera, 0.5) == pytest.approx(2 * np.arctan(100 / 400 / 0.5))


def test_regions_are_named_left_and_right():
    from mvs.canonical.layouts import load_layout

    layout = load_layout("named")
    tip = layout.positions[layout.names.index("nose_tip")].astype(np.float32)
    assert region_name(tip) == "nose"
    ear = next(n for n in layout.names if "left" in n and "ear" in n)
    assert region_name(layout.positions[layout.names.index(ear)].astype(np.float32)) == "left ear"


def test_the_distance_between_points_is_the_neighbours():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), -1).reshape(-1, 3) * 0.25
    assert point_spacing(grid) == pytest.approx(0.25)
    assert point_spacing(grid[:1]) == 0
