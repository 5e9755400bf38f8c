import numpy as np
import pytest

from tests.scenes import IDENTITY, HeadShape, make_scene, perturb, write_capture, write_cube_maps


@pytest.fixture(scope="module")
def scene():
    return make_scene(3, 64)


def test_gradient_is_the_derivative_of_the_level():
    shape = HeadShape()
    points = np.random.default_rng(0).normal(0, 0.1, (50, 3))
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        slope = (shape.level(points + step) - shape.level(points - step)) / 2e-6
        np.testing.assert_allclose(shape.gradient(points)[:, axis], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_maps_and_depths_are_exact(scene, view):
    points = scene.surface_points(view)
    mask = scene.cube_maps[view].mask
    ys, xs = np.nonzero(mask)
    pixels, depth = scene.cameras[view].project(points)
    np.testing.assert_allclose(pixels, np.column_stack([xs, ys]) + 0.5, atol=1e-9)
    np.testing.assert_allclose(depth, scene.depths[view][mask], rtol=1e-12)
    assert scene.distance(points).max() < 1e-13
    np.testing.assert_allclose(scene.coords(points), scene.cube_maps[view].coords[mask], atol=1e-7)
    assert (scene.cube_maps[view].coords >= 0).all()
    assert (scene.cube_maps[view].coords <= 1).all()
    towards = scene.cameras[view].center - points
    assert ((scene.normals(points) * towards).sum(axis=1) > -1e-9).all()


def test_colmap_reads_the_capture(scene, tmp_path):
    import cv2
    import pycolmap

    write_capture(scene, tmp_path)
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    assert sorted(image.name for image in model.images.values()) == list(scene.names)
    for image in model.images.values():
        camera = scene.cameras[scene.names.index(image.name)]
        np.testing.assert_allclose(
            image.cam_from_world().matrix(), camera.cam_from_world, atol=1e-12
        )
        np.testing.assert_allclose(model.cameras[image.camera_id].params, camera.params)
    mask = cv2.imread(str(tmp_path / "masks" / "view_01.png.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, scene.cube_maps[1].mask)
    picture = cv2.imread(str(tmp_path / "images" / "view_01.png"))
    np.testing.assert_array_equal(picture[..., ::-1], scene.images[1])


def test_cube_maps_on_disk(scene, tmp_path):
    write_cube_maps(scene, tmp_path)
    with np.load(tmp_path / "view_02.png.npz") as data:
        np.testing.assert_array_equal(data["coords"], scene.cube_maps[2].coords)
        np.testing.assert_array_equal(data["mask"], scene.cube_maps[2].mask)


def test_perturbation_has_the_size_asked_for(scene):
    maps = perturb(scene, bias=0.01, noise=0.002)
    error = maps[0].coords - scene.cube_maps[0].coords
    size = np.sqrt((error.astype(float) ** 2).sum(axis=2).mean())
    assert size == pytest.approx(np.hypot(0.01, 0.002), rel=0.05)
    assert np.abs(maps[0].coords - maps[1].coords).max() > 0.01
    np.testing.assert_array_equal(maps[0].image_from_map, IDENTITY)
