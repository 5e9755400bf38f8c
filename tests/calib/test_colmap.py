import contextlib
import shutil
import struct

import cv2
import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.capture import CaptureError
from calib.colmap import write_model
from calib.formats import read_capture
from tests.calib.lenses import HEIGHT, PARAMS, WIDTH

NAMES = ["a.png", "left/b c.png", "left/déjà vu.png", "z.jpg"]


def pose_of(index):
    R = Rotation.from_rotvec([0.1 * index, 0.3 - 0.2 * index, 0.05]).as_matrix()
    return np.column_stack([R, [0.1 * index, -0.05, 2.0 + 0.1 * index]])


def write_pictures(folder, names=NAMES, size=(WIDTH, HEIGHT), value=None):
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((size[1], size[0], 3), index if value is None else value, np.uint8)
        picture[: size[1] // 2] += 100
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


@pytest.fixture
def capture(tmp_path):
    """Four views with four lens models and 30 points, each seen by two views and more."""
    models = ["PINHOLE", "OPENCV", "SIMPLE_RADIAL", "THIN_PRISM_FISHEYE"]
    cameras = [
        Camera(model, WIDTH, HEIGHT, np.array(PARAMS[model], float), pose_of(index))
        for index, model in enumerate(models)
    ]
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.3, 0.3, (30, 3))
    seen = [np.arange(30), np.arange(0, 30, 2), np.arange(15, 30), np.arange(0, 30)]
    write_model(tmp_path / "sparse" / "0", NAMES, cameras, points, seen)
    write_pictures(tmp_path / "images")
    return tmp_path, cameras, points, seen


def as_text(root):
    model = pycolmap.Reconstruction(root / "sparse" / "0")
    shutil.rmtree(root / "sparse" / "0")
    (root / "sparse" / "0").mkdir()
    model.write_text(root / "sparse" / "0")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_reads_what_was_written(capture, text, place):
    root, cameras, points, seen = capture
    if text:
        as_text(root)
    if place != "sparse/0":
        (root / "moved").mkdir()
        for path in (root / "sparse" / "0").iterdir():
            path.rename(root / "moved" / path.name)
        shutil.rmtree(root / "sparse")
        (root / place).mkdir(parents=True, exist_ok=True)
        for path in (root / "moved").iterdir():
            path.rename(root / place / path.name)
    found = read_capture(root)
    assert found.warnings == ()
    assert [view.name for view in found.views] == sorted(NAMES)
    # COLMAP numbers points as it likes; positions tell which is which.
    np.testing.assert_allclose(sorted(found.points.tolist()), sorted(points.tolist()), atol=1e-9)
    for view in found.views:
        index = NAMES.index(view.name)
        camera = cameras[index]
        assert (view.camera.model, view.camera.width) == (camera.model, WIDTH)
        np.testing.assert_allclose(view.camera.params, camera.params, atol=1e-12)
        np.testing.assert_allclose(view.camera.cam_from_world, camera.cam_from_world, atol=1e-12)
        np.testing.assert_allclose(
            sorted(found.points[view.point_ids].tolist()),
            sorted(points[seen[index]].tolist()),
            atol=1e-9,
        )
        assert view.load_image()[-1, 0, 0] == pytest.approx(index, abs=1)


def test_colmap_reads_what_we_write(capture):
    root, cameras, points, seen = capture
    model = pycolmap.Reconstruction(root / "sparse" / "0")
    assert model.num_points3D() == len(points)
    for image in model.images.values():
        camera = cameras[NAMES.index(image.name)]
        matrix = image.cam_from_world().matrix()
        np.testing.assert_allclose(matrix, camera.cam_from_world, atol=1e-12)
        assert image.num_points3D == len(seen[NAMES.index(image.name)])
    assert model.compute_mean_reprojection_error() < 1e-6


@pytest.mark.parametrize("text", [False, True])
def test_every_lens_model_is_read(tmp_path, text):
    names = [f"{model}.png" for model in PARAMS]
    cameras = [
        Camera(model, WIDTH, HEIGHT, np.array(params, float), pose_of(0))
        for model, params in PARAMS.items()
    ]
    write_model(tmp_path / "sparse" / "0", names, cameras)
    write_pictures(tmp_path / "images", names, value=0)
    if text:
        as_text(tmp_path)
    found = {view.name: view.camera for view in read_capture(tmp_path).views}
    for name, camera in zip(names, cameras, strict=True):
        assert found[name].model == camera.model
        np.testing.assert_allclose(found[name].params, camera.params, atol=1e-12)


@pytest.mark.parametrize("text", [False, True])
def test_poses_of_a_rig_of_two_cameras(tmp_path, text):
    """The second camera's pose is the rig's in the frame, behind the camera's in the rig."""
    model = pycolmap.Reconstruction()
    for key in (1, 2):
        model.add_camera(
            pycolmap.Camera(
                model="PINHOLE",
                width=WIDTH,
                height=HEIGHT,
                params=[110, 104, 61, 44],
                camera_id=key,
            )
        )
    second_from_rig = pycolmap.Rigid3d(pose_of(3))
    rig = pycolmap.Rig(rig_id=5)
    rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 1))
    rig.add_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 2), second_from_rig)
    model.add_rig(rig)
    names = {}
    for frame_id in (1, 2):
        frame = pycolmap.Frame(frame_id=frame_id, rig_id=5)
        frame.rig_from_world = pycolmap.Rigid3d(pose_of(frame_id))
        images = []
        for camera_id in (1, 2):
            image_id = 10 * frame_id + camera_id
            names[image_id] = f"{camera_id}/{frame_id}.png"
            image = pycolmap.Image(name=names[image_id], camera_id=camera_id, image_id=image_id)
            image.frame_id = frame_id
            frame.add_data_id(image.data_id)
            images.append(image)
        model.add_frame(frame)
        for image in images:
            model.add_image(image)
        model.register_frame(frame_id)
    folder = tmp_path / "sparse" / "0"
    folder.mkdir(parents=True)
    (model.write_text if text else model.write_binary)(folder)
    write_pictures(tmp_path / "images", list(names.values()), value=0)
    views = {view.name: view.camera for view in read_capture(tmp_path).views}
    assert len(views) == 4
    oracle = pycolmap.Reconstruction(folder)
    for image in oracle.images.values():
        np.testing.assert_allclose(
            views[image.name].cam_from_world, image.cam_from_world().matrix(), atol=1e-12
        )
    for frame_id in (1, 2):
        R, t = pose_of(frame_id)[:, :3], pose_of(frame_id)[:, 3]
        S, s = pose_of(3)[:, :3], pose_of(3)[:, 3]
        expected = np.column_stack([S @ R, S @ t + s])
        np.testing.assert_allclose(views[f"2/{frame_id}.png"].cam_from_world, expected, atol=1e-12)


def test_a_model_without_points(capture):
    root = capture[0]
    (root / "sparse" / "0" / "points3D.bin").unlink()
    found = read_capture(root)
    assert len(found.views) == 4
    assert found.points.shape == (0, 3)
    assert all(len(view.point_ids) == 0 for view in found.views)


def test_a_model_from_before_rigs(capture):
    root, cameras, *_ = capture
    for name in ("rigs.bin", "frames.bin"):
        (root / "sparse" / "0" / name).unlink()
    for view in read_capture(root).views:
        expected = cameras[NAMES.index(view.name)].cam_from_world
        np.testing.assert_allclose(view.camera.cam_from_world, expected, atol=1e-12)


@pytest.mark.parametrize("stem", ["cameras", "images", "points3D", "rigs", "frames"])
def test_a_file_cut_off_anywhere_is_named(capture, stem):
    root = capture[0]
    path = root / "sparse" / "0" / f"{stem}.bin"
    whole = path.read_bytes()
    for length in sorted({0, 1, 7, *range(8, len(whole), max(1, len(whole) // 60))}):
        path.write_bytes(whole[:length])
        with pytest.raises(CaptureError, match=rf"{stem}\.bin"):
            read_capture(root)


@pytest.mark.parametrize("text", [False, True])
def test_damage_never_escapes_as_another_error(capture, text):
    """Any bytes may be wrong: the capture is read, or refused with one line."""
    root = capture[0]
    if text:
        as_text(root)
    rng = np.random.default_rng(2)
    for path in sorted((root / "sparse" / "0").iterdir()):
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(len(damaged))] = rng.integers(256)
            path.write_bytes(damaged)
            with contextlib.suppress(CaptureError):
                read_capture(root)
        path.write_bytes(whole)


def test_a_huge_count_is_refused_without_allocating(capture):
    root = capture[0]
    path = root / "sparse" / "0" / "images.bin"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    with pytest.raises(CaptureError, match="cut off"):
        read_capture(root)


@pytest.mark.parametrize("name", ["../out.png", "/etc/x.png", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    cameras = [Camera("SIMPLE_PINHOLE", 8, 8, [9, 4, 4], pose_of(index)) for index in range(2)]
    write_model(tmp_path / "sparse" / "0", ["a.png", "long_name.png"], cameras)
    path = tmp_path / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes().replace(b"long_name.png\0", name.encode() + b"\0"))
    write_pictures(tmp_path / "images", ["a.png"], (8, 8))
    with pytest.raises(CaptureError, match=r"images\.bin"):
        read_capture(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path):
    cameras = [Camera("SIMPLE_PINHOLE", 8, 8, [9, 4, 4], pose_of(index)) for index in range(2)]
    write_model(tmp_path / "sparse" / "0", ["a.png", "b.png"], cameras)
    path = tmp_path / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes().replace(b"b.png\0", b"a.png\0"))
    write_pictures(tmp_path / "images", ["a.png"], (8, 8))
    with pytest.raises(CaptureError, match=r"two images have the name 'a\.png'"):
        read_capture(tmp_path)


def test_missing_pictures_are_named(capture):
    root = capture[0]
    (root / "images" / "left" / "b c.png").unlink()
    found = read_capture(root)
    assert [view.name for view in found.views] == sorted(set(NAMES) - {"left/b c.png"})
    assert "left/b c.png" in found.warnings[0]
    for name in ("a.png", "z.jpg"):
        (root / "images" / name).unlink()
    with pytest.raises(CaptureError, match=r"3 of 4 pictures are missing: a\.png"):
        read_capture(root)


def test_a_single_view_is_refused(tmp_path):
    camera = Camera("SIMPLE_PINHOLE", 8, 8, [9, 4, 4], pose_of(0))
    write_model(tmp_path / "sparse" / "0", ["a.png"], [camera])
    write_pictures(tmp_path / "images", ["a.png"], (8, 8))
    with pytest.raises(CaptureError, match=r"1 registered view"):
        read_capture(tmp_path)


def test_folders_without_a_capture(tmp_path):
    with pytest.raises(CaptureError, match="no such folder"):
        read_capture(tmp_path / "absent")
    with pytest.raises(CaptureError, match="holds no camera file"):
        read_capture(tmp_path)


def test_a_picture_of_another_size_is_refused(capture):
    root = capture[0]
    write_pictures(root / "images", ["a.png"], (HEIGHT, WIDTH))
    with pytest.raises(CaptureError, match=r"a\.png: is 90 x 120, the model's camera 120 x 90"):
        read_capture(root).views[0].load_image()


@pytest.mark.parametrize("length", [0, 50])
def test_a_damaged_picture_is_refused(capture, length):
    root = capture[0]
    path = root / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CaptureError, match="not a readable picture"):
        read_capture(root).views[0].load_image()


def test_exif_orientation_is_ignored(capture):
    """Calibration saw the pixels as stored; a viewer's rotation must not change them."""
    root = capture[0]
    path = root / "images" / "z.jpg"
    plain = read_capture(root).views[3].load_image()
    stored = path.read_bytes()
    entry = struct.pack(">HHI", 0x0112, 3, 1) + struct.pack(">HH", 6, 0)  # rotate by 90 degrees
    tiff = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 1) + entry + bytes(4)
    block = b"Exif\0\0" + tiff
    path.write_bytes(
        stored[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + stored[2:]
    )
    rotated = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert rotated.shape[:2] == (WIDTH, HEIGHT)  # the tag is one that readers obey
    np.testing.assert_array_equal(read_capture(root).views[3].load_image(), plain)


def test_sixteen_bits_and_gray_become_rgb_bytes(capture):
    root = capture[0]
    ramp = np.linspace(0, 65535, WIDTH).astype(np.uint16)
    gray = np.tile(ramp, (HEIGHT, 1))
    (root / "images" / "a.png").write_bytes(cv2.imencode(".png", gray)[1].tobytes())
    image = read_capture(root).views[0].load_image()
    assert (image.dtype, image.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(image[0, :, 2], ramp / 257, atol=1)


def test_masks_by_name_in_the_distorted_picture(capture):
    root = capture[0]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:70, 30:80] = 1  # anything but 0 counts
    for name in ("a.png", "left/b c.png"):
        path = root / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    found = read_capture(root)
    assert len(found.warnings) == 1
    assert "z.jpg" in found.warnings[0]
    pinhole, distorted = found.views[0], found.views[1]
    np.testing.assert_array_equal(pinhole.load_mask(), mask > 0)
    np.testing.assert_array_equal(pinhole.load_pinhole().mask, mask > 0)
    assert found.views[3].load_mask() is None
    # Through the lens the mask's corner lies where the corner's ray is seen without the lens.
    camera = distorted.camera
    corners = camera.unproject(np.array([[30.0, 20.0], [80.0, 70.0]])) + camera.center
    (x0, y0), (x1, y1) = camera.as_pinhole().project(corners)[0]
    rows, columns = np.nonzero(distorted.load_pinhole().mask)
    assert abs(columns.min() - x0) < 3
    assert abs(rows.min() - y0) < 3
    assert abs(columns.max() + 1 - x1) < 3
    assert abs(rows.max() + 1 - y1) < 3


def test_other_folders_for_pictures_and_masks(capture, tmp_path):
    root = capture[0]
    (root / "images").rename(root / "photos")
    with pytest.raises(CaptureError, match="--images"):
        read_capture(root)
    with pytest.raises(CaptureError, match="--masks"):
        read_capture(root, root / "photos", root / "absent")
    assert len(read_capture(root, images=root / "photos").views) == 4
