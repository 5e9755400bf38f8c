"""``mvs calib adjust`` on observed tracks, which need no network."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.adjust import turn_deg
from calib.formats import FORMATS, read_capture
from mvs.cli import main
from tests.calib.captures import OPENCV, make_capture


@pytest.fixture
def truth(tmp_path):
    """Exact observations of many points by cameras 4 to 20 degrees apart."""
    made = make_capture(tmp_path / "in", OPENCV, n=5)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (200, 3))
    rows = np.arange(200)
    views = tuple(
        replace(view, point_ids=rows, observed=view.camera.project(points)[0])
        for view in made.views
    )
    return replace(made, points=points, views=views)


def adjust(tmp_path, *arguments):
    where = [str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    return main.run(["calib", "adjust", *where, "--tracks", "observed", *arguments])


def test_a_camera_that_is_off_is_brought_back(capfd, tmp_path, truth):
    off = Rotation.from_rotvec([0.004, -0.008, 0.003]).as_matrix() @ truth.views[2].camera.rotation
    pose = np.column_stack([off, truth.views[2].camera.translation])
    views = list(truth.views)
    views[2] = replace(views[2], camera=views[2].camera.with_pose(pose))
    FORMATS["colmap"].write(tmp_path / "in", replace(truth, views=tuple(views)))
    assert adjust(tmp_path) == 0
    out, _ = capfd.readouterr()
    assert "40 tracks held out of 200: median " in out
    found = read_capture(tmp_path / "out")
    for view, expected in zip(found.views, truth.views, strict=True):
        assert turn_deg(view.camera, expected.camera) < 1e-3
        assert np.linalg.norm(view.camera.center - expected.camera.center) < 1e-4


def test_good_poses_are_refused_and_nothing_is_written(capfd, tmp_path, truth):
    FORMATS["colmap"].write(tmp_path / "in", truth)
    assert adjust(tmp_path, "--quiet") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("mvs: adjusting does not help: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_capture_without_observations_is_refused(capfd, tmp_path, truth):
    FORMATS["cameras"].write(tmp_path / "in", truth)
    assert adjust(tmp_path) == 2
    assert "no two views share" in capfd.readouterr().err
    assert adjust(tmp_path, "--adjust.rounds", "0") == 2
    assert "rounds" in capfd.readouterr().err
