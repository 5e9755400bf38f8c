"""What a report measures, against what is known exactly."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import mvs
from calib.masks import MaskLook, judge_masks
from mvs.canonical.template import load_template
from mvs.kernels.dlt import Observations
from mvs.stages.notes import histogram, mean_confidences, picture_errors
from mvs.types import CubeMap, Mesh
from mvs.viewer.report_advice import _FALLBACK, ADVICE, advise
from mvs.viewer.report_coverage import _areas, count_views, cover_template, draw_on_atlas
from mvs.viewer.report_mesh import find_frame, pack_surface, thin_surface
from mvs.viewer.report_pictures import (
    STEPS,
    color_steps,
    draw_sides,
    make_thumbnail,
    thumbnail_size,
)
from mvs.viewer.report_run import _count_points
from tests.ball import cloud_of, look_from, make_ball
from tests.viewer.ball_run import make_capture

ROOT = Path(mvs.__file__).parent.parent


@pytest.fixture(scope="module")
def ball():
    return make_ball(120, 240).mesh


def template_mesh():
    head = load_template()
    cloud = cloud_of(head.coords.astype(np.float64), normals=np.zeros_like(head.coords))
    return Mesh(replace(cloud, coords=head.coords), head.faces)


def test_errors_in_the_pictures_are_those_of_the_cameras():
    rng = np.random.default_rng(1)
    cameras = [look_from(4.5 * np.array([np.cos(a), np.sin(a), 0.3])) for a in (0.0, 0.4, 0.9)]
    points = rng.uniform(-0.4, 0.4, (50, 3))
    pixels = np.stack([camera.project(points)[0] for camera in cameras], axis=1)
    pixels += rng.normal(0, 1.0, pixels.shape)
    used = rng.uniform(size=(50, 3)) < 0.7
    used[:, 0] = True
    rows = np.arange(50) % 3 > 0
    known = np.where(used[..., None], pixels, np.nan)
    asked = Observations(np.stack([camera.P for camera in cameras]), known)
    found = picture_errors(points[rows], used[rows], asked, rows)
    for point, of, seen, error in zip(points[rows], pixels[rows], used[rows], found, strict=True):
        off = [
            np.linalg.norm(camera.project(point[None])[0][0] - at)
            for camera, at, is_seen in zip(cameras, of, seen, strict=True)
            if is_seen
        ]
        assert abs(error - np.sqrt(np.mean(np.square(off)))) < 1e-5


def test_histograms_hold_every_value():
    values = np.random.default_rng(0).exponential(1.0, 10_000).astype(np.float32)
    found = histogram(values)
    assert sum(found["counts"]) == 10_000
    assert np.quantile(values, 0.99) <= found["edges"][-1] < 1.6 * np.quantile(values, 0.99)
    assert found["median"] == pytest.approx(np.log(2), abs=0.03)
    edges = np.array(found["edges"])
    assert found["counts"][3] == ((values >= edges[3]) & (values < edges[4])).sum()
    assert found["counts"][-1] == (values >= edges[-2]).sum()
    assert histogram(values * 0, 1.0)["counts"][0] == 10_000
    # As 32 bits, some of these tops are larger than themselves.
    for top in (0.04, 0.1, 0.16, 0.3, 0.8):
        assert sum(histogram(values, top)["counts"]) == 10_000
    nothing = histogram(np.array([np.nan], np.float32))
    assert (sum(nothing["counts"]), nothing["median"]) == (0, None)


def test_confidence_is_that_of_the_head():
    confidence = np.array([[0.2, 0.4], [1.0, 1.0]], np.float32)
    mask = np.array([[True, True], [False, False]])
    found = CubeMap(np.zeros((2, 2, 3), np.float32), confidence, mask, np.eye(2, 3))
    assert mean_confidences([found, replace(found, mask=mask & False)]) == [0.3, None]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_frame_is_that_of_the_cube(seed):
    mesh = template_mesh()
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    points = 30 * mesh.vertices.points @ turn.T + [100.0, -50.0, 7.0]
    frame = find_frame(replace(mesh.vertices, points=points), [])
    assert frame.is_known
    np.testing.assert_allclose(frame.rotation @ turn, np.eye(3), atol=1e-6)
    assert np.quantile(np.linalg.norm(frame.place(points), axis=1), 0.995) == pytest.approx(1)


def test_without_the_cube_the_frame_is_that_of_the_cameras(ball):
    """Held upright around z, mostly on the side of x; then one camera alone, and all around."""
    cloud = replace(ball.vertices, coords=np.zeros_like(ball.vertices.coords))

    def upright(angle):
        camera = look_from(4.5 * np.array([np.cos(angle), np.sin(angle), 0.0]))
        ahead, up = camera.rotation[2], np.array([0.0, 0.0, 1.0])
        R = np.stack([np.cross(ahead, up), -up, ahead])
        return camera.with_pose(np.column_stack([R, -R @ camera.center]))

    for angles, ahead in (((-0.5, 0.0, 0.5), 0.0), ((0.3,), 0.3), (np.arange(4) * np.pi / 2, 0.0)):
        frame = find_frame(cloud, [upright(angle) for angle in angles])
        assert not frame.is_known
        np.testing.assert_allclose(frame.rotation[1], [0, 0, 1], atol=1e-9)
        np.testing.assert_allclose(frame.rotation[2], [np.cos(ahead), np.sin(ahead), 0], atol=1e-3)
        assert np.linalg.det(frame.rotation) == pytest.approx(1)


def test_a_thinned_ball_is_a_ball(ball):
    thin = thin_surface(ball, 6000)
    assert 4000 < len(thin.faces) <= 6100
    assert len(thin.vertices) <= 3000
    radius = np.linalg.norm(thin.vertices.points, axis=1)
    assert 0.99 < radius.min() <= radius.max() <= 1 + 1e-9
    assert (thin.vertices.normals * thin.vertices.points).sum(axis=1).min() > 0.98
    a, b, c = (thin.vertices.points[thin.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    assert area.sum() / 2 == pytest.approx(4 * np.pi, rel=0.02)
    # Faces still look outwards, but for slivers.
    outwards = (normal * (a + b + c)).sum(axis=1) > 0
    assert area[outwards].sum() > 0.995 * area.sum()
    assert len(np.unique(np.sort(thin.faces, axis=1), axis=0)) == len(thin.faces)
    assert thin_surface(ball, 10**6) is ball
    points = thin_surface(Mesh(ball.vertices, np.zeros((0, 3), np.int32)), 6000)
    assert 1000 < len(points.vertices) <= 3000
    assert len(points.faces) == 0


def test_what_is_packed_comes_out_again(ball):
    thin = thin_surface(ball, 6000)
    frame = find_frame(thin.vertices, [])
    seen = np.arange(len(thin.vertices), dtype=np.int32) % 300
    packed = pack_surface(thin, frame, seen)
    data, at = base64.b64decode(packed["data"]), 0
    n, m = packed["vertices"], packed["faces"]

    def take(kind, *shape):
        nonlocal at
        column = np.frombuffer(data, kind, int(np.prod(shape)), at).reshape(shape)
        at += column.nbytes
        return column

    place = (take("<u2", n, 3) / 65535 * 2 - 1) * packed["reach"]
    np.testing.assert_allclose(place, frame.place(thin.vertices.points), atol=2e-5)
    np.testing.assert_array_equal(take("<u2", m, 3), thin.faces)
    np.testing.assert_allclose(
        take("i1", n, 3) / 127, thin.vertices.normals @ frame.rotation.T, atol=0.005
    )
    np.testing.assert_array_equal(take("u1", n, 3), thin.vertices.colors)
    np.testing.assert_allclose(take("u1", n, 3) / 255, thin.vertices.coords, atol=0.003)
    np.testing.assert_allclose(take("u1", n) / 255, thin.vertices.confidence, atol=0.003)
    np.testing.assert_array_equal(take("u1", n), thin.vertices.n_views)
    np.testing.assert_array_equal(take("u1", n), np.minimum(seen, 255))
    assert at == len(data)
    wide = make_ball(300, 300).mesh
    with pytest.raises(ValueError, match="65535"):
        pack_surface(wide, frame, np.zeros(len(wide.vertices), np.int32))


def test_views_that_see_a_ball_are_those_above_the_horizon(ball):
    """A place of the unit ball is seen where its normal and the ray meet at a good angle."""
    cameras = [look_from(4.5 * np.array([np.cos(a), np.sin(a), 0.2])) for a in (0.0, 1.2, 2.0)]
    half = np.zeros((10, 10), np.uint8)
    half[:, 5:] = 1
    masks = [None, half, None]
    expected, doubtful = np.zeros(len(ball.vertices), int), np.zeros(len(ball.vertices), bool)
    points = ball.vertices.points
    for camera, mask in zip(cameras, masks, strict=True):
        towards = camera.center - points
        cosine = (points * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
        pixels = camera.project(points)[0]
        right = pixels[:, 0] > camera.width / 2 if mask is not None else True
        expected += (cosine > 0.15) & right
        doubtful |= np.abs(cosine - 0.15) < 0.02
        doubtful |= (np.abs(pixels[:, 0] - camera.width / 2) < 2) if mask is not None else False
    found = count_views(ball, cameras, masks, 1.0)
    np.testing.assert_array_equal(found[~doubtful], expected[~doubtful])
    assert (~doubtful).mean() > 0.8
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_what_lies_behind_is_not_seen(ball):
    """A small ball behind a large one."""
    n = len(ball.vertices)
    small = cloud_of(0.3 * ball.vertices.points + [-2.0, 0, 0], normals=ball.vertices.normals)
    points = np.concatenate([ball.vertices.points, small.points])
    cloud = cloud_of(points, normals=np.concatenate([ball.vertices.normals] * 2))
    both = Mesh(cloud, np.concatenate([ball.faces, ball.faces + n]).astype(np.int32))
    camera = look_from([4.5, 0, 0.0])
    assert count_views(both, [camera], [None], 1.0)[n:].sum() == 0
    alone = Mesh(small, ball.faces)
    assert count_views(alone, [camera], [None], 1.0).sum() > 0.3 * n


def test_half_of_the_template_covers_half_of_each_part():
    whole = template_mesh()
    left = whole.vertices.coords[:, 0] > 0.5
    rows = np.cumsum(left) - 1
    faces = rows[whole.faces[left[whole.faces].all(axis=1)]].astype(np.int32)
    cloud = replace(whole.vertices.rows(left), confidence=np.full(left.sum(), 0.25, np.float32))
    seen = np.where(cloud.coords[:, 1] > 0.6, 3, 1).astype(np.int32)
    found = cover_template(Mesh(cloud, faces), seen)
    area, head = _areas(load_template()), load_template()
    shares = {part.name: part for part in found.parts}
    # 0.02 of the cube beyond the middle count as there.
    there = area[head.coords[:, 0] > 0.5].sum() / area.sum()
    assert there < shares["whole head"].reconstructed < there + 0.1
    for name in ("face", "ears", "neck"):
        assert 0.49 < shares[name].reconstructed < 0.62
    high = area[(head.coords[:, 0] > 0.5) & (head.coords[:, 1] > 0.6)].sum() / area.sum()
    assert high - 0.01 < shares["whole head"].by_three < high + 0.06
    assert shares["neck"].by_two == 0
    assert shares["face"].confidence == pytest.approx(0.25)
    drawn = draw_on_atlas(found.views, 64)
    # The subject's left is on the right.
    assert np.isfinite(drawn[:, 40:60]).mean() > 0.8
    assert np.isnan(drawn[:, 4:24]).mean() > 0.9
    assert set(np.unique(drawn[np.isfinite(drawn)]).tolist()) == {1.0, 3.0}


def test_counts_of_views_have_their_own_colours():
    drawn = color_steps(np.array([[0, 2, 200, np.nan]], np.float32))[0]
    assert ["#" + bytes(rgb).hex() for rgb in drawn[:3]] == [STEPS[0], STEPS[2], STEPS[-1]]
    assert ["#" + bytes(drawn[3]).hex()] != [STEPS[0]]


def test_the_sides_are_those_of_the_head(ball):
    """A ball, red on its left, green in front, blue behind, white on its right."""
    x, z = ball.vertices.points[:, 0], ball.vertices.points[:, 2]
    colors = np.full((len(x), 3), 255, np.uint8)
    sides = np.abs(x) > np.abs(z)
    colors[sides & (x > 0)] = [255, 0, 0]
    colors[~sides & (z > 0)] = [0, 255, 0]
    colors[~sides & (z < 0)] = [0, 0, 255]
    painted = Mesh(replace(ball.vertices, colors=colors), ball.faces)
    shown = draw_sides(painted, find_frame(ball.vertices, []), 60)
    middle = {name: tuple(pair[0][30, 30].tolist()) for name, pair in shown.items()}
    assert middle["front"] == (0, 255, 0, 255)
    assert middle["left side"] == (255, 0, 0, 255)
    assert middle["back"] == (0, 0, 255, 255)
    assert middle["right side"] == (255, 255, 255, 255)
    # The left is on the right of the picture that looks at the face.
    assert tuple(shown["front"][0][30, 56]) == (255, 0, 0, 255)
    covered = (shown["front"][0][..., 3] / 255).mean()
    assert covered == pytest.approx(np.pi / (4 * 1.04**2), rel=0.01)
    # Cut open, the back shows the inside of the front, darker.
    open_ = Mesh(painted.vertices, painted.faces[z[painted.faces].min(axis=1) > -0.5])
    inner = draw_sides(open_, find_frame(ball.vertices, []), 60)["back"][0][30, 30]
    assert tuple(inner) == (0, round(0.42 * 255), 0, 255)
    clay = shown["front"][1].astype(int)
    assert clay[15, 38, 0] > clay[45, 22, 0] + 60


def test_thumbnails_are_small_and_outlined(tmp_path):
    capture = make_capture(tmp_path)
    small = make_thumbnail(capture.views[0], 100)
    assert small.picture.shape == (100, 100, 3)
    assert small.kept == 0.5
    assert small.mask[:, :50].all()
    assert not small.mask[:, 50:].any()
    bare = make_thumbnail(capture.views[1], 500)
    assert (bare.picture.shape, bare.mask) == ((200, 200, 3), None)
    # What is left out is darker, and at its border there is a bright line.
    assert small.picture[50, 90].max() <= 2 * 255 / 3 + 1
    assert np.abs(small.picture[80, 49].astype(int) - [90, 230, 255]).max() < 60
    assert [thumbnail_size(n) for n in (1, 16, 64, 1000)] == [300, 300, 150, 96]


def test_damaged_visibility_is_no_count(tmp_path):
    path = tmp_path / "cloud.ply.vis"
    for data in (b"", b"\1" * 9, b"\2" + b"\0" * 11, b"\1" + b"\0" * 7 + b"\1\0\0\0\7\0\0\0"):
        path.write_bytes(data)
        assert _count_points(path, 3) is None
    path.write_bytes(b"\2" + b"\0" * 7 + b"\1\0\0\0\2\0\0\0" + b"\0\0\0\0")
    assert _count_points(path, 3).tolist() == [0, 0, 1]


@pytest.mark.parametrize("key", [key for key, _ in ADVICE])
def test_advice_is_for_what_the_tool_says(key):
    """Every expression is found in the text of some warning in the code."""
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("calib", "mvs")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "report_advice.py"
    ]
    assert any(re.search(key, re.sub(r"\{[^{}]*\}", "3", text)) for text in sources), key


def test_masks_that_look_wrong_get_their_own_advice(tmp_path):
    capture = make_capture(tmp_path)
    fine = MaskLook(0.4, 0.1, 0.9)
    looks = [
        MaskLook(0.7, 0.9, 0.2),
        MaskLook(0.5, 0.5, 0.5, 0.9, True),
        MaskLook(0.0, 0.0, 0.0),
        MaskLook(1.0, 1.0, 1.0),
        MaskLook(0.4, 0.1, 0.9, 0.9),
        fine,
    ]
    said = judge_masks(capture, looks)
    assert len(said) == 5
    advice = [advise(warning) for warning in said]
    assert len(set(advice)) == 5
    assert _FALLBACK not in advice
    assert advise("something nobody has thought of") == _FALLBACK
