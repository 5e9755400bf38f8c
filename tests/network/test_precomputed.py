import gc
import hashlib
import io
import stat
import warnings
import zipfile

import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.network.crop import empty_cube_map
from mvs.network.head_finder import FinderOptions
from mvs.network.precomputed import PrecomputedEmbedder, read_cube_map, write_cube_map
from mvs.types import CubeMap, Square

HEIGHT, WIDTH = 9, 12
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def fields(dtype=np.float32):
    """Coordinates, confidence and mask of a small picture."""
    rng = np.random.default_rng(4)
    coords = rng.uniform(0, 1, (HEIGHT, WIDTH, 3)).astype(dtype)
    confidence = rng.uniform(0, 1, (HEIGHT, WIDTH)).astype(dtype)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:8, 3:7] = True
    return {"coords": coords, "confidence": confidence, "mask": mask}


def error_of(path, height=HEIGHT, width=WIDTH):
    """The refusal of a file, which must be one line that names it."""
    with pytest.raises(CaptureError) as caught:
        read_cube_map(path, height, width)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_coordinates_alone_are_enough(tmp_path):
    coords = fields()["coords"]
    found = read_cube_map(saved(tmp_path / "a.npz", coords=coords), HEIGHT, WIDTH)
    np.testing.assert_array_equal(found.coords, coords)
    assert (found.confidence == 1).all()
    assert found.mask.all()
    assert (found.coords.dtype, found.confidence.dtype) == (np.float32, np.float32)
    assert found.mask.dtype == np.bool_
    np.testing.assert_array_equal(found.image_from_map, np.eye(2, 3))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_confidence_and_mask_are_read(tmp_path, save):
    arrays = fields()
    save(tmp_path / "a.npz", **arrays, extra=np.array(["not", "ours"]))
    found = read_cube_map(tmp_path / "a.npz", HEIGHT, WIDTH)
    np.testing.assert_array_equal(found.coords, arrays["coords"])
    np.testing.assert_array_equal(found.confidence, arrays["confidence"])
    np.testing.assert_array_equal(found.mask, arrays["mask"])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float16, 5e-4), (np.float64, 1e-7), (">f4", 0), (np.uint8, 0)]
)
def test_other_number_types_become_float32(tmp_path, dtype, tolerance):
    arrays = fields(np.float32)
    arrays["mask"] = arrays["mask"].astype(np.uint8) * 255
    if dtype == np.uint8:
        arrays["coords"], arrays["confidence"] = arrays["coords"] > 0.5, arrays["confidence"] > 0.5
    typed = {name: array.astype(dtype) for name, array in arrays.items() if name != "mask"}
    path = saved(tmp_path / "a.npz", **typed, mask=arrays["mask"])
    found = read_cube_map(path, HEIGHT, WIDTH)
    assert (found.coords.dtype, found.confidence.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.coords, arrays["coords"], atol=tolerance)
    np.testing.assert_allclose(found.confidence, arrays["confidence"], atol=tolerance)
    np.testing.assert_array_equal(found.mask, arrays["mask"] > 0)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_not_finite_means_not_known(tmp_path, hole):
    arrays = fields()
    arrays["mask"][:] = True
    arrays["coords"][3, 4, 1] = hole
    arrays["confidence"][5, 6] = hole
    found = read_cube_map(saved(tmp_path / "a.npz", **arrays), HEIGHT, WIDTH)
    holes = np.zeros((HEIGHT, WIDTH), bool)
    holes[3, 4] = holes[5, 6] = True
    np.testing.assert_array_equal(found.mask, ~holes)
    np.testing.assert_array_equal(found.coords[~holes], arrays["coords"][~holes])
    np.testing.assert_array_equal(found.confidence[~holes], arrays["confidence"][~holes])
    assert np.isfinite(found.coords).all()
    assert (found.confidence[holes] == 0).all()


def test_not_a_number_in_the_mask_is_no_head(tmp_path):
    mask = np.ones((HEIGHT, WIDTH))
    mask[2, 3] = np.nan
    # As soft masks have it: all that is above zero is head.
    mask[2, 4] = 0.1
    path = saved(tmp_path / "a.npz", coords=fields()["coords"], mask=mask)
    found = read_cube_map(path, HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.argwhere(~found.mask), [[2, 3]])


def test_numbers_too_large_for_float32_are_not_known(tmp_path):
    coords = fields(np.float64)["coords"]
    coords[0, 0, 0] = 1e300
    found = read_cube_map(saved(tmp_path / "a.npz", coords=coords), HEIGHT, WIDTH)
    assert not found.mask[0, 0]
    assert found.mask.sum() == HEIGHT * WIDTH - 1


def test_map_without_a_head(tmp_path):
    coords = np.full((HEIGHT, WIDTH, 3), np.nan, np.float32)
    found = read_cube_map(saved(tmp_path / "a.npz", coords=coords), HEIGHT, WIDTH)
    assert not found.mask.any()
    assert not found.coords.any()
    saved(tmp_path / "a.png.npz", coords=coords)
    assert PrecomputedEmbedder(tmp_path).find_head(IMAGE, "a.png") is None


@pytest.mark.parametrize(("key", "axis"), [("coords", (1, 2, 0)), ("confidence", (4, 5))])
def test_rounding_beyond_the_range_is_cut_and_more_is_refused(tmp_path, key, axis):
    for value, cut in ((-0.0009, 0), (1.0009, 1)):
        arrays = fields()
        arrays[key][axis] = value
        found = read_cube_map(saved(tmp_path / "a.npz", **arrays), HEIGHT, WIDTH)
        assert getattr(found, key)[axis] == cut
    for value in (-0.01, 1.01, 255):
        arrays = fields()
        arrays[key][axis] = value
        message = error_of(saved(tmp_path / "a.npz", **arrays))
        assert f"`{key}` spans" in message
        assert "expected 0 to 1" in message


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("coords", (HEIGHT, WIDTH)),
        ("coords", (HEIGHT, WIDTH, 4)),
        ("coords", (WIDTH, HEIGHT, 3)),
        ("coords", (1, HEIGHT, WIDTH, 3)),
        ("coords", ()),
        ("confidence", (HEIGHT, WIDTH, 1)),
        ("confidence", (HEIGHT, 1)),
        ("mask", (HEIGHT - 1, WIDTH)),
        ("mask", (0,)),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, key, shape):
    arrays = fields()
    arrays[key] = np.zeros(shape, np.float32)
    message = error_of(saved(tmp_path / "a.npz", **arrays))
    assert f"`{key}` is {shape}, the picture needs" in message


def test_map_of_a_picture_of_another_size_is_refused(tmp_path):
    path = saved(tmp_path / "a.npz", **fields())
    assert "(18, 24, 3)" in error_of(path, 18, 24)


@pytest.mark.parametrize("key", ["coords", "confidence", "mask"])
@pytest.mark.parametrize("dtype", [np.complex64, "U3", "M8[s]"])
def test_what_is_no_number_is_refused(tmp_path, key, dtype):
    arrays = fields()
    arrays[key] = np.zeros(arrays[key].shape, dtype)
    assert f"`{key}` has type" in error_of(saved(tmp_path / "a.npz", **arrays))


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    coords = np.empty((HEIGHT, WIDTH, 3), object)
    coords[:] = Bomb()
    np.savez(tmp_path / "a.npz", coords=coords)
    assert "not a readable .npz file" in error_of(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()


def test_missing_files_are_told(tmp_path):
    assert "no cube map for this picture" in error_of(tmp_path / "a.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "no cube map for this picture" in error_of(tmp_path / "folder.npz")
    message = error_of(saved(tmp_path / "b.npz", uvw=fields()["coords"]))
    assert "holds no array `coords`" in message


# numpy leaves the file open where it is no whole archive.
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_off_files_are_refused(tmp_path, save):
    buffer = io.BytesIO()
    save(buffer, **fields())
    data = buffer.getvalue()
    path = tmp_path / "a.npz"
    for size in [*range(0, len(data) - 1, 37), len(data) - 1]:
        path.write_bytes(data[:size])
        assert "not a readable .npz file" in error_of(path)
    gc.collect()


def test_damaged_files_are_closed(tmp_path):
    path = saved(tmp_path / "a.npz", **fields())
    path.write_bytes(path.read_bytes()[:-30])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        error_of(path)
        gc.collect()
    assert caught == []


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_changed_bytes_are_noticed(tmp_path, save):
    """Wherever a byte of an array changed; the archive's checksums see it."""
    buffer = io.BytesIO()
    save(buffer, coords=fields()["coords"])
    data = buffer.getvalue()
    with zipfile.ZipFile(buffer) as archive:
        size = archive.infolist()[0].compress_size
    path = tmp_path / "a.npz"
    start = data.index(b"coords.npy") + len(b"coords.npy") + 20
    for position in range(start, start + size - 20, 23):
        changed = bytearray(data)
        changed[position] ^= 0x55
        path.write_bytes(changed)
        assert "not a readable .npz file" in error_of(path)


@pytest.mark.parametrize("data", [b"hello\nworld", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 60])
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    assert "not a readable .npz file" in error_of(path)
    gc.collect()


def test_a_single_array_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, fields()["coords"])
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    assert "not a readable .npz file" in error_of(tmp_path / "a.npz")


@pytest.mark.parametrize(("offset", "flag"), [(8, 1), (10, 0x63)])
def test_encrypted_and_unknown_archives_are_refused(tmp_path, offset, flag):
    """The archive's directory says: encrypted, or compressed in an unknown way."""
    buffer = io.BytesIO()
    np.savez(buffer, coords=fields()["coords"])
    data = bytearray(buffer.getvalue())
    data[data.index(b"PK\x01\x02") + offset] |= flag
    (tmp_path / "a.npz").write_bytes(data)
    assert "not a readable .npz file" in error_of(tmp_path / "a.npz")


def test_finds_maps_by_name_also_in_folders(tmp_path):
    (tmp_path / "left" / "top").mkdir(parents=True)
    names = ["a.png", "left/a.png", "left/top/déjà vu.jpg", "no suffix"]
    for index, name in enumerate(names):
        coords = np.full((HEIGHT, WIDTH, 3), (index + 1) / 8, np.float32)
        saved(tmp_path / f"{name}.npz", coords=coords)
    embedder = PrecomputedEmbedder(tmp_path)
    assert embedder.name == "precomputed"
    assert embedder.wants_distorted is True
    for index, name in enumerate(names):
        assert (embedder.embed(IMAGE, name=name).coords == (index + 1) / 8).all()
    with pytest.raises(CaptureError) as caught:
        embedder.embed(IMAGE, name="left/b.png")
    assert caught.value.path == tmp_path / "left" / "b.png.npz"
    assert "\n" not in str(caught.value)


def test_folder_must_be_there(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(CaptureError, match="no such folder") as caught:
            PrecomputedEmbedder(path)
        assert "\n" not in str(caught.value)


def test_name_and_picture_are_needed(tmp_path):
    embedder = PrecomputedEmbedder(tmp_path)
    for call in (embedder.embed, embedder.find_head):
        with pytest.raises(ValueError, match="image name"):
            call(IMAGE)
        with pytest.raises(ValueError, match="image must be"):
            call(IMAGE.astype(float), name="a.png")


def test_head_is_the_largest_piece(tmp_path):
    arrays = fields()
    arrays["mask"][0, 0] = arrays["mask"][0:2, 10] = True
    saved(tmp_path / "a.png.npz", **arrays)
    found = PrecomputedEmbedder(tmp_path).find_head(IMAGE, "a.png")
    assert found == Square((5.0, 5.0), 6 * FinderOptions.margin)


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        (Square((5.0, 5.0), 4.0), (3, 7), (3, 7)),
        (Square((5.3, 5.0), 3.0), (3, 7), (3, 7)),
        (Square((1.0, 8.0), 6.0), (5, 9), (0, 4)),
        (Square((6.0, 4.5), 100.0), (0, 9), (0, 12)),
        (Square((6.5, 4.5), 0.2), (4, 5), (6, 7)),
    ],
)
def test_region_is_cut_out_on_whole_pixels(tmp_path, region, rows, columns):
    arrays = fields()
    saved(tmp_path / "a.png.npz", **arrays)
    found = PrecomputedEmbedder(tmp_path).embed(IMAGE, region, "a.png")
    part = np.s_[slice(*rows), slice(*columns)]
    np.testing.assert_array_equal(found.coords, arrays["coords"][part])
    np.testing.assert_array_equal(found.confidence, arrays["confidence"][part])
    np.testing.assert_array_equal(found.mask, arrays["mask"][part])
    np.testing.assert_array_equal(found.image_from_map, [[1, 0, columns[0]], [0, 1, rows[0]]])


@pytest.mark.parametrize("center", [(-5.0, 4.0), (6.0, 40.0), (14.0, 4.0)])
def test_region_off_the_picture_is_refused(tmp_path, center):
    saved(tmp_path / "a.png.npz", **fields())
    with pytest.raises(ValueError, match="outside the picture of 12x9"):
        PrecomputedEmbedder(tmp_path).embed(IMAGE, Square(center, 4.0), "a.png")


def test_what_is_written_is_read_back(tmp_path):
    arrays = fields()
    mask = arrays["mask"]
    path = tmp_path / "new" / "left" / "a.png.npz"
    write_cube_map(path, CubeMap(**arrays, image_from_map=np.eye(2, 3)))
    found = read_cube_map(path, HEIGHT, WIDTH)
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(found, key)[mask], array[mask])
        assert (getattr(found, key)[~mask] == 0).all()  # nothing is known there
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png.npz"]
    write_cube_map(path, empty_cube_map(HEIGHT, WIDTH))
    assert not read_cube_map(path, HEIGHT, WIDTH).mask.any()


def test_only_maps_at_the_picture_s_resolution_are_written(tmp_path):
    whole = CubeMap(**fields(), image_from_map=np.array([[1.0, 0, 2], [0, 1, 0]]))
    with pytest.raises(ValueError, match="resolution"):
        write_cube_map(tmp_path / "a.npz", whole)
    assert list(tmp_path.iterdir()) == []


class Broken:
    """A map whose confidence cannot be had."""

    def __init__(self, whole):
        self.coords, self.mask, self.image_from_map = whole.coords, whole.mask, whole.image_from_map

    @property
    def confidence(self):
        raise RuntimeError("no space")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    whole = CubeMap(**fields(), image_from_map=np.eye(2, 3))
    with pytest.raises(RuntimeError, match="no space"):
        write_cube_map(path, Broken(whole))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_its_identity_is_the_map_s(tmp_path):
    (tmp_path / "a.jpg.npz").write_bytes(b"one")
    embedder = PrecomputedEmbedder(tmp_path)
    assert embedder.identity("a.jpg") == f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    with pytest.raises(CaptureError, match=r"b.jpg.npz: no cube map for this picture"):
        embedder.identity("b.jpg")
