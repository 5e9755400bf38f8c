"""Points followed from one ball to another, with maps whose errors are known."""

import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.evaluation.identity import IdentityOptions, cross_identity
from mvs.evaluation.truth import Truth
from tests.evaluation.captures import RADIUS, SIZE, ball_mesh, setting, write_ball, write_mesh
from tests.evaluation.maps import ball_views

FIRST = setting(3)
MOTION = np.array([[0.0, 0, 1, 0.2], [0, 1, 0, -1], [-1, 0, 0, 3], [0, 0, 0, 1]])
SECOND = setting(4, motion=MOTION, scale=10.0)
FEW = IdentityOptions(n_points=1200)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The second stands elsewhere, in another unit, and is seen by other cameras."""
    return [
        (Truth(write_ball(tmp_path_factory.mktemp("ball"), scene)), scene)
        for scene in (FIRST, SECOND)
    ]


def follow(people, turns=(0.0, 0.0), options=FEW, **changes):
    subjects = [
        (truth, ball_views(truth.capture, scene, turn, **changes))
        for (truth, scene), turn in zip(people, turns, strict=True)
    ]
    return cross_identity(*subjects, options)


def test_exact_maps_have_no_error(people):
    face, rest = follow(people)
    assert (face.part, rest.part) == ("face", "head_neck")
    assert face.n > 1000
    assert face.found > 0.97
    assert face.epe_median < 0.1
    assert min(face.pck) > 0.95
    # Yaws -60, 0, 60 and -60, -20, 20, 60: pairs within 30 degrees of each other.
    assert face.n_pairs == 4


def test_the_angle_decides_which_pictures_are_compared(people):
    near = follow(people, options=IdentityOptions(n_points=300, max_angle_deg=10.0))
    far = follow(people, options=IdentityOptions(n_points=300, max_angle_deg=180.0))
    assert near[0].n_pairs == 2
    assert far[0].n_pairs == 12


def test_what_both_get_wrong_alike_does_not_count(people):
    assert follow(people, (0.06, 0.06))[0].epe_median < 0.3


def test_what_they_get_wrong_apart_is_found(people):
    turn = 0.06
    (face, *_) = follow(people, (0.0, turn))
    focal, distance = 1.9 * 512, 0.5
    expected = turn * RADIUS * focal / (distance - RADIUS)
    assert 0.4 * expected < face.epe_median < 1.1 * expected
    head = 2 * RADIUS * focal / distance
    assert face.pck[0] < 0.5
    assert FEW.pck[2] * head > expected
    assert face.pck[2] > 0.9


def test_the_resolution_of_the_maps_hardly_matters(people):
    assert follow(people, size=SIZE)[0].epe_median < 0.2


def test_points_without_a_counterpart_are_left_out(people, tmp_path):
    """Of the second person the right half only is known."""
    scene = people[1][1]
    capture = write_ball(tmp_path, scene)
    points, faces = ball_mesh()
    half = faces[(points[faces, 0] < 0).all(axis=1)]
    path = tmp_path / "gt" / "mesh.ply"
    coords = 0.5 + points * 1000 / 375.7
    columns = dict(zip("uvw", coords.T.astype(np.float32), strict=True))
    part = (points[:, 2] <= 0).astype(np.uint8)
    write_mesh(path, scene.place(points), half, **columns, part=part)
    cut = follow([people[0], (Truth(capture), scene)])
    whole = follow(people)
    assert 0.3 < cut[0].n / whole[0].n < 0.7
    assert cut[0].epe_median < 0.1


def test_empty_maps_give_no_figures(people):
    (truth, scene), second = people
    embedded = ball_views(truth.capture, scene)
    for cube_map in embedded.cube_maps:
        cube_map.mask[:] = False
    other = (second[0], ball_views(second[0].capture, second[1]))
    assert cross_identity((truth, embedded), other, FEW) == ()


def test_a_truth_without_coordinates_is_refused(people, tmp_path):
    scene = people[1][1]
    capture = write_ball(tmp_path, scene)
    points, faces = ball_mesh()
    write_mesh(tmp_path / "gt" / "mesh.ply", scene.place(points), faces)
    bare = (Truth(capture), ball_views(capture, scene))
    first = (people[0][0], ball_views(people[0][0].capture, people[0][1]))
    with pytest.raises(CaptureError, match="no cube coordinates"):
        cross_identity(first, bare, FEW)


def test_wrong_options_are_refused():
    for changes in ({"parts": ("toe",)}, {"n_points": 0}, {"max_angle_deg": 0}, {"max_gap": 0}):
        with pytest.raises(ValueError):
            IdentityOptions(**changes)
