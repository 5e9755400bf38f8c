"""Any lens and any pose that a format can hold come back from it, by projection."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calib.camera import MODEL_PARAMS, Camera
from calib.formats import FORMATS, read_capture
from tests.calib.captures import HEIGHT, WIDTH, assert_same_cameras, make_capture
from tests.calib.lenses import PARAMS

BROWN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
HOLDS = {
    "colmap": tuple(MODEL_PARAMS),
    "cameras": tuple(MODEL_PARAMS),
    "nerfstudio": (*BROWN, "OPENCV_FISHEYE"),
    "middlebury": BROWN[:2],
    "opencv": (*BROWN, "FULL_OPENCV", "OPENCV_FISHEYE"),
    "metashape": (*BROWN, "OPENCV_FISHEYE"),
    "bundler": BROWN[:4],
    "mvsnet": BROWN[:2],
}
UNIT = st.floats(-1, 1, allow_subnormal=False)


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """A folder with two pictures for each format."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FORMATS}
    return {name: make_capture(folder, n=2) for name, folder in folders.items()}


@st.composite
def cameras(draw, name):
    """Up to a quarter off a plausible lens, anywhere within ten units, turned in any way."""
    model = draw(st.sampled_from(HOLDS[name]))
    params = np.array([value * (1 + draw(UNIT) / 4) for value in PARAMS[model]])
    if name == "bundler":
        n = 2 if "fx" in MODEL_PARAMS[model] else 1
        params[:n], params[n : n + 2] = params[0], (WIDTH / 2, HEIGHT / 2)
    rotation = Rotation.from_rotvec([4 * draw(UNIT) for _ in range(3)]).as_matrix()
    pose = np.column_stack([rotation, [10 * draw(UNIT) for _ in range(3)]])
    return Camera(model, WIDTH, HEIGHT, params, pose)


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_written_is_read(captures, name):
    capture = captures[name]
    empty = np.zeros(0, np.int64)

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(cameras(name), cameras(name))
    def comes_back(first, second):
        views = tuple(
            replace(view, camera=camera, point_ids=empty, observed=None)
            for view, camera in zip(capture.views, (first, second), strict=True)
        )
        truth = replace(capture, views=views, points=np.zeros((0, 3)))
        FORMATS[name].write(capture.path, truth)
        found = read_capture(capture.path)
        assert (found.format, found.warnings) == (name, ())
        assert_same_cameras(found, truth)

    comes_back()
