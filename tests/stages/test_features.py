"""Feature tracks on exact maps: places that the truth confirms, whatever the poses say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from calib.capture import View
from mvs.stages.embed import EmbeddedViews, Sphere
from mvs.stages.features import FeatureOptions, feature_tracks, join_tracks
from tests.scenes import make_scene, perturb


def embedded(scene, cameras=None, noise=0.0):
    """The scene as the embedder would hand it on, its maps noisy, its pictures with texture."""
    maps = perturb(scene, noise, noise) if noise else scene.cube_maps
    cameras = tuple(cameras or scene.cameras)
    head = Sphere(scene.center, scene.size, np.ones(len(cameras), bool))
    masks = tuple(cube_map.mask for cube_map in scene.cube_maps)
    images = tuple(speckled(scene, view) for view in range(len(cameras)))
    looks = (None,) * len(cameras)
    views = EmbeddedViews(cameras, images, tuple(maps), head, masks, looks)
    none = np.zeros(0, np.int64)
    taken = [
        View(name, name, name, camera, none)
        for name, camera in zip(scene.names, cameras, strict=True)
    ]
    return taken, views


def speckled(scene, view):
    """A picture of blobs that lie on the surface."""
    cube_map = scene.cube_maps[view]
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 1, (6000, 3))
    away = cKDTree(places).query(cube_map.coords[cube_map.mask])[0]
    picture = np.zeros((*cube_map.mask.shape, 3))
    picture[cube_map.mask] = 60 + 150 * np.exp(-0.5 * (away / 0.012) ** 2)[:, None]
    return picture.astype(np.uint8)


@pytest.fixture(scope="module")
def scene():
    return make_scene(n_views=4, size=280, arc_deg=60.0)


def distances(scene, tracks):
    """How far from the surface point that the first view sees the others see it, pixels."""
    errors = []
    for track in tracks:
        seen = np.flatnonzero(np.isfinite(track[:, 0]))
        camera, pixel = scene.cameras[seen[0]], track[seen[0]]
        depth = scene.depths[seen[0]][int(pixel[1]), int(pixel[0])]
        ray = camera.unproject(pixel[None])[0]
        point = camera.center + ray * depth / (ray @ camera.rotation[2])
        errors += [
            np.linalg.norm(scene.cameras[k].project(point[None])[0][0] - track[k]) for k in seen[1:]
        ]
    return np.array(errors)


@pytest.mark.parametrize("degrees", [0.0, 0.5])
def test_tracks_are_sharp_though_maps_and_poses_are_not(scene, degrees):
    rng = np.random.default_rng(1)
    cameras = []
    for camera in scene.cameras:
        R = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=3)).as_matrix()
        cameras.append(camera.with_pose(R @ camera.cam_from_world))
    taken, views = embedded(scene, cameras, noise=0.004)
    tracks = feature_tracks(taken, views)
    assert tracks.shape[1:] == (4, 2)
    assert len(tracks) > 60
    assert (np.isfinite(tracks[..., 0]).sum(axis=1) >= 3).all()
    errors = distances(scene, tracks)
    errors = errors[np.isfinite(errors)]
    # The maps alone are off by 0.004 / 3.5 m, more than a pixel.
    assert np.median(errors) < 0.5
    assert len(np.unique(tracks[:, 0], axis=0)) >= np.isfinite(tracks[:, 0, 0]).sum()
    again = feature_tracks(taken, views)
    assert tracks.tobytes() == again.tobytes()


def test_pixels_are_those_of_the_photograph(scene):
    lens = np.array([*scene.cameras[0].params, -0.05, 0.01, 0.0, 0.0])
    taken, views = embedded(scene)
    straight = feature_tracks(taken, views)
    bent = [
        replace(view, camera=replace(view.camera, model="OPENCV", params=lens)) for view in taken
    ]
    found = feature_tracks(bent, views)
    seen = np.isfinite(straight[:, 2, 0])
    np.testing.assert_allclose(
        found[seen, 2],
        bent[2].camera.project(
            taken[2].camera.center + taken[2].camera.unproject(straight[seen, 2])
        )[0],
        atol=1e-9,
    )
    assert np.abs(found[seen, 2] - straight[seen, 2]).max() > 0.1


def test_pictures_without_texture_give_no_tracks(scene):
    taken, views = embedded(scene)
    blank = tuple(np.full_like(image, 90) for image in views.images)
    assert feature_tracks(taken, replace(views, images=blank)).shape == (0, 4, 2)


def test_tracks_join_links_and_drop_contradictions():
    pixels = [np.arange(8.0).reshape(4, 2) + 10 * view for view in range(3)]
    one = (0, 1, np.array([[0, 0], [1, 1], [2, 2]]))
    two = (1, 2, np.array([[0, 3], [1, 2]]))
    # Feature 2 of view 1 meets two features of view 0.
    three = (0, 1, np.array([[3, 2]]))
    four = (1, 2, np.array([[2, 1]]))
    tracks = join_tracks(pixels, [one, two, three, four], FeatureOptions())
    expected = [
        [pixels[0][0], pixels[1][0], pixels[2][3]],
        [pixels[0][1], pixels[1][1], pixels[2][2]],
    ]
    np.testing.assert_array_equal(tracks, expected)
    assert join_tracks(pixels, [], FeatureOptions()).shape == (0, 3, 2)


def test_features_in_one_place_are_one():
    pixels = [np.array([[3.0, 4.0], [3.0, 4.0], [9.0, 9.0]]) + view for view in range(3)]
    links = [(0, 1, np.array([[0, 1]])), (1, 2, np.array([[0, 0]]))]
    tracks = join_tracks(pixels, links, FeatureOptions())
    np.testing.assert_array_equal(tracks, [[[3, 4], [4, 5], [5, 6]]])


def test_thinning_keeps_long_tracks_and_all_corners():
    rng = np.random.default_rng(2)
    pixels = [rng.uniform(0, 100, (3000, 2)) for _ in range(4)]
    crowd = slice(500, 3000)
    for of_view in pixels:
        of_view[crowd] = of_view[crowd] * 0.05
    every = np.repeat(np.arange(3000)[:, None], 2, axis=1)
    short = every[every[:, 0] % 2 == 0]
    links = [(0, 1, every), (1, 2, every), (2, 3, short)]
    tracks = join_tracks(pixels, links, FeatureOptions(n_tracks=400))
    assert len(tracks) <= 400
    spread = tracks[:, 0].max(axis=1) > 5
    assert spread.sum() > 250


@pytest.mark.parametrize(
    "change",
    [{"n_features": 0}, {"max_ratio": 1.5}, {"min_views": 1}, {"n_tracks": 0}, {"search_px": 0}],
)
def test_options_are_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        FeatureOptions(**change)
