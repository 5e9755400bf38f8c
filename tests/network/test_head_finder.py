import numpy as np
import pytest

from mvs.network.head_finder import FinderOptions, find_head, largest_piece, whole_picture
from mvs.types import Square

SIZE = 64


def ellipse_picture(width, height, center, axes, background=0):
    """A bright ellipse; every pixel whose centre lies in it is white."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = ((x - center[0]) / axes[0]) ** 2 + ((y - center[1]) / axes[1]) ** 2 <= 1
    return np.where(inside[..., None], np.uint8(255), np.uint8(background)).repeat(3, axis=2)


def bright(crop):
    """The network of these tests: what is bright is head."""
    return crop[..., 0] > 127


def whole_square(center, axes):
    return Square(center, 2 * max(axes) * FinderOptions.margin)


def assert_close(found, expected, tolerance_px):
    assert found is not None
    assert np.abs(np.subtract(found.center, expected.center)).max() <= tolerance_px
    # The margin enlarges the error of the side.
    assert abs(found.side - expected.side) <= 2.5 * tolerance_px


@pytest.mark.parametrize(
    ("width", "height"), [(300, 300), (480, 270), (270, 480), (640, 120), (40, 60), (30, 20)]
)
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_finds_the_ellipse(width, height, share):
    """Heads of a fifth of the picture to all of it, within a pixel of the last crop."""
    shorter = min(width, height)
    if share * shorter < max(width, height) / 5:
        share = max(width, height) / 5 / shorter
    axes = (0.4 * share * shorter, 0.5 * share * shorter)
    center = (0.45 * width, 0.5 * height) if share < 1 else (width / 2, height / 2)
    found = find_head(ellipse_picture(width, height, center, axes), bright, SIZE)
    expected = whole_square(center, axes)
    assert_close(found, expected, max(1.0, 1.5 * expected.side / SIZE))


@pytest.mark.parametrize("center", [(10.0, 40.0), (150.0, 8.0), (290.0, 192.0)])
def test_heads_at_the_border_are_cut_there(center):
    """The square is around what can be seen."""
    width, height, axes = 300, 200, (34.0, 40.0)
    found = find_head(ellipse_picture(width, height, center, axes), bright, SIZE)
    low = np.maximum(np.subtract(center, axes), 0)
    high = np.minimum(np.add(center, axes), (width, height))
    side = FinderOptions.margin * (high - low).max()
    assert_close(found, Square(tuple((low + high) / 2), side), 1.5 * side / SIZE)


def test_head_that_is_all_of_the_picture():
    for width, height in ((90, 90), (60, 90), (90, 60)):
        image = np.full((height, width, 3), 255, np.uint8)
        found = find_head(image, bright, SIZE)
        assert_close(found, Square((width / 2, height / 2), 90 * FinderOptions.margin), 2.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 2), (5, 5), (2, 9)])
def test_tiny_pictures(shape):
    height, width = shape
    found = find_head(np.full((height, width, 3), 255, np.uint8), bright, SIZE)
    expected = Square((width / 2, height / 2), FinderOptions.margin * max(shape))
    assert_close(found, expected, 0.04 * max(shape))
    assert find_head(np.zeros((height, width, 3), np.uint8), bright, SIZE) is None


def test_no_head():
    assert find_head(np.zeros((80, 60, 3), np.uint8), bright, SIZE) is None


def test_specks_are_no_heads():
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:13, 20:25] = 255
    # 15 of 4096 pixels, 0.37 %.
    assert find_head(image, bright, SIZE) is None
    assert find_head(image, bright, SIZE, FinderOptions(min_share=0.003)) is not None


def test_black_beyond_the_picture_is_never_a_head():
    """A network that takes black for head finds the dark ellipse, not the letter-box's bars."""
    for width, height in ((200, 80), (80, 200)):
        center, axes = (width / 2, height / 2), (30.0, 38.0)
        image = 255 - ellipse_picture(width, height, center, axes)
        found = find_head(image, lambda crop: ~bright(crop), SIZE)
        assert_close(found, whole_square(center, axes), 2.5)


def test_the_largest_head_counts():
    image = np.maximum(
        ellipse_picture(300, 200, (70, 100), (30, 36)),
        ellipse_picture(300, 200, (220, 100), (40, 50)),
    )
    assert_close(find_head(image, bright, SIZE), whole_square((220, 100), (40, 50)), 2.5)
    mirrored = find_head(image[:, ::-1], bright, SIZE)
    assert_close(mirrored, whole_square((80, 100), (40, 50)), 2.5)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_scaling_the_picture_scales_the_answer(factor):
    center, axes = (52.0, 47.0), (17.0, 21.0)
    image = ellipse_picture(120, 90, center, axes)
    small = find_head(image, bright, SIZE)
    large = find_head(image.repeat(factor, axis=0).repeat(factor, axis=1), bright, SIZE)
    scaled = Square(tuple(np.divide(large.center, factor)), large.side / factor)
    assert_close(scaled, small, small.side / SIZE)


def test_turning_the_picture_turns_the_answer():
    image = ellipse_picture(120, 90, (52.0, 47.0), (17.0, 21.0))
    found = find_head(image, bright, SIZE)
    mirrored = find_head(image[:, ::-1], bright, SIZE)
    turned = find_head(image.transpose(1, 0, 2), bright, SIZE)
    pixel = found.side / SIZE
    assert_close(
        Square((120 - mirrored.center[0], mirrored.center[1]), mirrored.side), found, pixel
    )
    assert_close(Square(turned.center[::-1], turned.side), found, pixel)


@pytest.mark.parametrize("margin", [1.0, 1.25, 2.0])
def test_margin(margin):
    image = ellipse_picture(200, 200, (100, 100), (40, 50))
    found = find_head(image, bright, SIZE, FinderOptions(margin=margin))
    assert found.side == pytest.approx(100 * margin, abs=3 * margin)


def test_network_sees_square_crops_of_its_size():
    seen = []

    def predict(crop):
        seen.append(crop)
        return bright(crop)

    find_head(ellipse_picture(200, 100, (100, 50), (30, 40)), predict, 48)
    assert len(seen) >= 2
    assert {(crop.shape, crop.dtype) for crop in seen} == {((48, 48, 3), np.dtype(np.uint8))}
    # The first look is at the whole picture, letter-boxed; later ones are closer.
    assert not seen[0][:11].any()
    assert bright(seen[-1]).sum() > 2 * bright(seen[0]).sum()


def test_what_vanishes_on_a_closer_look_is_no_head():
    looks = []

    def once(crop):
        looks.append(crop)
        return bright(crop) & (len(looks) == 1)

    assert find_head(ellipse_picture(200, 100, (100, 50), (30, 40)), once, SIZE) is None
    assert len(looks) == 2


@pytest.mark.parametrize("max_passes", [1, 3])
def test_gives_up_on_a_network_that_never_settles(max_passes):
    """Each look finds the head in the left half of what it sees."""
    looks = []

    def left_half(crop):
        looks.append(crop)
        mask = np.zeros(crop.shape[:2], bool)
        mask[16:48, :32] = True
        return mask

    image = np.full((256, 256, 3), 255, np.uint8)
    options = FinderOptions(max_passes=max_passes, sure_share=2.0)
    assert find_head(image, left_half, SIZE, options) is not None
    assert len(looks) == 1 + max_passes


def test_whole_picture():
    assert whole_picture(np.zeros((30, 50, 3), np.uint8)) == Square((25.0, 15.0), 50.0)
    assert whole_picture(np.zeros((51, 30, 3), np.uint8)) == Square((15.0, 25.5), 51.0)


def test_largest_piece():
    mask = np.zeros((10, 12), bool)
    assert largest_piece(mask) is None
    mask[1, 1:9] = True
    mask[4:7, 2:6] = True
    assert largest_piece(mask) == (12, Square((4.0, 5.5), 4.0))
    # Corners that touch connect.
    mask[7, 6:10] = True
    assert largest_piece(mask) == (16, Square((6.0, 6.0), 8.0))
    assert largest_piece(np.ones((1, 1), bool)) == (1, Square((0.5, 0.5), 1.0))


@pytest.mark.parametrize(
    "options",
    [
        {"margin": 0.9},
        {"min_share": -0.1},
        {"min_share": 1.0},
        {"stable_share": 0.0},
        {"sure_share": 0.0},
        {"max_passes": 0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FinderOptions(**options)


@pytest.mark.parametrize(("share", "looks"), [(0.2, 2), (0.24, 2), (0.26, 1), (0.5, 1)])
def test_one_head_that_fills_the_picture_is_looked_at_once(share, looks):
    """A picture's share counts, not the head's width: heads side by side are wide, too."""
    radius = 200 * np.sqrt(share / np.pi)
    image = ellipse_picture(200, 200, (100, 100), (radius, radius))
    seen = []

    def counted(crop):
        seen.append(crop)
        return bright(crop)

    found = find_head(image, counted, SIZE)
    assert len(seen) == looks
    assert_close(found, whole_square((100, 100), (radius, radius)), 5.0)
