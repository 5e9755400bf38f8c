"""The stage that embeds: the head's place from many views, crops, masks, lenses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.formats import read_capture
from calib.lens import distortion_map, undistortion_map
from mvs.errors import ReconstructionError
from mvs.network.crop import paste_cube_map
from mvs.stages.embed import (
    EmbedOptions,
    embed_views,
    head_square,
    locate_head,
    warp_cube_map,
)
from mvs.types import CubeMap, Square
from tests.scenes import IDENTITY, make_scene, write_capture

LENS = ("OPENCV", (-0.12, 0.05, 0.002, -0.001))


class ExactEmbedder:
    """Knows the scene: the true coordinate of every pixel of any region, and where the head is.

    ``wrong`` names views whose square it gets wrong, ``blind`` those where it sees none.
    """

    name = "exact"
    wants_distorted = False
    size = 96

    def __init__(self, scene, wrong=(), blind=()):
        self.scene, self.wrong, self.blind = scene, wrong, blind
        self.asked = {}

    def find_head(self, image, name=None):
        assert image.dtype == np.uint8
        index = self.scene.names.index(name)
        if index in self.blind:
            return None
        if index in self.wrong:
            return Square((12.0, 100.0), 20.0)
        return head_square_of_mask(self.scene, index)

    def embed(self, image, region=None, name=None):
        self.asked[name] = region
        index = self.scene.names.index(name)
        step = region.side / self.size
        left, top = region.center[0] - region.side / 2, region.center[1] - region.side / 2
        affine = np.array([[step, 0, left], [0, step, top]])
        centers = (np.arange(self.size) + 0.5) * step
        whole = self.scene.cube_maps[index]
        column = np.clip(np.floor(centers + left), 0, image.shape[1] - 1).astype(int)
        row = np.clip(np.floor(centers + top), 0, image.shape[0] - 1).astype(int)
        picked = np.ix_(row, column)
        return CubeMap(whole.coords[picked], whole.confidence[picked], whole.mask[picked], affine)


def head_square_of_mask(scene, index):
    ys, xs = np.nonzero(scene.cube_maps[index].mask)
    middle = (float(xs.min() + xs.max() + 1) / 2, float(ys.min() + ys.max() + 1) / 2)
    return Square(middle, 1.2 * float(max(np.ptp(xs), np.ptp(ys)) + 1))


@pytest.fixture(scope="module")
def scene():
    return make_scene(6, 128)


@pytest.fixture(scope="module")
def views(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture") / "scene"
    write_capture(scene, folder)
    return read_capture(folder).views


def exact_squares(cameras, center, radius):
    squares = []
    for camera in cameras:
        (pixel,), (depth,) = camera.project(center[None])
        squares.append(Square(tuple(pixel), 2 * radius * camera.K[0, 0] / depth))
    return squares


def test_the_sphere_is_exact_where_the_squares_are(scene):
    center, radius = np.array([0.01, -0.02, 0.015]), 0.11
    head = locate_head(scene.cameras, exact_squares(scene.cameras, center, radius))
    np.testing.assert_allclose(head.center, center, atol=1e-8)
    # A square's side tells the slope at the camera's distance, not along its axis: a percent.
    assert head.radius == pytest.approx(radius, rel=0.02)
    assert head.agrees.all()


def test_a_third_of_the_squares_may_be_wrong_or_missing(scene):
    center, radius = np.array([0.01, -0.02, 0.015]), 0.11
    squares = exact_squares(scene.cameras, center, radius)
    squares[1] = None
    squares[4] = Square((9.0, 110.0), 30.0)
    head = locate_head(scene.cameras, squares)
    np.testing.assert_allclose(head.center, center, atol=1e-8)
    assert head.agrees.tolist() == [True, False, True, True, False, True]


def test_the_sphere_moves_with_the_world(scene):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([0.4, 1.1, -0.7]).as_matrix()
    motion[:3, 3] = [5.0, -3.0, 8.0]
    center, radius = np.array([0.01, -0.02, 0.015]), 0.11
    squares = exact_squares(scene.cameras, center, radius)
    moved = [
        camera.with_pose(camera.cam_from_world @ np.linalg.inv(motion)) for camera in scene.cameras
    ]
    head = locate_head(moved, squares)
    np.testing.assert_allclose(head.center, motion[:3, :3] @ center + motion[:3, 3], atol=1e-7)


def test_too_few_heads_is_an_error(scene):
    squares = exact_squares(scene.cameras, np.zeros(3), 0.1)
    with pytest.raises(ReconstructionError, match="found in 1 of 6 pictures"):
        locate_head(scene.cameras, [squares[0], *[None] * 5])


def test_squares_that_never_meet_are_an_error():
    """Two cameras side by side that look apart."""
    poses = []
    for side in (-1, 1):
        R = Rotation.from_rotvec([0, -0.6 * side, 0]).as_matrix()
        poses.append(np.column_stack([R, -R @ np.array([0.5 * side, 0, 0])]))
    cameras = [Camera("SIMPLE_PINHOLE", 100, 100, [100, 50, 50], pose) for pose in poses]
    with pytest.raises(ReconstructionError, match="do not agree"):
        locate_head(cameras, [Square((50.0, 50.0), 40.0)] * 2)


def test_the_square_of_a_sphere_holds_the_sphere(scene):
    head = locate_head(scene.cameras, exact_squares(scene.cameras, np.zeros(3), 0.11))
    rng = np.random.default_rng(0)
    away = rng.normal(size=(500, 3))
    points = head.center + head.radius * away / np.linalg.norm(away, axis=1, keepdims=True)
    for camera in scene.cameras:
        square = head_square(camera, head, 1.03)
        pixels, _ = camera.project(points)
        assert np.abs(pixels - square.center).max() <= square.side / 2
        assert np.abs(pixels - square.center).max() > 0.45 * square.side


def test_a_camera_that_looks_away_has_no_square(scene):
    head = locate_head(scene.cameras, exact_squares(scene.cameras, np.zeros(3), 0.11))
    camera = scene.cameras[0]
    turned = np.diag([-1.0, 1.0, -1.0]) @ camera.cam_from_world
    assert head_square(camera.with_pose(turned), head) is None


def test_all_views_are_cropped_to_the_same_sphere(scene, views):
    embedder = ExactEmbedder(scene, wrong=(2,), blind=(3,))
    embedded = embed_views(views, embedder, EmbedOptions(margin=1.1))
    assert embedded.head.agrees.tolist() == [True, True, False, False, True, True]
    assert np.linalg.norm(embedded.head.center - scene.center) < 0.015
    for index, camera in enumerate(scene.cameras):
        expected = head_square(camera, embedded.head, 1.1)
        assert embedder.asked[scene.names[index]] == expected
        # No view loses its head: nearly all of its mask lies in the crop.
        cube_map = embedded.cube_maps[index]
        pasted = paste_cube_map(cube_map, camera.height, camera.width)
        assert (pasted.mask & scene.cube_maps[index].mask).sum() > 0.97 * (
            scene.cube_maps[index].mask.sum()
        )


def test_progress_is_told_twice_per_view(scene, views):
    told = []
    embed_views(views, ExactEmbedder(scene), progress=lambda: told.append(1))
    assert len(told) == 2 * len(views)


def test_threads_change_nothing(scene, views):
    one = embed_views(views, ExactEmbedder(scene), EmbedOptions(threads=1))
    two = embed_views(views, ExactEmbedder(scene), EmbedOptions(threads=3))
    np.testing.assert_array_equal(one.head.center, two.head.center)
    for a, b in zip(one.cube_maps, two.cube_maps, strict=True):
        np.testing.assert_array_equal(a.coords, b.coords)


def test_a_capture_mask_cuts_the_map(scene, tmp_path):
    import cv2

    write_capture(scene, tmp_path / "c")
    half = np.zeros((128, 128), np.uint8)
    half[:, 64:] = 255
    for name in scene.names:
        cv2.imwrite(str(tmp_path / "c" / "masks" / f"{name}.png"), half)
    embedded = embed_views(read_capture(tmp_path / "c").views, ExactEmbedder(scene))
    for cube_map in embedded.cube_maps:
        columns = np.arange(cube_map.mask.shape[1]) + 0.5
        x = cube_map.image_from_map[0, 0] * columns + cube_map.image_from_map[0, 2]
        assert cube_map.mask[:, x > 65].any()
        assert not cube_map.mask[:, x < 64].any()


def test_a_lens_is_taken_out_exactly():
    """The map seen through a lens, undistorted, is the map a pinhole sees."""
    bent, straight = make_scene(2, 160, lens=LENS), make_scene(2, 160)
    for index in range(2):
        mapping = undistortion_map(bent.cameras[index])
        warped = warp_cube_map(bent.cube_maps[index], mapping)
        expected = straight.cube_maps[index]
        assert (warped.mask == expected.mask).mean() > 0.995
        both = warped.mask & expected.mask
        error = np.linalg.norm(warped.coords - expected.coords, axis=2)[both]
        error_mm = 1000 * error / bent.cube_scale
        assert np.median(error_mm) < 0.02
        # The lens shifts by many pixels of a millimetre; only grazing pixels may be off by one.
        assert np.percentile(error_mm, 95) < 0.5


def test_a_lens_can_be_put_back():
    bent, straight = make_scene(1, 160, lens=LENS), make_scene(1, 160)
    warped = warp_cube_map(straight.cube_maps[0], distortion_map(bent.cameras[0]))
    expected = bent.cube_maps[0]
    both = warped.mask & expected.mask
    assert both.sum() > 0.98 * expected.mask.sum()
    error = np.linalg.norm(warped.coords - expected.coords, axis=2)[both]
    assert np.median(1000 * error / bent.cube_scale) < 0.02


def test_an_occlusion_is_not_smeared():
    """Two surfaces side by side: between them the nearer pixel counts, never their mean."""
    coords = np.zeros((8, 8, 3), np.float32)
    coords[:, 4:] = 0.8
    flat = CubeMap(coords, np.ones((8, 8), np.float32), np.ones((8, 8), bool), IDENTITY)
    y, x = np.mgrid[:8, :8] + 0.5
    shifted = np.stack([x + 0.3, y], axis=-1).astype(np.float32)
    warped = warp_cube_map(flat, shifted)
    assert set(np.unique(warped.coords).tolist()) == {0.0, np.float32(0.8)}
    assert not warped.mask[:, -1].any() or warped.coords[0, -1, 0] == np.float32(0.8)


@pytest.mark.parametrize("bad", [{"margin": 0.1}, {"margin": 9.0}, {"threads": 0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        EmbedOptions(**bad)
