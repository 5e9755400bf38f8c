"""Pictures of every kind: one array from all of them, and one line for what cannot be read."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from calib.camera import Camera
from calib.capture import CaptureError, View, picture_size
from calib.image_files import read_picture, read_upright
from calib.image_headers import MAX_PIXELS

WIDTH, HEIGHT = 64, 48


def make_base():
    """Blocks of a hundred colours, so that a palette holds them."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (100, 3), np.uint8)
    return colors[rng.integers(0, 100, (HEIGHT // 2, WIDTH // 2))].repeat(2, 0).repeat(2, 1)


def make_alpha():
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[10:30, 20:50] = 255
    return alpha


BASE, ALPHA = make_base(), make_alpha()
GRAY = np.dstack([BASE[..., 0]] * 3)
RGB = Image.fromarray(BASE)
RGBA = Image.fromarray(np.dstack([BASE, ALPHA]))
L = Image.fromarray(BASE[..., 0])


def pillow(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opencv(ending, *channels):
    """16 bit of 8: 255 becomes 65535."""
    array = np.dstack(channels).squeeze().astype(np.uint16) * 257
    return cv2.imencode(ending, array)[1].tobytes()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data, bits=8, color=2):
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


BGR = BASE[..., ::-1]
COLORED = {
    "png": pillow(RGB, "PNG"),
    "png of 16 bit": opencv(".png", BGR),
    "png with palette": pillow(RGB.quantize(256, method=Image.Quantize.MEDIANCUT), "PNG"),
    "png with alpha": pillow(RGBA, "PNG"),
    "png with alpha of 16 bit": opencv(".png", BGR, ALPHA),
    "png with a transparent colour": pillow(RGB, "PNG", transparency=tuple(BASE[0, 0].tolist())),
    "png with EXIF": pillow(RGB, "PNG", exif=rotated()),
    "tiff": pillow(RGB, "TIFF"),
    "tiff, LZW": pillow(RGB, "TIFF", compression="tiff_lzw"),
    "tiff, deflate": pillow(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "tiff, big": pillow(RGB, "TIFF", big_tiff=True),
    "tiff of 16 bit": opencv(".tiff", BGR),
    "tiff with palette": pillow(RGB.quantize(256, method=Image.Quantize.MEDIANCUT), "TIFF"),
    "tiff with alpha": pillow(RGBA, "TIFF"),
    "tiff with alpha of 16 bit": opencv(".tiff", BGR, ALPHA),
    "tiff with orientation": pillow(RGB, "TIFF", tiffinfo={274: 6}),
    "tiff with alpha and orientation": pillow(RGBA, "TIFF", tiffinfo={274: 6}),
    "webp": pillow(RGB, "WEBP", lossless=True),
    "webp with alpha": pillow(RGBA, "WEBP", lossless=True, exact=True),
    "bmp": pillow(RGB, "BMP"),
    "ppm": pillow(RGB, "PPM"),
    "jp2": pillow(RGB, "JPEG2000"),
}
GRAYS = {
    "png": pillow(L, "PNG"),
    "png of 16 bit": opencv(".png", BASE[..., 0]),
    "png with alpha": pillow(RGBA.split()[0], "PNG"),
    "png with alpha channel": pillow(Image.merge("LA", (L, RGBA.split()[3])), "PNG"),
    "tiff": pillow(L, "TIFF"),
    "tiff of 16 bit": opencv(".tiff", BASE[..., 0]),
    "tiff of 16 bit with orientation": pillow(
        Image.fromarray(BASE[..., 0].astype(np.uint16) * 257), "TIFF", tiffinfo={274: 3}
    ),
    "tiff with alpha": pillow(Image.merge("LA", (L, RGBA.split()[3])), "TIFF"),
    "tiff, white is 0": pillow(L, "TIFF", tiffinfo={262: 0}),
    "webp": pillow(L.convert("RGB"), "WEBP", lossless=True),
    "bmp": pillow(L, "BMP"),
    "pgm": pillow(L, "PPM"),
}
# Files with the alpha of make_alpha.
MASKED = [name for name in COLORED if "with alpha" in name]


@pytest.fixture
def view(tmp_path):
    """A view whose picture is to be written."""
    camera = Camera("SIMPLE_PINHOLE", WIDTH, HEIGHT, [50, 32, 24], np.eye(3, 4))
    return View("a.png", tmp_path / "a.png", None, camera, np.zeros(0, np.int64))


def refused(action, *words):
    """The one line with which something is refused."""
    with pytest.raises(CaptureError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line
    return line


@pytest.mark.parametrize("name", COLORED)
def test_the_same_picture_in_every_format_is_the_same_array(view, name):
    view.image_path.write_bytes(COLORED[name])
    image = view.load_image()
    assert (image.dtype, image.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(image, BASE)
    assert picture_size(view.image_path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", GRAYS)
def test_the_same_gray_picture_in_every_format_is_the_same_array(view, name):
    view.image_path.write_bytes(GRAYS[name])
    np.testing.assert_array_equal(view.load_image(), GRAY)


def test_a_jpeg_is_what_the_decoder_says_of_any_orientation(view):
    smooth = cv2.resize(BASE[::8, ::8], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    plain = pillow(Image.fromarray(smooth), "JPEG", quality=98, subsampling=0)
    view.image_path.write_bytes(plain)
    image = view.load_image()
    assert np.abs(image.astype(int) - smooth).mean() < 1.5
    exif = pillow(Image.fromarray(smooth), "JPEG", quality=98, subsampling=0, exif=rotated())
    view.image_path.write_bytes(exif)
    np.testing.assert_array_equal(view.load_image(), image)
    assert picture_size(view.image_path) == (WIDTH, HEIGHT)
    view.image_path.write_bytes(pillow(L, "JPEG", quality=98))
    gray = view.load_image()
    assert (gray[..., 0] == gray[..., 2]).all()


@pytest.mark.parametrize("name", COLORED)
def test_alpha_is_the_mask_of_a_picture_without_one(view, name):
    view.image_path.write_bytes(COLORED[name])
    mask, pinhole = view.load_mask(), view.load_pinhole()
    np.testing.assert_array_equal(pinhole.image, BASE)
    if name in MASKED:
        np.testing.assert_array_equal(mask, ALPHA > 0)
        np.testing.assert_array_equal(pinhole.mask, ALPHA > 0)
        assert pinhole.look.kept == pytest.approx((ALPHA > 0).mean())
    elif "transparent" in name:
        np.testing.assert_array_equal(mask, (BASE[0, 0] != BASE).any(axis=2))
    else:
        assert mask is None
        assert pinhole.look is None
        assert pinhole.mask.all()
    assert view.without_mask().load_mask() is None


def test_a_view_with_a_mask_and_alpha_keeps_what_both_keep(view, tmp_path):
    from dataclasses import replace

    view.image_path.write_bytes(COLORED["png with alpha"])
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:20] = 255
    (tmp_path / "m.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    both = replace(view, mask_path=tmp_path / "m.png").load_mask()
    np.testing.assert_array_equal(both, (ALPHA > 0) & (mask > 0))
    assert both.any()


@pytest.mark.parametrize(("value", "keeps"), [(255, None), (128, None), (0, 0.0)])
def test_an_alpha_channel_that_says_nothing(view, value, keeps):
    """Opaque is no mask; transparent all over leaves nothing, which is said later."""
    alpha = Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8))
    view.image_path.write_bytes(pillow(Image.merge("RGBA", (*RGB.split(), alpha)), "PNG"))
    mask = view.load_mask()
    assert mask is None if keeps is None else not mask.any()


def test_the_size_is_read_without_the_pixels(view, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    kinds = (COLORED["png"], COLORED["tiff"], pillow(RGB, "JPEG"), COLORED["bmp"])
    for data in kinds:
        view.image_path.write_bytes(data)
        assert picture_size(view.image_path) == (WIDTH, HEIGHT)
        # What a picture of this size needs is not there.
        if data is not COLORED["tiff"]:
            view.image_path.write_bytes(data[: len(data) * 3 // 4])
            assert picture_size(view.image_path) == (WIDTH, HEIGHT)


def huge(kind, width, height):
    """A small file that announces a large picture."""
    if kind == "PNG":
        return png(width, height, bytes(1000))
    if kind == "TIFF":
        data = COLORED["tiff"]
        return data.replace(tag(256, WIDTH), tag(256, width)).replace(
            tag(257, HEIGHT), tag(257, height)
        )
    if kind == "JPEG":
        data, size = pillow(RGB, "JPEG"), struct.pack(">HH", HEIGHT, WIDTH)
        return data.replace(b"\x08" + size, b"\x08" + struct.pack(">HH", height, width))
    head = COLORED["bmp"]
    return head[:18] + struct.pack("<ii", width, height) + head[26:]


def tag(number, value):
    return struct.pack("<HHII", number, 4, 1, value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_a_file_that_announces_too_much_is_refused_undecoded(view, monkeypatch, kind):
    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", fail)
    view.image_path.write_bytes(huge(kind, 30000, 30000))
    assert len(view.image_path.read_bytes()) < 12000
    refused(lambda: picture_size(view.image_path), "announces 30000 x 30000", "megapixels")
    refused(view.load_image, "announces 30000 x 30000")
    # Fewer than the limit, and not the camera's.
    view.image_path.write_bytes(huge(kind, 12000, 12000))
    assert MAX_PIXELS > 12000 * 12000
    refused(view.load_image, "is 12000 x 12000, the model's camera 64 x 48")
    view.image_path.write_bytes(huge(kind, 40000, 10))
    refused(lambda: picture_size(view.image_path), "announces 40000 x 10")


@pytest.mark.parametrize(
    ("size", "cause"),
    [
        ((48, 64), "width and height exchanged: it was rotated"),
        ((128, 96), "scaled by 2"),
        ((32, 24), "scaled by 0.5"),
        ((21, 16), "scaled by 0.328"),
        ((24, 32), "rotated and scaled by 0.5"),
        ((64, 47), "cropped, or of another camera"),
        ((60, 60), "cropped, or of another camera"),
    ],
)
def test_a_wrong_size_is_refused_with_its_likely_cause(view, size, cause):
    view.image_path.write_bytes(pillow(RGB.resize(size), "PNG"))
    says = f"a.png: is {size[0]} x {size[1]}, the model's camera 64 x 48 ({cause}"
    refused(view.load_image, says, "unscaled and unrotated")


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut_jpeg(share, **options):
    data = pillow(RGB, "JPEG", **options)
    return data[: int(len(data) * share)]


FLOATS = cv2.imencode(".tiff", BASE.astype(np.float32) / 255)[1].tobytes()
BAD = {
    "empty": (b"", "not a readable picture (empty)"),
    "text": (b"no picture\n" * 50, "not a readable picture (neither PNG, JPEG, TIFF"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run git lfs pull"),
    "jpeg, half": (cut_jpeg(0.5), "damaged or cut off"),
    "jpeg, nearly all": (cut_jpeg(0.99), "damaged or cut off"),
    "jpeg, progressive": (cut_jpeg(0.7, progressive=True), "damaged or cut off"),
    "jpeg, a few bytes": (cut_jpeg(0.01), "not a readable picture"),
    "png, half": (COLORED["png"][: len(COLORED["png"]) // 2], "damaged or cut off"),
    "png, without its end": (COLORED["png"][:-12], "damaged or cut off"),
    "png, check sum of the pixels": (flipped(COLORED["png"], -20), "damaged or cut off"),
    "png, check sum of the header": (flipped(COLORED["png"], 29), "damaged or cut off"),
    "png, no size": (png(0, HEIGHT, b""), "damaged or cut off"),
    "tiff, half": (COLORED["tiff, LZW"][: len(COLORED["tiff, LZW"]) // 2], "damaged or cut off"),
    "webp, half": (COLORED["webp"][: len(COLORED["webp"]) // 2], "damaged or cut off"),
    "tiff of floats": (FLOATS, "holds 32 bit float values; convert it to 8 or 16 bit"),
    "gray tiff of floats": (pillow(L.convert("F"), "TIFF"), "holds 32 bit float values"),
    "tiff of integers": (pillow(L.convert("I"), "TIFF"), "holds 32 bit signed values"),
    "exr": (b"v/1\x01\x02" + bytes(200), "EXR picture, which is not read; convert it to PNG"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC picture, which is not read"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_gets_one_line(view, capfd, name):
    data, says = BAD[name]
    view.image_path.write_bytes(data)
    line = refused(view.load_image, says)
    assert line.startswith(f"{view.image_path}: ")
    assert capfd.readouterr() == ("", "")


def test_what_is_not_there_or_no_file(view, tmp_path):
    refused(view.load_image, "no such picture")
    view.image_path.mkdir()
    refused(view.load_image, "is a folder, not a picture")
    refused(lambda: picture_size(tmp_path), "is a folder, not a picture")


@pytest.mark.parametrize("name", ["png", "png with alpha", "tiff", "tiff with alpha", "webp"])
def test_damage_anywhere_is_refused_or_leaves_a_picture(view, name):
    rng = np.random.default_rng(1)
    whole = COLORED[name]
    for _ in range(150):
        data = bytearray(whole)
        # Mostly in the header, where it matters most.
        for at in rng.integers(0, rng.choice([64, 400, len(data)]), 3):
            data[at] = rng.integers(256)
        view.image_path.write_bytes(data)
        try:
            image = read_picture(view.image_path, (WIDTH, HEIGHT))[0]
        except CaptureError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("orientation", [*range(10), 300])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_photographs_are_turned_as_they_were_held(tmp_path, orientation, ending):
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[274] = orientation
    RGB.save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    stored = Image.fromarray(read_picture(path)[0])
    stored.getexif()[274] = orientation
    np.testing.assert_array_equal(read_upright(path), np.array(ImageOps.exif_transpose(stored)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_makes_no_sense_turns_nothing(tmp_path):
    path = tmp_path / "a.jpg"
    RGB.save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_upright(path), read_picture(path)[0])
