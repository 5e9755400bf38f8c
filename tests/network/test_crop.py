import numpy as np
import pytest

from mvs.network.crop import (
    check_image,
    empty_cube_map,
    paste_cube_map,
    region_affine,
    sample_region,
)
from mvs.types import CubeMap, Square

RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (13, 17, 3), np.uint8)


def bilinear(values, x, y):
    """Value at (x, y) of pixels whose centres lie at halves; beyond the rim the rim's value."""
    height, width = values.shape[:2]
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    a, b = x - 0.5 - column, y - 0.5 - row
    total = 0.0
    for i, down in ((row, 1 - b), (row + 1, b)):
        for j, across in ((column, 1 - a), (column + 1, a)):
            pixel = values[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
            total = total + down * across * pixel.astype(np.float64)
    return total


def pieces(center, blur):
    """Middles and lengths of the parts into which pixel centres cut an interval."""
    low, high = center - blur / 2, center + blur / 2
    inner = [t for t in np.arange(np.floor(low) - 0.5, high + 1) if low < t < high]
    ends = np.array([low, *inner, high])
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def box_mean(values, x, y, blur):
    """Mean of the bilinear surface over a square: on each cell it is the value in the middle."""
    if blur == 0:
        return bilinear(values, x, y)
    total = 0.0
    for u, across in zip(*pieces(x, blur), strict=True):
        for v, down in zip(*pieces(y, blur), strict=True):
            total = total + across * down * bilinear(values, u, v)
    return total / blur**2


def slow_crop(image, region, size):
    """What ``sample_region`` promises, pixel by pixel: unrounded values and where they are."""
    height, width = image.shape[:2]
    step = region.side / size
    values, inside = np.zeros((size, size, 3)), np.zeros((size, size), bool)
    for row in range(size):
        for column in range(size):
            x = region.center[0] - region.side / 2 + (column + 0.5) * step
            y = region.center[1] - region.side / 2 + (row + 0.5) * step
            inside[row, column] = 0 <= x <= width and 0 <= y <= height
            if inside[row, column]:
                values[row, column] = box_mean(image, x, y, max(step - 1, 0))
    return values, inside


def ramp_image(height, width, slope):
    """Red grows to the right, green downwards: value = slope * position of the pixel's centre."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = slope * np.arange(width)
    image[..., 1] = slope * np.arange(height)[:, None]
    return image


REGIONS = [
    (Square((8.5, 6.5), 6.0), 6),  # pixel by pixel, on the grid
    (Square((8.2, 6.9), 5.5), 5),  # off the grid
    (Square((8.0, 6.0), 4.0), 11),  # enlarged
    (Square((9.1, 6.3), 12.0), 5),  # shrunk by a broken factor
    (Square((8.0, 6.0), 12.0), 4),  # shrunk by 3
    (Square((1.0, 12.0), 7.3), 9),  # over a corner
    (Square((8.5, 6.5), 40.0), 9),  # around the whole picture
    (Square((8.5, 6.5), 30.0), 1),  # one pixel
    (Square((8.5, 6.5), 0.5), 3),  # within a pixel
]


@pytest.mark.parametrize(("region", "size"), REGIONS)
def test_equals_the_slow_reference(region, size):
    crop = sample_region(PICTURE, region, size)
    values, inside = slow_crop(PICTURE, region, size)
    np.testing.assert_array_equal(crop.inside, inside)
    assert inside.any()
    assert crop.image.dtype == np.uint8
    # Half a grey value is what rounding may take.
    assert np.abs(crop.image - values).max() <= 0.5 + 1e-3
    assert not crop.image[~inside].any()


def test_one_to_one_is_a_copy():
    crop = sample_region(PICTURE, Square((7.0, 6.0), 8.0), 8)
    np.testing.assert_array_equal(crop.image, PICTURE[2:10, 3:11])
    assert crop.inside.all()


def test_halving_averages_blocks():
    crop = sample_region(PICTURE, Square((7.0, 6.0), 12.0), 6)
    blocks = PICTURE[:12, 1:13].reshape(6, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(crop.image - blocks).max() <= 0.5


@pytest.mark.parametrize("factor", [3, 5, 8])
def test_shrinking_leaves_no_pixel_out(factor):
    """One bright pixel anywhere shows; stripes as fine as the pixels fade to their mean."""
    n = 6 * factor
    stripes = np.zeros((n, n, 3), np.uint8)
    stripes[:, ::2] = 240
    crop = sample_region(stripes, Square((n / 2, n / 2), n), 6)
    assert np.abs(crop.image[1:-1, 1:-1].astype(int) - 120).max() <= 240 / factor**2 + 1
    for column in range(factor, 2 * factor):
        image = np.zeros((n, n, 3), np.uint8)
        image[:, column] = 255
        assert sample_region(image, Square((n / 2, n / 2), n), 6).image.max() > 0


@pytest.mark.parametrize(("side", "size"), [(12.0, 12), (12.0, 6), (12.0, 5), (9.0, 24)])
def test_maps_a_ramp_exactly(side, size):
    """The value tells the position: a pixel whose centre is at (0.5, 0.5) has value 0."""
    image = ramp_image(40, 50, 5)
    crop = sample_region(image, Square((21.3, 17.9), side), size)
    grid = (np.arange(size) + 0.5) * side / size
    across, down = 21.3 - side / 2 + grid, 17.9 - side / 2 + grid
    expected = np.broadcast_to(5 * (across - 0.5), (size, size))
    assert np.abs(crop.image[..., 0] - expected).max() <= 0.5 + 1e-3
    assert np.abs(crop.image[..., 1] - 5 * (down - 0.5)[:, None]).max() <= 0.5 + 1e-3


def test_affine_takes_crop_pixels_to_picture_pixels():
    region = Square((21.25, 17.5), 12.0)
    affine = sample_region(ramp_image(40, 50, 5), region, 24).image_from_map
    assert affine.shape == (2, 3)
    assert affine.dtype == np.float64
    np.testing.assert_array_equal(affine, region_affine(region, 24))
    np.testing.assert_allclose(affine @ [0, 0, 1], [15.25, 11.5])
    np.testing.assert_allclose(affine @ [24, 24, 1], [27.25, 23.5])
    np.testing.assert_allclose(affine @ [0.5, 0.5, 1], [15.5, 11.75])


@pytest.mark.parametrize(("region", "size"), REGIONS)
def test_mirrored_and_turned_pictures_give_mirrored_and_turned_crops(region, size):
    crop = sample_region(PICTURE, region, size)
    (x, y), side = region.center, region.side
    mirrored = sample_region(PICTURE[:, ::-1], Square((17 - x, y), side), size)
    turned = sample_region(PICTURE.transpose(1, 0, 2), Square((y, x), side), size)
    for other in (mirrored.image[:, ::-1], turned.image.transpose(1, 0, 2)):
        # Sums in another order may round the other way.
        assert np.abs(other.astype(int) - crop.image).max() <= 1
        assert (other == crop.image).mean() > 0.95
    np.testing.assert_array_equal(mirrored.inside[:, ::-1], crop.inside)
    np.testing.assert_array_equal(turned.inside.T, crop.inside)


def test_what_lies_far_outside_the_square_does_not_matter():
    inner, outer = Square((8.0, 6.0), 6.0), PICTURE.copy()
    outer[:2], outer[10:], outer[:, :4], outer[:, 12:] = 0, 255, 255, 0
    expected = sample_region(PICTURE, inner, 4)
    np.testing.assert_array_equal(sample_region(outer, inner, 4).image, expected.image)


def test_one_colour_stays_one_colour():
    image = np.full((9, 7, 3), (255, 128, 1), np.uint8)
    for side, size in ((5.0, 5), (6.0, 13), (30.0, 8), (50.0, 50)):
        crop = sample_region(image, Square((3.3, 4.4), side), size)
        assert (crop.image[crop.inside] == (255, 128, 1)).all()


def test_square_off_the_picture_is_black():
    for center in ((-50.0, 5.0), (5.0, 99.0)):
        crop = sample_region(PICTURE, Square(center, 10.0), 4)
        assert not crop.inside.any()
        assert not crop.image.any()


def test_smallest_picture():
    crop = sample_region(np.full((1, 1, 3), 77, np.uint8), Square((0.5, 0.5), 2.0), 4)
    expected = np.zeros((4, 4), bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(crop.inside, expected)
    np.testing.assert_array_equal(crop.image[..., 2], 77 * expected)


def test_picture_is_not_changed_and_may_be_read_only():
    image = PICTURE[:, ::-1].copy()
    image.flags.writeable = False
    crop = sample_region(image[:, ::-1], Square((7.0, 6.0), 8.0), 8)
    np.testing.assert_array_equal(crop.image, PICTURE[2:10, 3:11])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
)
def test_other_arrays_are_no_pictures(image):
    with pytest.raises(ValueError, match="image must be"):
        check_image(image)
    with pytest.raises(ValueError, match="image must be"):
        sample_region(image, Square((2.0, 2.0), 4.0), 4)


@pytest.mark.parametrize(
    ("center", "side", "size"),
    [
        ((2.0, 2.0), 0.0, 4),
        ((2.0, 2.0), -1.0, 4),
        ((2.0, 2.0), np.nan, 4),
        ((2.0, 2.0), np.inf, 4),
        ((np.nan, 2.0), 4.0, 4),
        ((2.0, -np.inf), 4.0, 4),
        ((2.0, 2.0), 4.0, 0),
    ],
)
def test_impossible_squares_are_refused(center, side, size):
    with pytest.raises(ValueError, match="side > 0 and size >= 1"):
        sample_region(PICTURE, Square(center, side), size)


def linear(x, y):
    """Coordinates and confidence as a linear function of the position in the picture."""
    return np.stack(
        [0.1 + 0.011 * x, 0.9 - 0.013 * y, 0.3 + 0.004 * x + 0.005 * y, 0.2 + 0.01 * x], axis=-1
    )


def centers(affine, rows, columns):
    """Picture positions of the centres of a map's pixels."""
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ affine.T


def map_of(affine, rows, columns, mask=None):
    values = linear(*np.moveaxis(centers(affine, rows, columns), -1, 0)).astype(np.float32)
    mask = np.ones((rows, columns), bool) if mask is None else mask
    return CubeMap(values[..., :3], values[..., 3], mask, affine)


PLACES = [
    (Square((20.0, 15.0), 24.0), 24),
    (Square((20.3, 15.2), 19.7), 32),  # shrunk
    (Square((20.3, 15.2), 22.9), 9),  # enlarged
    (Square((3.1, 27.4), 25.0), 16),  # over a corner
    (Square((20.0, 15.0), 70.0), 40),  # around the picture
]


@pytest.mark.parametrize(("region", "size"), PLACES)
def test_pasting_recovers_a_linear_field(region, size):
    pasted = paste_cube_map(map_of(region_affine(region, size), size, size), 30, 40)
    place = centers(np.eye(2, 3), 30, 40)
    from_middle = np.abs(place - region.center).max(axis=-1)
    # The outermost half pixel of the map has no neighbour to interpolate with.
    inner = from_middle < region.side / 2 - region.side / size / 2 - 1e-9
    np.testing.assert_array_equal(pasted.mask, from_middle <= region.side / 2)
    assert inner.sum() > 50
    expected = linear(place[..., 0], place[..., 1])
    assert np.abs(pasted.coords - expected[..., :3])[inner].max() < 1e-5
    assert np.abs(pasted.confidence - expected[..., 3])[inner].max() < 1e-5
    step = region.side / size
    assert np.abs(pasted.coords - expected[..., :3])[pasted.mask].max() < 0.013 * step
    assert not pasted.coords[~pasted.mask].any()
    assert not pasted.confidence[~pasted.mask].any()


def test_a_coordinate_picture_survives_cropping_and_pasting():
    """The value of a pixel of the picture is its position; the crop carries it there and back."""
    image = ramp_image(48, 64, 4)
    for region, size in ((Square((30.3, 22.6), 31.0), 31), (Square((30.3, 22.6), 31.0), 62)):
        crop = sample_region(image, region, size)
        # Eight bits are too coarse for the bound: what the crop's pixels mean, not what they are.
        place = centers(crop.image_from_map, size, size)
        fine = 4 * (place - 0.5)
        assert np.abs(crop.image[..., :2] - fine).max() <= 0.5 + 1e-3
        coords = np.concatenate([fine, np.zeros((size, size, 1))], axis=2).astype(np.float32) / 255
        whole = paste_cube_map(
            CubeMap(coords, np.ones((size, size), np.float32), crop.inside, crop.image_from_map),
            48,
            64,
        )
        inner = np.s_[9:37, 17:44]
        assert whole.mask[inner].all()
        assert np.abs(whole.coords[inner] - image[inner] / 255).max() < 1e-5


@pytest.mark.parametrize(("region", "size"), PLACES)
def test_pasting_equals_the_slow_reference(region, size):
    """Interpolation weighted by the mask, at every pixel of the picture."""
    rng = np.random.default_rng(size)
    values = rng.uniform(0, 1, (size, size, 4)).astype(np.float32)
    mask = rng.uniform(0, 1, (size, size)) < 0.7
    affine = region_affine(region, size)
    pasted = paste_cube_map(CubeMap(values[..., :3], values[..., 3], mask, affine), 30, 40)
    left, top = affine[:, 2]
    for row in range(0, 30, 3):
        for column in range(0, 40, 3):
            x, y = ((column + 0.5 - left) / affine[0, 0], (row + 0.5 - top) / affine[1, 1])
            found = [*pasted.coords[row, column], pasted.confidence[row, column]]
            share = bilinear(mask.astype(float), x, y)
            if not (0 <= x <= size and 0 <= y <= size) or share < 1e-9:
                assert not pasted.mask[row, column]
                assert found == [0, 0, 0, 0]
                continue
            if abs(share - 0.5) > 1e-5:
                assert pasted.mask[row, column] == (share > 0.5)
            expected = bilinear(values * mask[..., None], x, y) / share
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pasting_at_the_same_place_is_a_copy():
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 1, (6, 7, 4)).astype(np.float32)
    mask = rng.uniform(0, 1, (6, 7)) < 0.6
    affine = np.array([[1.0, 0, 3], [0, 1, 2]])
    pasted = paste_cube_map(CubeMap(values[..., :3], values[..., 3], mask, affine), 11, 12)
    part = np.s_[2:8, 3:10]
    expected = np.zeros((11, 12), bool)
    expected[part] = mask
    np.testing.assert_array_equal(pasted.mask, expected)
    np.testing.assert_array_equal(pasted.coords[expected], values[mask][:, :3])
    np.testing.assert_array_equal(pasted.confidence[expected], values[mask][:, 3])


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30, 7.0])
def test_what_lies_beside_the_head_does_not_leak_in(garbage):
    mask = np.hypot(*(np.indices((20, 20)) - 9.5)) < 6
    coords = np.where(mask[..., None], np.float32((0.2, 0.5, 0.7)), np.float32(garbage))
    confidence = np.where(mask, np.float32(0.9), np.float32(garbage))
    affine = region_affine(Square((16.0, 16.0), 28.0), 20)
    pasted = paste_cube_map(CubeMap(coords, confidence, mask, affine), 32, 32)
    assert 0.9 < pasted.mask.sum() / (mask.sum() * 1.4**2) < 1.1
    shown = np.broadcast_to((0.2, 0.5, 0.7), (pasted.mask.sum(), 3))
    np.testing.assert_allclose(pasted.coords[pasted.mask], shown, atol=1e-6)
    np.testing.assert_allclose(pasted.confidence[pasted.mask], 0.9, atol=1e-6)
    assert np.isfinite(pasted.coords).all()
    assert np.isfinite(pasted.confidence).all()


def test_maps_need_not_be_square():
    affine = np.array([[0.5, 0, 4], [0, 2.0, -3]])
    pasted = paste_cube_map(map_of(affine, 8, 30), 20, 25)
    place = centers(np.eye(2, 3), 20, 25)
    covered = (place > (4, -3)).all(axis=-1) & (place < (19, 13)).all(axis=-1)
    np.testing.assert_array_equal(pasted.mask, covered)
    inner = np.s_[0:11, 5:18]
    expected = linear(place[..., 0], place[..., 1])[inner][..., :3]
    np.testing.assert_allclose(pasted.coords[inner], expected, atol=1e-5)


def test_pasted_map_has_the_picture_s_shape_and_types():
    for center in ((5.0, 5.0), (-90.0, 5.0)):
        affine = region_affine(Square(center, 8.0), 8)
        pasted = paste_cube_map(map_of(affine, 8, 8), 10, 14)
        assert pasted.mask.any() == (center[0] > 0)
        for array, shape, dtype in (
            (pasted.coords, (10, 14, 3), np.float32),
            (pasted.confidence, (10, 14), np.float32),
            (pasted.mask, (10, 14), np.bool_),
        ):
            assert array.shape == shape
            assert array.dtype == dtype
        np.testing.assert_array_equal(pasted.image_from_map, np.eye(2, 3))


@pytest.mark.parametrize(
    "affine",
    [
        [[1, 0.1, 0], [0, 1, 0]],
        [[1, 0, 0], [0.1, 1, 0]],
        [[-1, 0, 9], [0, 1, 0]],
        [[1, 0, 0], [0, 0, 0]],
        [[np.nan, 0, 0], [0, 1, 0]],
    ],
)
def test_turned_and_mirrored_maps_are_refused(affine):
    square = map_of(np.eye(2, 3), 8, 8)
    turned = CubeMap(square.coords, square.confidence, square.mask, np.array(affine, float))
    with pytest.raises(ValueError, match="axis-aligned"):
        paste_cube_map(turned, 8, 8)


def test_empty_map():
    found = empty_cube_map(3, 5)
    assert found.coords.shape == (3, 5, 3)
    assert found.coords.dtype == found.confidence.dtype == np.float32
    assert found.mask.shape == found.confidence.shape == (3, 5)
    assert found.mask.dtype == np.bool_
    assert not found.mask.any()
    np.testing.assert_array_equal(found.image_from_map, np.eye(2, 3))
