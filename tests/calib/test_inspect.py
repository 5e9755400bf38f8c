"""Inspection of a good capture, and of what is done to it: every damage is found and named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.calibration import inverted
from calib.capture import Capture
from calib.inspection.compare import InspectOptions
from calib.inspection.draw import draw_inspection
from calib.inspection.findings import CODES
from calib.inspection.inspect import inspect_capture
from calib.inspection.report import Inspection
from calib.inspection.tables import capture_lines, lens_lines, view_lines
from tests.calib.textured import SIZE, changed, make_textured, turned, with_cameras

FLIP = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Capture:
    return make_textured(tmp_path_factory.mktemp("textured") / "head")


@pytest.fixture(scope="module")
def good(capture) -> Inspection:
    return inspect_capture(capture)


def codes(inspection: Inspection) -> dict[str, list[tuple[str, ...]]]:
    """Views of each finding, but for the notes, by code."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for finding in inspection.findings:
        if finding.severity != "note":
            found.setdefault(finding.code, []).append(finding.views)
    return found


def copied(capture: Capture, folder: Path) -> Capture:
    """The capture with pictures that may be changed."""
    shutil.copytree(capture.path, folder, dirs_exist_ok=True)
    views = [replace(v, image_path=folder / "images" / v.name) for v in capture.views]
    return replace(capture, path=folder, views=tuple(views))


def test_nothing_is_wrong_with_a_good_capture(good):
    assert codes(good) == {}
    assert [finding.code for finding in good.findings] == ["no-unit"]
    assert len(good.pairs) >= 10
    assert good.pair_error_px < 0.15
    assert max(pair.error_px for pair in good.pairs) < 0.3
    for error in good.view_errors:
        assert error.n_pairs >= 2
        assert error.error_px < 0.15
        # Views at the ends have lines of one direction only.
        assert not np.hypot(*error.shift_px) > 0.2
    assert sum(np.isfinite(error.shift_px[0]) for error in good.view_errors) >= 4
    assert good.lens_error.causes == ()
    assert np.abs(good.relative_levels).max() < 0.15


def test_where_the_cameras_stand(good):
    around = good.arrangement
    assert around.center_from == "axes"
    np.testing.assert_allclose(around.center, 0, atol=0.01)
    np.testing.assert_allclose(around.distances, 0.7, atol=0.01)
    np.testing.assert_allclose(np.abs(np.diff(around.azimuths_deg)), 15, atol=2)
    np.testing.assert_allclose(
        around.elevations_deg, np.rad2deg(0.25 * np.sin(3.0 * np.arange(8))), atol=3
    )
    np.testing.assert_allclose(around.pixels_per_unit, 2.6 * SIZE / 0.7, rtol=0.02)
    assert around.coverage.sum() == 8
    assert around.is_center_seen.all()


def test_what_the_lenses_are(good):
    (lens,) = good.lenses
    assert len(lens.views) == 8
    assert lens.focal_px == (2.6 * SIZE, 2.6 * SIZE)
    assert lens.center_offset_px == (3.0, -2.0)
    np.testing.assert_allclose(lens.field_deg, 2 * np.rad2deg(np.arctan(0.5 / 2.6)))
    np.testing.assert_allclose(lens.film_mm, 2.6 * np.hypot(36, 24) / np.sqrt(2))
    # f k r^3 at the farthest corner, to first order.
    reach = np.hypot(SIZE / 2 + 3, SIZE / 2 + 2) / (2.6 * SIZE)
    np.testing.assert_allclose(lens.distortion_px, 0.35 * reach**3 * 2.6 * SIZE, rtol=0.1)


@pytest.mark.parametrize("step", [-0.5, 0.5])
def test_half_a_pixel_is_found(capture, step):
    found = inspect_capture(changed(capture, cx_by=step, cy_by=step))
    assert set(codes(found)) == {"half-pixel"}
    np.testing.assert_allclose(found.lens_error.shift_px, (step, step), atol=0.3)
    assert abs(found.lens_error.shift_px[0] - step) < 0.1
    assert ("add 0.5" if step < 0 else "subtract 0.5") in str(found.findings[0])


def test_another_principal_point_is_found(capture):
    found = inspect_capture(changed(capture, cx_by=1.5))
    assert set(codes(found)) == {"principal-point"}
    assert abs(found.lens_error.shift_px[0] - 1.5) < 0.1


@pytest.mark.parametrize(
    ("changes", "px"),
    [({"k1_to": 0, "k2_to": 0}, 1.0), ({"k1_times": -1, "k2_times": -1}, 2.0)],
    ids=["dropped", "sign"],
)
def test_wrong_distortion_is_found(capture, changes, px):
    found = inspect_capture(changed(capture, **changes))
    assert "distortion" in codes(found)
    assert found.lens_error.causes[0] == "bend"
    # 0.35 e^3 f at the edge e.
    truth = 0.35 * (0.5 / 2.6) ** 3 * 2.6 * SIZE * px
    assert abs(found.lens_error.bend_px - truth) < 0.3 * truth


@pytest.mark.parametrize(("a", "b"), [(1, 6), (3, 4)])
def test_swapped_names_are_found(capture, a, b):
    cameras = [view.camera for view in capture.views]
    cameras[a], cameras[b] = cameras[b], cameras[a]
    found = inspect_capture(with_cameras(capture, cameras))
    assert codes(found) == {"names-swapped": [(f"{a}.png", f"{b}.png")]}
    assert found.misplaced.swapped == ((a, b),)
    assert f"{a}.png and {b}.png are exchanged" in found.findings[0].text


def test_a_ring_of_wrong_names_is_found(capture):
    cameras = [view.camera for view in capture.views]
    cameras[1], cameras[4], cameras[6] = cameras[4], cameras[6], cameras[1]
    found = inspect_capture(with_cameras(capture, cameras))
    assert set(codes(found)) == {"camera-of-another"}
    assert dict(found.misplaced.belongs) == {1: 6, 4: 1, 6: 4}


@pytest.mark.parametrize("rotvec", [(1.0, 0, 0), (0, 3.0, 0), (0, 0, 4.0)])
def test_one_wrong_pose_is_found(capture, rotvec):
    """A turn about the vertical axis moves matches along their lines and is the hardest."""
    cameras = [view.camera for view in capture.views]
    cameras[3] = turned(cameras[3], *rotvec)
    found = inspect_capture(with_cameras(capture, cameras))
    assert codes(found) == {"pose-wrong": [("3.png",)]}
    assert found.misplaced.views == (3,)
    assert found.lens_error.causes == ()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda cs: [c.with_pose(FLIP @ c.cam_from_world) for c in cs], "OpenGL's (y up"),
        (lambda cs: [c.with_pose(inverted(c.cam_from_world)) for c in cs], "poses are world_from"),
        (lambda cs: [*cs[-1:], *cs[:-1]], "the camera of the one before it"),
    ],
    ids=["opengl", "inverse", "names"],
)
def test_what_is_wrong_with_all_poses_is_named(capture, damage, says):
    cameras = [view.camera for view in capture.views]
    found = inspect_capture(with_cameras(capture, damage(cameras)))
    assert set(codes(found)) == {"poses-wrong"}
    assert says in found.findings[0].text
    assert found.misplaced.whole_error_px < 0.15


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda p: cv2.resize(p, None, fx=0.5, fy=0.5), "picture-scaled", "scaled by 0.5"),
        (lambda p: p[:, 20:].copy(), "picture-cropped", "cropped or padded"),
        (lambda p: np.rot90(p[:, 20:]).copy(), "picture-turned", "EXIF"),
    ],
)
def test_pictures_of_another_size_are_explained(capture, tmp_path, change, code, says):
    worse = copied(capture, tmp_path)
    if code == "picture-turned":
        cameras = [replace(view.camera, width=SIZE - 20) for view in capture.views]
        worse = with_cameras(worse, cameras)
    for view in worse.views:
        cv2.imwrite(str(view.image_path), change(cv2.imread(str(view.image_path))))
    found = inspect_capture(worse)
    names = tuple(view.name for view in worse.views)
    assert codes(found)[code] == [names]
    assert says in found.findings[0].text
    assert found.pairs == ()
    assert draw_inspection(found, [view.camera for view in worse.views]).any()


def test_pictures_that_stand_out_are_flagged(capture, tmp_path):
    worse = copied(capture, tmp_path)
    paths = [view.image_path for view in worse.views]
    for index, change in (
        (1, lambda p: cv2.GaussianBlur(p, (0, 0), 1.5)),
        (4, lambda p: np.clip(p * 1.4, 0, 255).astype(np.uint8)),
        (6, lambda p: np.clip(p * [1.15, 1.0, 0.9], 0, 255).astype(np.uint8)),
    ):
        cv2.imwrite(str(paths[index]), change(cv2.imread(str(paths[index]))))
    paths[7].write_bytes(paths[7].read_bytes()[:200])
    found = inspect_capture(worse)
    assert codes(found) == {
        "picture-unreadable": [("7.png",)],
        "blurred": [("1.png",)],
        "exposure": [("4.png",)],
        "color": [("6.png",)],
    }
    assert abs(found.relative_levels[4, :3].mean() - np.log(1.4)) < 0.03
    assert found.relative_levels[1, 3] < np.log(0.7)


def test_views_that_are_twice_there_are_found(capture, tmp_path):
    worse = copied(capture, tmp_path)
    views = list(worse.views)
    shutil.copy(views[2].image_path, views[3].image_path)
    views[3] = replace(views[3], camera=views[2].camera)
    found = codes(inspect_capture(replace(worse, views=tuple(views))))
    assert found["same-pose"] == [("2.png", "3.png")]
    assert found["same-picture"] == [("2.png", "3.png")]
    assert not any(CODES[code] == "serious" for code in found)


def test_a_camera_that_looks_away_is_found(capture):
    cameras = [view.camera for view in capture.views]
    cameras[5] = turned(cameras[5], 0, 60.0, 0)
    found = codes(inspect_capture(with_cameras(capture, cameras)))
    assert found["looks-away"] == [("5.png",)]


def test_sparse_points_are_held_against_their_observations(capture):
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.05, 0.05, (40, 3))
    views = []
    for index, view in enumerate(capture.views):
        pixels = view.camera.project(points)[0] + [3.0 * (index == 2), 0.0]
        views.append(replace(view, point_ids=np.arange(40), observed=pixels))
    found = inspect_capture(replace(capture, views=tuple(views), points=points))
    np.testing.assert_allclose(found.reprojection_px, [0, 0, 3, 0, 0, 0, 0, 0], atol=1e-9)
    assert codes(found) == {"reprojection": [("2.png",)]}


def test_two_threads_say_and_draw_the_same(capture, good):
    again = inspect_capture(capture, InspectOptions(threads=1))
    assert json.dumps(again.as_dict()) == json.dumps(good.as_dict())
    cameras = [view.camera for view in capture.views]
    first, second = draw_inspection(good, cameras), draw_inspection(again, cameras)
    assert first.tobytes() == second.tobytes()


def test_partners_are_near_and_match(good):
    for own, partners in enumerate(good.partners):
        assert partners
        for partner in partners:
            assert partner.view != own
            assert 10 <= partner.angle_deg <= 40
        counts = [partner.n_matches for partner in partners]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] >= 50


def test_tables_have_a_line_per_view(good):
    assert len(view_lines(good)) == 9
    assert len(lens_lines(good)) == 2
    assert any("from their epipolar lines" in line for line in capture_lines(good))
    assert len({len(line) for line in view_lines(good)}) == 1


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        InspectOptions(threads=0)
