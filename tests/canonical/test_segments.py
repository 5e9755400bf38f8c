"""Regions in any layout: places, pictures and meshes."""

import json

import numpy as np
import pytest

from mvs.canonical.atlas import atlas_coords, atlas_normals, atlas_places
from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.meshes import read_cube_mesh
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.segment_files import write_labels, write_mesh_labels
from mvs.canonical.segmentation import (
    SegmentOptions,
    overlay,
    segment_map,
    segment_picture,
    segment_vertices,
)
from mvs.canonical.segments import load_regions, shipped_regions
from mvs.canonical.template import load_template, spread_points
from mvs.types import CubeMap
from tests.scenes import make_scene, perturb

SIZE = 192
SCENE = make_scene(n_views=3, size=SIZE, arc_deg=40.0)
SPHERE = (0.52, 0.55, 0.83, 0.08)


def regions_of(tmp_path, *regions, **more):
    path = tmp_path / "regions.json"
    path.write_text(json.dumps({"regions": regions, **more}))
    return load_regions(path)


def test_the_atlas_and_back():
    places, height = atlas_places(spread_points(5000))
    picture = atlas_coords(256)
    row, column = np.floor(places[:, ::-1] * 256).astype(int).clip(0, 255).T
    assert np.linalg.norm(picture[row, column] - spread_points(5000), axis=1).max() < 0.02
    assert np.abs(height).max() < 0.002
    y, x = (k.ravel()[::7] for k in np.indices((256, 256)))
    back, _ = atlas_places(picture[y, x])
    off = np.linalg.norm(back * 256 - np.column_stack([x, y]) - 0.5, axis=1)
    assert np.percentile(off, 99) < 0.5
    raised = picture[y, x] + 0.01 * atlas_normals(256)[y, x]
    assert abs(np.median(atlas_places(raised)[1]) - 0.01) < 1e-3
    assert np.isnan(atlas_places(np.full((1, 3), np.nan, np.float32))[0]).all()
    with pytest.raises(ValueError, match="size must be at least 2"):
        atlas_coords(1)


def test_the_nose_is_in_the_middle_of_the_atlas_and_left_is_right():
    places, _ = atlas_places(landmark_positions()[[30, 36, 45, 27, 8]])
    assert np.abs(places[0] - 0.5).max() < 0.1
    assert places[1, 0] < 0.5 < places[2, 0]  # the subject's right eye, and the left
    assert places[3, 1] < places[0, 1] < places[4, 1]


def test_shipped_regions_are_the_volume_s():
    places = spread_points(20_000)
    smooth = shipped_regions().labels(places)
    assert (smooth == region_of(places)).mean() > 0.95
    split = shipped_regions(split=True)
    names = np.array(split.names)[split.labels(places)]
    plain = np.array(REGIONS)[smooth]
    clear = np.abs(places[:, 0] - 0.5) > 0.01
    for side, on in (("left", places[:, 0] > 0.5), ("right", places[:, 0] < 0.5)):
        chosen = on & clear & (plain == "ear")
        assert chosen.any()
        assert (names[chosen] == f"{side}_ear").all()
    np.testing.assert_allclose(split.scores(places).sum(axis=1), 1, atol=1e-5)


def test_a_sphere_in_exact_maps_is_where_it_is(tmp_path):
    regions = regions_of(tmp_path, {"name": "spot", "sphere": SPHERE})
    for cube_map in SCENE.cube_maps:
        labels = segment_map(cube_map, regions)
        true = np.linalg.norm(cube_map.coords - SPHERE[:3], axis=2) < SPHERE[3]
        true &= cube_map.mask
        assert true.sum() > 300
        assert (labels[true] == 1).mean() > 0.97
        assert (labels[~true] == 1).sum() < 0.03 * true.sum()


def test_noise_makes_no_islands_and_borders_stay_short(tmp_path):
    regions = regions_of(tmp_path, {"name": "spot", "sphere": SPHERE})
    pixel = SCENE.cube_scale / (2.6 * SIZE / 0.6)
    noisy = perturb(SCENE, bias=1e-9, noise=2.5 * pixel)[1]
    from scipy.ndimage import label

    naive = (regions.labels(noisy.coords.reshape(-1, 3)).reshape(SIZE, SIZE) == 1) & noisy.mask
    clean = segment_map(noisy, regions, SegmentOptions(smooth_px=2.0)) == 1
    assert label(naive)[1] > 1
    assert label(clean)[1] == 1
    true = SCENE.cube_maps[1]
    true = (np.linalg.norm(true.coords - SPHERE[:3], axis=2) < SPHERE[3]) & true.mask
    assert (clean & true).sum() / (clean | true).sum() > 0.88
    assert (clean & true).sum() / (clean | true).sum() > (naive & true).sum() / (naive | true).sum()


def test_labels_of_a_larger_picture_and_doubtful_pixels(tmp_path):
    regions = regions_of(tmp_path, {"name": "spot", "sphere": SPHERE})
    cube_map = SCENE.cube_maps[1]
    twice = CubeMap(
        cube_map.coords, cube_map.confidence, cube_map.mask, np.array([[3.0, 0, 10], [0, 3, 20]])
    )
    labels = segment_picture(twice, (3 * SIZE + 20, 3 * SIZE + 10, 3), regions)
    inner = labels[20:, 10:].reshape(SIZE, 3, SIZE, 3)[:, 1, :, 1]
    assert (inner != segment_map(cube_map, regions))[cube_map.mask].mean() < 0.002
    doubtful = cube_map.confidence.copy()
    doubtful[:, : SIZE // 2] = 0.001
    left = CubeMap(cube_map.coords, doubtful, cube_map.mask, cube_map.image_from_map)
    assert not segment_map(left, shipped_regions())[:, : SIZE // 2 - 2].any()


def test_every_kind_of_region(tmp_path):
    import cv2

    paint = np.full((200, 200, 3), 255, np.uint8)
    paint[:, :100] = (0, 0, 255)  # BGR: red on the subject's right half
    cv2.imwrite(str(tmp_path / "paint.png"), paint)
    regions = regions_of(
        tmp_path,
        {"name": "half", "paint": [255, 0, 0]},
        {"name": "square", "atlas": [[0.6, 0.6], [0.8, 0.6], [0.8, 0.8], [0.6, 0.8]]},
        {"name": "muzzle", "landmarks": ["cheek_left", "chin", [0.4, 0.55, 0.71]]},
        {"name": "top", "box": [[0, 0.93, 0], [1, 1, 1]], "split": True, "color": [9, 90, 9]},
        paint="paint.png",
        shipped=True,
    )
    n = len(REGIONS)
    assert regions.names[n:] == ("half", "square", "muzzle", "left_top", "right_top")
    assert regions.colors[n].tolist() == [255, 0, 0]
    picture = atlas_coords(128)

    def label(column, row):
        return regions.names[regions.labels(picture[row : row + 1, column])[0]]

    assert label(30, 60) == "half"
    assert label(90, 38) == "square"  # y is up in the file
    lips = landmark_positions()[[51, 57]]
    assert (regions.labels(lips) == n + 2).all()
    high = np.array([[0.55, 0.945, 0.44], [0.45, 0.945, 0.44]], np.float32)
    assert regions.labels(high).tolist() == [n + 3, n + 4]
    assert label(100, 64) in REGIONS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a file of regions"),
        ("[]", "not a file of regions"),
        ('{"regions": []}', "needs 1 to 255 regions"),
        ('{"regions": [{"name": "a"}]}', "'a' needs one of paint, atlas"),
        ('{"regions": [{"name": "a", "ball": [0, 0, 0, 1]}]}', "unknown key 'ball'"),
        ('{"regions": [{"name": "a", "sphere": [0, 0, 1]}]}', "expected 4 numbers"),
        ('{"regions": [{"name": "a", "atlas": [[0, 0], [1, 1]]}]}', "three corners"),
        ('{"regions": [{"name": "a", "landmarks": ["nose", "x", "y"]}]}', "nose"),
        ('{"regions": [{"name": "a", "paint": [1, 2, 3]}]}', "picture's name"),
        ('{"regions": [{"name": "a", "box": [[0, 0, 0], [1, 1, 1]], "color": [1]}]}', "expected 3"),
    ],
)
def test_what_a_file_of_regions_can_have_wrong(tmp_path, text, reason):
    path = tmp_path / "regions.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"regions\.json: .*{reason}"):
        load_regions(path)


def write_template(path):
    from mvs.stages.ply import write_properties

    head = load_template()
    columns = dict(zip("xyz", head.coords.T.astype(np.float32), strict=True))
    columns |= dict(zip("uvw", head.coords.T.astype(np.float32), strict=True))
    with path.open("wb") as stream:
        write_properties(stream, columns, head.faces)


def test_a_mesh_gets_labels(tmp_path):
    write_template(tmp_path / "head.ply")
    mesh = read_cube_mesh(tmp_path / "head.ply")
    regions = regions_of(tmp_path, {"name": "face", "sphere": [0.5, 0.55, 0.75, 0.12]})
    rng = np.random.default_rng(0)
    noisy = mesh.coords + rng.normal(0, 0.006, mesh.coords.shape).astype(np.float32)
    labels = segment_vertices(noisy, mesh.faces, regions)
    true = np.linalg.norm(mesh.coords - [0.5, 0.55, 0.75], axis=1) < 0.12
    both = ((labels == 1) & true).sum() / ((labels == 1) | true).sum()
    assert both > 0.95
    write_mesh_labels(mesh, regions, tmp_path, SegmentOptions())
    write_labels(regions, tmp_path)
    again = read_cube_mesh(tmp_path / "labels.ply")
    with np.load(tmp_path / "labels.npz") as data:
        np.testing.assert_array_equal(data["labels"], again.properties["label"])
        np.testing.assert_array_equal(again.colors, regions.colors[data["labels"]])
    document = json.loads((tmp_path / "labels.json").read_text())
    assert [row["name"] for row in document["labels"]] == ["background", "face"]


def test_a_mesh_s_islands_go_and_vertices_without_a_place_have_no_label():
    head = load_template()
    labels = segment_vertices(head.coords, head.faces, shipped_regions(), SegmentOptions())
    coords = head.coords.copy()
    coords[:50] = np.nan
    assert not segment_vertices(coords, head.faces, shipped_regions())[:50].any()
    few = segment_vertices(
        head.coords, head.faces, shipped_regions(), SegmentOptions(min_island=0.1)
    )
    assert len(np.unique(few)) < len(np.unique(labels))


def test_the_overlay_keeps_what_has_no_label():
    image = np.full((20, 20, 3), 100, np.uint8)
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:15] = 1
    drawn = overlay(image, labels, shipped_regions(), 0.5)
    np.testing.assert_array_equal(drawn[:4], image[:4])
    expected = 50 + shipped_regions().colors[1] / 2
    np.testing.assert_allclose(drawn[10, 10], expected, atol=1)


@pytest.mark.parametrize(
    "changes", [{"min_confidence": 2.0}, {"smooth_px": 0.0}, {"min_island": 1.0}, {"opacity": -1.0}]
)
def test_wrong_options_are_refused(changes):
    with pytest.raises(ValueError):
        SegmentOptions(**changes)
