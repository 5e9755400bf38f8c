"""The sheet: its size, its columns, and what the warp puts where."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mvs.canonical.parts import segment
from mvs.canonical.regions import REGIONS
from mvs.evaluation.follow import embed_unmasked
from mvs.evaluation.sheet import (
    SheetOptions,
    check_sheet_path,
    draw_sheet,
    spread_views,
    warp_picture,
    write_sheet,
)
from mvs.evaluation.tiles import BLANK, PART_COLORS, SheetView, Tile, draw_parts
from mvs.types import CubeMap
from tests.evaluation.ball_embedder import BallEmbedder
from tests.evaluation.captures import setting, write_ball

SMALL = SheetOptions(tile=64, n_views=3)
SCENE = setting(7)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    ball = write_ball(tmp_path_factory.mktemp("ball"), SCENE)
    return embed_unmasked(ball, BallEmbedder(scene=SCENE))


@pytest.fixture(scope="module")
def views(embedded):
    return spread_views(embedded, [f"{k}.png" for k in range(7)], 3)


def plane(height=40, width=50, left=10):
    """A square of slanted coordinates in a picture of random colours."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    coords = np.stack([x / 64, 1 - y / 64, 0.3 + x / 200], axis=-1).astype(np.float32)
    mask = (x >= left) & (x < left + 20) & (y >= 8) & (y < 28)
    return rng.integers(60, 255, (height, width, 3), np.uint8), coords, mask


def test_the_size_is_that_of_rows_and_columns(views):
    sheet = draw_sheet(views, SMALL)
    # picture, u v w, confidence, mask, parts, landmarks, warped, next
    assert sheet.shape == (48 + 3 * 68, 8 * 68 - 4, 3)
    assert sheet.dtype == np.uint8
    assert draw_sheet(views[:1], SMALL).shape == (48 + 68, 6 * 68 - 4, 3)


def test_normals_have_a_column_where_there_are_any(views):
    maps = [replace(v.cube_map, normals=np.zeros_like(v.cube_map.coords)) for v in views]
    some = [replace(v, cube_map=m) for v, m in zip(views, maps, strict=True)]
    assert draw_sheet([some[0], *views[1:]], SMALL).shape[1] == 9 * 68 - 4


def test_the_same_views_give_the_same_sheet(views):
    before = [view.image.copy() for view in views]
    assert np.array_equal(draw_sheet(views, SMALL), draw_sheet(views, SMALL))
    assert all(np.array_equal(a, view.image) for a, view in zip(before, views, strict=True))


def test_coordinates_are_drawn_as_colours(views):
    sheet = draw_sheet(views, SMALL)
    tile = sheet[24 : 24 + 64, 68 : 68 + 64]
    view = Tile.of(views[0], 64, SMALL.margin)
    middle = view.coords[32, 32]
    assert np.abs(tile[32, 32] - 255.0 * middle).max() <= 1
    assert (tile[0, 0] == BLANK).all()


def test_the_crop_is_around_the_mask(views):
    for view in views:
        tile = Tile.of(view, 64, 1.25)
        rows, columns = np.nonzero(tile.mask)
        assert np.ptp(columns) == pytest.approx(64 / 1.25, abs=3)
        assert (rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=2)
        # The map and the picture agree on where things are.
        at = np.array([[32.0, 32.0]])
        image = np.linalg.inv(np.vstack([tile.tile_from_image, [0, 0, 1]]))
        on_image = at @ image[:2, :2].T + image[:2, 2]
        affine = view.cube_map.image_from_map
        column, row = ((on_image[0] - affine[:, 2]) / np.diag(affine)).astype(int)
        assert np.allclose(tile.coords[32, 32], view.cube_map.coords[row, column], atol=0.02)


def test_parts_have_their_colours(views):
    tile = Tile.of(views[0], 64, 1.2)
    labels = segment(CubeMap(tile.coords, tile.confidence, tile.mask, np.eye(2, 3)))
    assert len(PART_COLORS) == len(REGIONS) == len({tuple(c) for c in PART_COLORS.tolist()})
    assert np.array_equal(
        draw_parts(tile), np.where(tile.mask[..., None], PART_COLORS[labels], BLANK)
    )


def test_a_picture_warped_to_itself_stays():
    image, coords, mask = plane()
    warped = warp_picture(image, (coords, mask), (coords, mask), 0.001)
    assert np.array_equal(warped[mask], image[mask])
    assert (warped[~mask] == BLANK).all()


def test_a_warp_moves_colours_with_their_coordinates():
    image, coords, mask = plane()
    shifted, moved = np.roll(coords, (3, 5), (0, 1)), np.roll(mask, (3, 5), (0, 1))
    warped = warp_picture(image, (coords, mask), (shifted, moved), 0.001)
    assert np.array_equal(warped, np.where(moved[..., None], np.roll(image, (3, 5), (0, 1)), BLANK))


def test_where_no_coordinate_is_near_the_warp_is_blank():
    """The target shows ten columns that the source does not: one column is 1/64 or more apart."""
    image, coords, mask = plane()
    wider = mask | np.roll(mask, 10, axis=1)
    warped = warp_picture(image, (coords, mask), (coords, wider), 0.01)
    assert np.array_equal(warped[mask], image[mask])
    assert (warped[wider & ~mask] == BLANK).all()
    assert (warp_picture(image, (coords, mask & False), (coords, mask), 1.0) == BLANK).all()


def test_views_are_spread_and_walked_around(embedded):
    names = [f"{k}.png" for k in range(7)]
    three = [view.name for view in spread_views(embedded, names, 3)]
    assert sorted((three, three[::-1]))[0] == ["0.png", "3.png", "6.png"]
    every = [int(view.name[0]) for view in spread_views(embedded, names, 20)]
    assert sorted((every, every[::-1]))[0] == list(range(7))


def test_views_without_a_head_are_left_out(embedded, views):
    maps = list(embedded.cube_maps)
    maps[3] = replace(maps[3], mask=np.zeros_like(maps[3].mask))
    less = spread_views(replace(embedded, cube_maps=tuple(maps)), [str(k) for k in range(7)], 20)
    assert {view.name for view in less} == set("012456")
    empty = SheetView("none", views[0].image, maps[3])
    assert draw_sheet([*views, empty], SMALL).shape == draw_sheet(views, SMALL).shape
    with pytest.raises(ValueError, match="no head"):
        draw_sheet([empty], SMALL)


def test_sheets_are_written_as_pictures(tmp_path):
    sheet = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    write_sheet(tmp_path / "new" / "sheet.png", sheet)
    assert np.array_equal(cv2.imread(str(tmp_path / "new" / "sheet.png"))[..., ::-1], sheet)
    write_sheet(tmp_path / "sheet.JPG", sheet)
    assert cv2.imread(str(tmp_path / "sheet.JPG")).shape == sheet.shape
    with pytest.raises(ValueError, match=r"sheet\.gif"):
        check_sheet_path(tmp_path / "sheet.gif")


@pytest.mark.parametrize(
    "bad", [{"tile": 8}, {"n_views": 0}, {"margin": 0.5}, {"max_cube_distance": 0.0}]
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SheetOptions(**bad)
