"""The viewer's frame: scale, and which way is up."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvs.viewer.frame import axis_vector, choose_frame, wxyz
from mvs.viewer.subject import Shape, Subject, load_subject
from tests.ball import cloud_of, make_ball
from tests.viewer.results import write_capture_of_ball

KNOWN = frozenset({"normal", "rgb", "uvw", "confidence", "views"})


@pytest.mark.parametrize("scale", [1e-3, 1.0, 400.0])
def test_any_scene_is_one_unit_large_and_upright(scale):
    """The ball's cube coordinates are its places, turned back: up is where the turn takes y."""
    turn = Rotation.from_rotvec([0.4, -1.2, 0.7]).as_matrix()
    points = make_ball().mesh.vertices.points
    shift = np.array([5.0, -3.0, 2.0]) * scale
    cloud = replace(cloud_of(points), points=scale * points @ turn.T + shift)
    frame = choose_frame([Subject("a", {"mesh": Shape(cloud, make_ball().mesh.faces, KNOWN)})])
    scene = frame.to_scene(cloud.points)
    assert np.abs(np.linalg.norm(scene, axis=1) - 1).max() < 0.05
    np.testing.assert_allclose(frame.to_world(scene), cloud.points, atol=1e-9 * scale)
    np.testing.assert_allclose(frame.up, turn[:, 1], atol=1e-6)
    np.testing.assert_allclose(frame.front, turn[:, 2], atol=1e-6)


def test_cameras_say_which_way_is_up_where_no_coordinates_do(tmp_path):
    write_capture_of_ball(tmp_path, 8)
    subject = load_subject(tmp_path)
    frame = choose_frame([subject])
    ups = np.array([-view.camera.rotation[1] for view in subject.capture.views])
    assert (ups @ frame.up).min() > 0.5
    assert abs(frame.up @ frame.front) < 1e-9
    centers = frame.to_scene(np.array([view.camera.center for view in subject.capture.views]))
    assert 0.5 < np.linalg.norm(centers, axis=1).max() < 2


def test_axes_and_quaternions():
    assert axis_vector("-y").tolist() == [0, -1, 0]
    assert axis_vector("+z").tolist() == [0, 0, 1]
    np.testing.assert_allclose(wxyz(np.eye(3)), [1, 0, 0, 0])
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)
    np.testing.assert_allclose(wxyz(quarter), [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
