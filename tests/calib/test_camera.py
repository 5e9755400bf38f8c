import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.camera import MODEL_PARAMS, Camera
from tests.calib.lenses import HEIGHT, PARAMS, WIDTH

POSE = np.column_stack([Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), [0.1, -0.2, 3.0]])


def camera_of(model, pose=POSE):
    return Camera(model, WIDTH, HEIGHT, np.array(PARAMS[model], float), pose)


def points_ahead(camera, n=200):
    """World points that the camera sees, all over its picture."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform((3, 3), (WIDTH - 3, HEIGHT - 3), (n, 2))
    plane = (pixels - camera.K[:2, 2]) / np.diag(camera.K)[:2]
    local = np.column_stack([plane, np.ones(n)]) * rng.uniform(0.5, 5, (n, 1))
    return (local - camera.translation) @ camera.rotation


def reference_lens(model, params, x, y):
    """Pixels of rays (x, y, 1), written from the models' published formulas."""
    named = dict(zip(MODEL_PARAMS[model], params, strict=True))
    fx, fy = named.get("fx", named.get("f")), named.get("fy", named.get("f"))
    r = np.hypot(x, y)
    theta = np.arctan(r)
    if model in ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"):
        k1, k2 = named.get("k1", named.get("k", 0)), named.get("k2", 0)
        top = 1 + k1 * r**2 + k2 * r**4 + named.get("k3", 0) * r**6
        k4, k5, k6 = (named.get(name, 0) for name in ("k4", "k5", "k6"))
        scale = top / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        p1, p2 = named.get("p1", 0), named.get("p2", 0)
        u = x * scale + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
        v = y * scale + 2 * p2 * x * y + p1 * (r**2 + 2 * y**2)
    elif model == "FOV":
        scale = np.arctan(2 * r * np.tan(named["omega"] / 2)) / (named["omega"] * r)
        u, v = x * scale, y * scale
    elif model.endswith("FISHEYE") and "PRISM" not in model:
        k = [named.get(f"k{i}", 0) for i in range(1, 5)]
        k[0] += named.get("k", 0)
        bent = theta * (1 + sum(k[i] * theta ** (2 * i + 2) for i in range(4)))
        u, v = x * bent / r, y * bent / r
    elif model == "EUCM":
        d = np.sqrt(named["beta"] * r**2 + 1)
        scale = 1 / (named["alpha"] * d + 1 - named["alpha"])
        u, v = x * scale, y * scale
    else:
        return None
    return np.column_stack([fx * u + named["cx"], fy * v + named["cy"]])


def test_every_model_is_covered():
    assert PARAMS.keys() == MODEL_PARAMS.keys()


@pytest.mark.parametrize("model", PARAMS)
def test_projects_as_colmap_does(model):
    import pycolmap

    camera = camera_of(model)
    points = points_ahead(camera)
    lens = pycolmap.Camera(
        model=model, width=WIDTH, height=HEIGHT, params=list(map(float, PARAMS[model]))
    )
    local = pycolmap.Rigid3d(POSE) * points
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels, lens.img_from_cam(local), atol=1e-9)
    np.testing.assert_allclose(depth, local[:, 2], atol=1e-12)


@pytest.mark.parametrize("model", PARAMS)
def test_projects_as_the_formula_says(model):
    camera = camera_of(model, np.eye(3, 4))
    points = points_ahead(camera)
    expected = reference_lens(model, PARAMS[model], *(points[:, :2] / points[:, 2:]).T)
    if expected is not None:
        np.testing.assert_allclose(camera.project(points)[0], expected, atol=1e-9)


@pytest.mark.parametrize("model", PARAMS)
def test_rays_pass_through_the_points_they_came_from(model):
    camera = camera_of(model)
    points = points_ahead(camera)
    rays = camera.unproject(camera.project(points)[0])
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, atol=1e-12)
    away = points - camera.center
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(rays, away, atol=1e-7)


def test_matrices_say_the_same_as_project():
    camera = camera_of("PINHOLE")
    points = points_ahead(camera)
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ camera.P.T
    np.testing.assert_allclose(
        homogeneous[:, :2] / homogeneous[:, 2:], camera.project(points)[0], atol=1e-9
    )


def test_first_pixel_centre_is_at_a_half():
    """The middle of a picture of even width lies between two pixels: at width / 2."""
    camera = Camera("SIMPLE_PINHOLE", 4, 4, [10.0, 2.0, 2.0], np.eye(3, 4))
    ray = camera.unproject(np.array([[0.5, 0.5]]))[0]
    np.testing.assert_allclose(ray[:2] / ray[2], [-0.15, -0.15])


def test_points_behind_have_no_pixel():
    camera = camera_of("SIMPLE_RADIAL", np.eye(3, 4))
    pixels, depth = camera.project(np.array([[0.0, 0, -1], [0, 0, 0], [0, 0, 1]]))
    assert np.isnan(pixels[:2]).all()
    np.testing.assert_allclose(pixels[2], (61, 44))
    np.testing.assert_array_equal(depth, [-1, 0, 1])


@pytest.mark.parametrize("model", PARAMS)
def test_pinhole_keeps_linear_part_size_and_pose(model):
    camera = camera_of(model)
    pinhole = camera.as_pinhole()
    assert pinhole.is_pinhole
    np.testing.assert_array_equal(pinhole.K, camera.K)
    assert (pinhole.width, pinhole.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(pinhole.cam_from_world, POSE)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "THIN_LENS"},
        {"params": np.array([110.0, 61, 44, 0])},
        {"params": np.array([np.nan, 61, 44])},
        {"params": np.array([0.0, 61, 44])},
        {"width": 0},
        {"cam_from_world": np.eye(4)},
        {"cam_from_world": 2 * np.eye(3, 4)},
    ],
)
def test_nonsense_is_refused(change):
    good = {
        "model": "SIMPLE_PINHOLE",
        "width": 120,
        "height": 90,
        "params": np.array([110.0, 61, 44]),
        "cam_from_world": np.eye(3, 4),
    }
    Camera(**good)
    with pytest.raises(ValueError, match=r"must"):
        Camera(**(good | change))
