"""Metashape's cameras.xml against the formulas of its manual, and its frames."""

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.calibration import DamagedError
from calib.camera import Camera
from calib.capture import CameraFileError
from calib.formats import read_capture
from calib.metashape_lens import NAMES, lens_from_metashape, metashape_from_lens
from tests.calib.captures import HEIGHT, OPENCV, WIDTH, make_capture, pose_of

SIZE = (4000, 3000)
BROWN = {"f": 3200.0, "cx": 12.0, "cy": -7.0, "b1": 4.5, "k1": -0.05, "k2": 0.03, "k3": -0.01}
TANGENTIAL = {"p1": 0.002, "p2": -0.001}


def manual(points, said, is_fisheye=False):
    """Pixels of points of the camera's frame, by the manual's formulas."""
    v = dict.fromkeys(NAMES, 0.0) | said
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    if is_fisheye:
        r = np.hypot(x, y)
        x, y = x * np.arctan(r) / r, y * np.arctan(r) / r
    r2 = x**2 + y**2
    radial = 1 + v["k1"] * r2 + v["k2"] * r2**2 + v["k3"] * r2**3 + v["k4"] * r2**4
    xd = x * radial + v["p1"] * (r2 + 2 * x**2) + 2 * v["p2"] * x * y
    yd = y * radial + v["p2"] * (r2 + 2 * y**2) + 2 * v["p1"] * x * y
    u = SIZE[0] / 2 + v["cx"] + xd * (v["f"] + v["b1"]) + yd * v["b2"]
    return np.column_stack([u, SIZE[1] / 2 + v["cy"] + yd * v["f"]])


def in_picture(said, is_fisheye=False):
    """Points of the camera's frame that the manual's formulas put into the picture."""
    rng = np.random.default_rng(4)
    points = np.column_stack([rng.uniform(-0.9, 0.9, (4000, 2)), np.ones(4000)])
    pixels = manual(points, said, is_fisheye)
    inside = ((pixels > 0) & (pixels < SIZE)).all(axis=1)
    assert inside.sum() > 500
    return points[inside], pixels[inside]


def camera_of(lens):
    return Camera(lens.model, *SIZE, lens.params, np.eye(3, 4))


@pytest.mark.parametrize(
    ("kind", "said", "model"),
    [
        ("frame", {"f": 3200.0}, "PINHOLE"),
        ("frame", {"f": 3200.0, "k1": -0.1} | TANGENTIAL, "OPENCV"),
        ("frame", BROWN | TANGENTIAL, "FULL_OPENCV"),
        ("fisheye", BROWN | {"k4": 0.004}, "OPENCV_FISHEYE"),
        ("equidistant_fisheye", BROWN | TANGENTIAL | {"k4": 0.004}, "THIN_PRISM_FISHEYE"),
    ],
)
def test_lenses_are_those_of_the_manual(kind, said, model):
    points, pixels = in_picture(said, kind != "frame")
    lens = lens_from_metashape(kind, said, SIZE, "x")
    assert (lens.model, lens.fit_px) == (model, 0)
    np.testing.assert_allclose(camera_of(lens).project(points)[0], pixels, atol=1e-8)


@pytest.mark.parametrize(
    ("said", "worst_px"),
    [
        (BROWN | TANGENTIAL | {"k4": 0.003}, 0.001),
        (BROWN | TANGENTIAL | {"k4": -0.05}, 0.001),
        ({"f": 3200.0, "k1": -0.35, "k2": 0.25, "k3": -0.15, "k4": 0.05} | TANGENTIAL, 0.08),
        ({"f": 2000.0, "k1": -0.2, "k2": 0.1, "k3": -0.06, "k4": 0.03}, 0.16),
    ],
)
def test_k4_is_fitted_as_well_as_it_says(said, worst_px):
    points, pixels = in_picture(said)
    lens = lens_from_metashape("frame", said, SIZE, "x")
    off = np.linalg.norm(camera_of(lens).project(points)[0] - pixels, axis=1).max()
    assert off <= lens.fit_px + 1e-6
    assert lens.fit_px < worst_px
    assert lens.is_worth_a_warning == (worst_px > 0.05)


def test_k4_that_cannot_be_fitted_is_refused():
    wide = {"f": 900.0, "k1": -0.9, "k2": 2.9, "k3": -3.6, "k4": 1.45}
    with pytest.raises(DamagedError, match=r"has k4.* px off; align without k4"):
        lens_from_metashape("frame", wide, SIZE, "x")


def test_skew_below_a_tenth_of_a_pixel_is_nothing():
    said = BROWN | {"b2": 0.15}
    points, pixels = in_picture(said)
    lens = lens_from_metashape("frame", said, SIZE, "x")
    off = np.abs(camera_of(lens).project(points)[0] - pixels).max()
    assert 0.01 < off < 0.1
    with pytest.raises(DamagedError, match=r"b2, a skew of 0\.47 px at the edge"):
        lens_from_metashape("frame", BROWN | {"b2": -1.0}, SIZE, "x")


@pytest.mark.parametrize(
    ("kind", "said", "reason"),
    [
        ("spherical", BROWN, "type spherical, which is not supported"),
        ("equisolid_fisheye", BROWN, "not supported"),
        ("frame", BROWN | {"f": 0.0}, "focal length 0"),
        ("frame", {"k1": 0.1}, "focal length 0"),
        ("frame", BROWN | {"p3": 0.1}, "p3 or p4"),
    ],
)
def test_lenses_that_are_refused(kind, said, reason):
    with pytest.raises(DamagedError, match=reason):
        lens_from_metashape(kind, said, SIZE, "x")


def test_what_is_written_is_by_the_manual():
    camera = Camera("OPENCV", *SIZE, np.array([3204.5, 3200, 2012, 1493, *OPENCV[1][4:]]), POSE)
    kind, said = metashape_from_lens(camera, "x")
    assert kind == "frame"
    points, pixels = in_picture(said)
    np.testing.assert_allclose(camera.with_pose(POSE).project(points)[0], pixels, atol=1e-8)


POSE = np.eye(3, 4)
SIMILARITY = (Rotation.from_rotvec([0.3, -0.2, 1.1]).as_matrix(), np.array([5.0, -3, 2]), 2.5)
WGS84 = 'GEOGCS["WGS 84",DATUM["World Geodetic System 1984"]]'
LOCAL = 'LOCAL_CS["Local Coordinates (m)",LOCAL_DATUM["Local Datum",0],UNIT["metre",1]]'


def text(values):
    return " ".join(repr(float(value)) for value in np.ravel(values))


def similarity(R, t, s):
    body = f"<rotation>{text(R)}</rotation><translation>{text(t)}</translation><scale>{s}</scale>"
    return f"<transform>{body}</transform>"


def camera_xml(index, label, extra='sensor_id="0"', pose=True):
    world_from_cam = np.linalg.inv(np.vstack([pose_of(index), [0, 0, 0, 1]]))
    transform = f"<transform>{text(world_from_cam)}</transform>" if pose else ""
    return f'<camera id="{index}" label="{label}" {extra}>{transform}</camera>'


def document(cameras, frame="", reference=None):
    calibration = "<f>110</f><cx>1.5</cx><k1>-0.05</k1>"
    size = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>'
    sensor = f'<sensor id="0" label="x" type="frame">{size}'
    sensor += '<calibration type="frame" class="initial"><f>90</f></calibration>'
    sensor += f'<calibration type="frame" class="adjusted">{calibration}</calibration></sensor>'
    system = "" if reference is None else f"<reference>{reference}</reference>"
    body = f"<sensors>{sensor}</sensors>{frame}<cameras>{''.join(cameras)}</cameras>{system}"
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<document version="1.5.0"><chunk label="Chunk 1">{body}</chunk></document>'


def read(folder, content):
    make_capture(folder)
    (folder / "cameras.xml").write_text(content)
    return read_capture(folder)


def test_a_fit_that_shows_is_mentioned(tmp_path):
    wide = "<k1>-0.2</k1><k2>0.1</k2><k3>-0.06</k3><k4>0.03</k4>"
    found = read(tmp_path, document(four()).replace("<k1>-0.05</k1>", wide))
    assert found.warnings == ()
    text = document(four()).replace("<k1>-0.05</k1>", wide).replace("<f>110</f>", "<f>2000</f>")
    text = text.replace('width="120" height="90"', 'width="4000" height="3000"')
    warning = r"sensor '0' has k4, which is fitted; off by 0\.1\d px at worst"
    assert re.fullmatch(warning, read(tmp_path, text).warnings[0])


def four():
    return [camera_xml(index, f"0{index}") for index in range(4)]


def test_the_adjusted_calibration_counts(tmp_path):
    found = read(tmp_path, document(four()))
    assert (found.warnings, found.unit) == ((), None)
    for index, view in enumerate(found.views):
        np.testing.assert_allclose(view.camera.cam_from_world, pose_of(index), atol=1e-12)
        expected = [110, 110, WIDTH / 2 + 1.5, HEIGHT / 2, -0.05, 0, 0, 0]
        np.testing.assert_allclose(view.camera.params, expected)


@pytest.mark.parametrize("reference", [None, LOCAL])
@pytest.mark.parametrize("in_component", [False, True])
def test_a_local_frame_is_applied(tmp_path, reference, in_component):
    frame = similarity(*SIMILARITY)
    cameras = four()
    if in_component:
        frame = f'<components><component id="0" label="c">{frame}</component></components>'
        cameras = [camera_xml(i, f"0{i}", 'sensor_id="0" component_id="0"') for i in range(4)]
    found = read(tmp_path, document(cameras, frame, reference))
    assert (found.warnings, found.unit) == ((), None)
    R, t, s = SIMILARITY
    for index, view in enumerate(found.views):
        point = np.array([0.1, -0.2, 0.3])
        local = pose_of(index) @ [*point, 1]
        moved = view.camera.cam_from_world @ [*(s * R @ point + t), 1]
        np.testing.assert_allclose(moved, s * local, atol=1e-12)


def test_of_a_geographic_frame_the_scale_is_applied(tmp_path):
    R, _, s = SIMILARITY
    frame = similarity(R, [-2499366.4, -4256836.5, 4029217.9], s)
    found = read(tmp_path, document(four(), frame, WGS84))
    assert found.unit == "m"
    assert len(found.warnings) == 1
    assert "geographic ('WGS 84'): only the scale is applied" in found.warnings[0]
    for index, view in enumerate(found.views):
        expected = pose_of(index) * [1, 1, 1, s]
        np.testing.assert_allclose(view.camera.cam_from_world, expected, atol=1e-12)


@pytest.mark.parametrize("reference", [LOCAL, WGS84])
def test_components_come_into_one_frame(tmp_path, reference):
    """Half of the cameras are given in a frame of their own, which its transform makes good."""
    R, t, s = SIMILARITY
    moved = [camera_xml(i, f"0{i}", 'sensor_id="0" component_id="0"') for i in (0, 1, 2)]
    world_from_cam = np.linalg.inv(np.vstack([pose_of(3), [0, 0, 0, 1]]))
    world_from_cam[:3, :3] = R @ world_from_cam[:3, :3]
    world_from_cam[:3, 3] = s * R @ world_from_cam[:3, 3] + t
    other = f"<transform>{text(world_from_cam)}</transform>"
    moved.append(f'<camera id="3" label="03" sensor_id="0" component_id="1">{other}</camera>')
    one = f'<component id="0">{similarity(R, t, s)}</component>'
    two = f'<component id="1">{similarity(np.eye(3), np.zeros(3), 1)}</component>'
    found = read(tmp_path, document(moved, f"<components>{one}{two}</components>", reference))
    centers = np.array([view.camera.center for view in found.views])
    poses = [pose_of(index) for index in range(4)]
    expected = np.array([-pose[:, :3].T @ pose[:, 3] for pose in poses]) * s
    if reference == LOCAL:
        expected = expected @ R.T + t
    np.testing.assert_allclose(centers, expected, atol=1e-9)
    bare = document(moved, f"<components>{one}</components>", reference)
    left = read(tmp_path, bare)
    assert len(left.views) == 3
    assert "1 cameras left out, of components without a common transform" in left.warnings[0]


def test_cameras_that_are_left_out_are_named(tmp_path):
    cameras = [*four()[:2], camera_xml(2, "02", 'sensor_id="0" enabled="false"')]
    cameras.append(f'<group label="g">{camera_xml(3, "03", pose=False)}</group>')
    found = read(tmp_path, document(cameras))
    assert [view.name for view in found.views] == ["00.png", "01.png"]
    assert found.warnings == (
        "1 cameras left out, disabled: 02",
        "1 cameras left out, not aligned: 03",
    )


def test_groups_and_paths_of_another_machine(tmp_path):
    cameras = [f'<group label="g">{camera_xml(0, "/home/x/00.png")}</group>']
    cameras += [camera_xml(1, "C:\\x\\01.png"), camera_xml(2, "02.png")]
    names = [view.name for view in read(tmp_path, document(cameras)).views]
    assert names == ["00.png", "01.png", "02.png"]


def test_the_first_aligned_chunk_is_taken(tmp_path):
    content = document(four())
    empty = '<chunk label="empty"><cameras><camera id="0" label="x"/></cameras></chunk>'
    content = content.replace("<chunk ", f"{empty}<chunk ")
    found = read(tmp_path, content)
    assert len(found.views) == 4
    assert "2 chunks, the first aligned one is taken: 'Chunk 1'" in found.warnings[0]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<document ", '<!DOCTYPE d [<!ENTITY a "b">]><document ', "DOCTYPE or an ENTITY"),
        ("</document>", "", "no XML: no element found"),
        ("<transform>", "<other>", "no XML: mismatched tag"),
        ('sensor_id="0"', 'sensor_id="5"', "refers to sensor '5'"),
        ("<f>110</f>", "<f>nan</f>", "not finite"),
        ("<f>110</f>", "<f>x</f>", "not a list of numbers"),
        ('width="120"', 'width="0"', "pictures of 0 x 90"),
        ('label="01"', 'label="00"', "two images have the name '00'"),
        ('label="01"', 'label="../01"', "leaves the images folder"),
        ("cameras>", "kameras>", "1 chunks, none with an aligned camera"),
    ],
)
def test_what_a_cameras_xml_can_have_wrong(tmp_path, old, new, reason):
    with pytest.raises(CameraFileError, match=reason):
        read(tmp_path, document(four()).replace(old, new))
