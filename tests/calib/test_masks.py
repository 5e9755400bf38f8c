"""Masks: what each kind of file keeps, how files are found, and the mistakes that are named."""

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import FORMATS, read_capture
from calib.masks import MaskLook, check_masks, judge_masks
from calib.pictures import PictureFolder
from tests.calib.captures import HEIGHT, OPENCV, WIDTH, make_capture

HEAD = np.zeros((HEIGHT, WIDTH), np.uint8)
cv2.ellipse(HEAD, (WIDTH // 2, HEIGHT // 2), (25, 32), 0, 0, 360, 255, -1)
RNG = np.random.default_rng(5)
PHOTO = cv2.resize(RNG.integers(0, 256, (9, 12, 3), np.uint8), (WIDTH, HEIGHT))


def write(path, picture, *flags):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture, *flags)[1].tobytes())


def soft(mask):
    return cv2.GaussianBlur(mask, (0, 0), 3)


@pytest.fixture
def root(tmp_path):
    """A capture of four views with photos for pictures, without masks."""
    capture = make_capture(tmp_path)
    FORMATS["cameras"].write(tmp_path, capture)
    for index, view in enumerate(capture.views):
        write(view.image_path, np.roll(PHOTO, 20 * index, axis=1))
    return tmp_path


def with_masks(root, *masks):
    """The capture with a mask for each of the first views."""
    for index, mask in enumerate(masks):
        write(root / "masks" / f"{index:02d}.png", mask)
    return read_capture(root)


def mask_of(root, picture, ending=".png", *flags):
    """What a file keeps of the first view."""
    for path in (root / "masks").glob("*"):
        path.unlink()
    write(root / "masks" / f"00{ending}", picture, *flags)
    return read_capture(root).views[0].load_mask()


def refused(action, *words):
    with pytest.raises(CaptureError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_what_is_not_0_is_kept_of_up_to_16_levels(root):
    labels = (np.arange(WIDTH) * 16 // WIDTH).astype(np.uint8)
    picture = np.tile(labels, (HEIGHT, 1))
    np.testing.assert_array_equal(mask_of(root, picture), picture > 0)
    np.testing.assert_array_equal(mask_of(root, picture * 17), picture > 0)
    np.testing.assert_array_equal(mask_of(root, picture.astype(np.uint16)), picture > 0)


def test_half_of_white_is_kept_of_more_levels(root):
    ramp = np.tile((np.arange(WIDTH) * 2).astype(np.uint8), (HEIGHT, 1))
    np.testing.assert_array_equal(mask_of(root, ramp), ramp >= 128)
    np.testing.assert_array_equal(mask_of(root, ramp.astype(np.uint16) * 257), ramp >= 128)
    np.testing.assert_array_equal(mask_of(root, soft(HEAD)), soft(HEAD) >= 128)
    # Half way of the blur is where the edge was.
    assert (mask_of(root, soft(HEAD)) != (HEAD > 0)).mean() < 0.01


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
def test_a_jpeg_of_a_mask_is_the_mask(root, quality):
    """However few of its levels are left."""
    found = mask_of(root, HEAD, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert (found != (HEAD > 0)).mean() < 0.01
    assert not found[:5].any()
    assert found[HEIGHT // 2 - 10 : HEIGHT // 2 + 10, WIDTH // 2 - 10 : WIDTH // 2 + 10].all()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_any_colour_counts(root, channel):
    color = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    color[..., channel] = HEAD // 255
    np.testing.assert_array_equal(mask_of(root, color), HEAD > 0)
    color[..., channel] = soft(HEAD)
    np.testing.assert_array_equal(mask_of(root, color), soft(HEAD) >= 128)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_alpha_carries_the_mask_or_the_colour_does(root, ending):
    whole = np.full_like(HEAD, 255)
    other = np.zeros_like(HEAD)
    other[:, :40] = 255
    for layers, kept in (
        ((whole, whole, whole, HEAD), HEAD),  # white paint on nothing
        ((0 * whole, 0 * whole, 0 * whole, HEAD), HEAD),  # black paint on nothing
        ((HEAD, HEAD, HEAD, whole), HEAD),  # an opaque mask
        ((HEAD, HEAD, HEAD, other), HEAD),  # both vary: the colour is the mask
        ((*PHOTO.transpose(2, 0, 1), HEAD), HEAD),  # the head cut out of its picture
    ):
        found = mask_of(root, np.dstack(layers), ending)
        np.testing.assert_array_equal(found, kept > 0)


def test_a_mask_with_palette_and_of_one_bit(root):
    from PIL import Image

    (root / "masks").mkdir()
    path = root / "masks" / "00.png"
    for image in (Image.fromarray(HEAD).convert("1"), Image.fromarray(HEAD).quantize(2)):
        image.save(path)
        np.testing.assert_array_equal(read_capture(root).views[0].load_mask(), HEAD > 0)


@pytest.mark.parametrize(
    ("shape", "cause"),
    [((2, 2), "scaled by 2"), ((0.5, 0.5), "scaled by 0.5"), (None, "rotated"), ((1, 0.9), "crop")],
)
def test_a_mask_of_another_size_is_named(root, shape, cause):
    mask = HEAD.T.copy() if shape is None else cv2.resize(HEAD, None, fx=shape[0], fy=shape[1])
    height, width = mask.shape
    capture = with_masks(root, HEAD, mask)
    says = f"01.png: is {width} x {height}, the model's camera 120 x 90 ("
    refused(lambda: check_masks(capture), says, cause)
    refused(capture.views[1].load_mask, says, cause)
    refused(capture.views[1].load_pinhole, says, cause)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.jpg.png", "a.jpg"),
        ("a.png", "a.jpg"),
        ("a.jpg", "a.jpg"),
        ("a.PNG", "a.jpg"),
        ("a.tif", "a.jpg"),
        ("a_mask.png", "a.jpg"),
        ("a.mask.png", "a.jpg"),
        ("left/b c_mask.jpg", "left/b c.png"),
        ("b", None),
        ("a_masks.png", None),
        ("x/a.png", None),
    ],
)
def test_how_masks_are_named(tmp_path, name, picture):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    folder = PictureFolder(tmp_path)
    for other in ("a.jpg", "left/b c.png"):
        assert folder.find_mask(other) == (tmp_path / name if other == picture else None)


def test_the_nearest_name_goes_first(tmp_path):
    names = ["a.jpg.png", "a.png", "a.jpg", "a_mask.png"]
    for name in reversed(names):
        (tmp_path / name).touch()
        assert PictureFolder(tmp_path).find_mask("a.jpg") == tmp_path / name


def test_missing_masks_and_strangers_are_named(root):
    write(root / "masks" / "00.png", HEAD)
    write(root / "masks" / "first.png", HEAD)
    write(root / "masks" / "deep" / "er.png", HEAD)
    warnings = read_capture(root).warnings
    assert warnings[0] == "3 views have no mask: 01.png, 02.png, 03.png"
    assert warnings[1].startswith("2 masks match no picture: deep/er.png, first.png; a mask is nam")
    assert read_capture(root, masks=root / "masks").warnings == warnings
    (root / "masks" / "00.png").unlink()
    assert read_capture(root).warnings[0].startswith("4 views have no mask")
    refused(
        lambda: read_capture(root, masks=root / "masks"),
        "masks: holds no mask of any of the pictures, but deep/er.png, first.png; a mask is named",
    )


def test_no_masks_at_all_are_no_mistake(root):
    capture = read_capture(root)
    assert capture.warnings == ()
    assert check_masks(capture) == []
    assert [view.examine_mask() for view in capture.views] == [None] * 4


def test_good_masks_are_no_mistake(root):
    low = np.zeros_like(HEAD)
    low[20:, 30:100] = 255  # a head and shoulders, off the middle
    close = np.full_like(HEAD, 255)
    close[:8] = 0  # the head nearly fills the picture
    capture = with_masks(root, HEAD, soft(HEAD), low, close)
    assert capture.warnings == ()
    assert check_masks(capture) == []


def test_inverted_masks_are_refused_and_a_few_named(root):
    refused(
        lambda: check_masks(with_masks(root, *[255 - HEAD] * 4)),
        "masks: 4 of 4 masks look inverted",
        "00.png, 01.png, 02.png, 03.png; 0 is what a mask leaves out: invert them",
    )
    refused(lambda: check_masks(with_masks(root, *[255 - soft(HEAD)] * 4)), "4 of 4 masks look inv")
    (warning,) = check_masks(with_masks(root, HEAD, HEAD, HEAD, 255 - HEAD))
    assert warning.startswith("1 of 4 masks look inverted")
    assert "03.png" in warning


def test_masks_that_keep_nothing_or_everything(root):
    black, white = np.zeros_like(HEAD), np.full_like(HEAD, 255)
    refused(
        lambda: check_masks(with_masks(root, *[black] * 4)), "leave nothing in 4 of 4 views: 00"
    )
    refused(lambda: check_masks(with_masks(root, HEAD, *[black] * 3)), "leave nothing in 3 of 4")
    two = check_masks(with_masks(root, HEAD, HEAD, black, black))
    assert two == ["masks leave nothing in 2 of 4 views: 02.png, 03.png"]
    all_white = check_masks(with_masks(root, *[white] * 4))
    assert len(all_white) == 1
    assert all_white[0].startswith("masks leave nothing out in 4 of 4 views: 00.png")


@pytest.mark.parametrize("gray", [False, True])
def test_pictures_saved_for_masks_are_refused_and_one_is_named(root, gray):
    flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    copies = [cv2.imread(str(root / "images" / f"{i:02d}.png"), flag) for i in range(4)]
    refused(lambda: check_masks(with_masks(root, *copies)), "4 of 4 masks show the picture itself")
    (warning,) = check_masks(with_masks(root, HEAD, HEAD, HEAD, copies[3]))
    assert warning.startswith("1 of 4 masks show the picture itself: 03.png")
    # Another view's picture is at least mostly grey.
    (warning,) = check_masks(with_masks(root, HEAD, HEAD, HEAD, copies[0]))
    assert warning.startswith("1 of 4 masks are mostly neither black nor white: 03.png")


def test_the_folder_of_the_pictures_given_for_masks(root):
    refused(
        lambda: check_masks(read_capture(root, masks=root / "images")), "show the picture itself"
    )


def test_alpha_is_checked_as_masks_are(root):
    capture = read_capture(root)
    for view in capture.views[:3]:
        write(view.image_path, np.dstack([PHOTO, HEAD]))
    assert check_masks(capture) == ["1 of 4 views have no alpha to mask them: 03.png"]
    for view in capture.views:
        write(view.image_path, np.dstack([PHOTO, 255 - HEAD]))
    refused(lambda: check_masks(capture), "images: 4 of 4 masks look inverted")
    for view in capture.views:
        write(view.image_path, np.dstack([PHOTO, 0 * HEAD]))
    refused(lambda: check_masks(capture), "images: masks leave nothing in 4 of 4", "alpha")


def test_a_view_with_alpha_needs_no_mask_file(root):
    write(root / "masks" / "00.png", HEAD)
    for index in (1, 2, 3):
        write(root / "images" / f"{index:02d}.png", np.dstack([PHOTO, HEAD]))
    capture = read_capture(root)
    assert capture.warnings == ()
    assert check_masks(capture) == []


def test_the_look_is_of_the_mask_as_it_is_on_disk(tmp_path):
    capture = make_capture(tmp_path, OPENCV)
    FORMATS["cameras"].write(tmp_path, capture)
    mask = np.zeros_like(HEAD)
    mask[30:60, 40:80] = 255
    view = with_masks(tmp_path, mask).views[0]
    look = view.load_pinhole().look
    assert look == view.examine_mask()
    assert look == MaskLook(kept=1200 / mask.size, edge=0.0, middle=1.0)


def test_judging_wants_one_look_per_view(root):
    with pytest.raises(ValueError):
        judge_masks(read_capture(root), [None])
