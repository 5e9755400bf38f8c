"""Regions by place: the vote, the look-up and what is shipped."""

import numpy as np
import pytest

from mvs.canonical import parts
from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.parts import (
    build_region_volume,
    look_up,
    region_of,
    segment,
    write_region_volume,
)
from mvs.canonical.regions import REGIONS
from mvs.types import CubeMap

SKIN, EYE, NOSE, LIP, EAR, HAIR, NECK = (
    REGIONS.index(name) for name in ("skin", "eye", "nose", "lip", "ear", "hair", "neck")
)
HAT, CLOTH = REGIONS.index("hat"), REGIONS.index("cloth")
GLASSES = REGIONS.index("glasses")


def ball(n=60_000, seed=0):
    """Places on a sphere, and regions: neck below, hair above, ears at the sides, else skin."""
    points = np.random.default_rng(seed).normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    regions = np.full(n, SKIN, np.uint8)
    regions[points[:, 1] > 0.4] = HAIR
    regions[points[:, 1] < -0.5] = NECK
    regions[(np.abs(points[:, 0]) > 0.93) & (regions == SKIN)] = EAR
    return (0.5 + 0.4 * points).astype(np.float32), regions


def test_the_volume_gives_the_voters_labels_back():
    coords, regions = ball()
    volume = build_region_volume([(coords[::2], regions[::2]), (coords[1::2], regions[1::2])], 32)
    assert volume.shape == (32, 32, 32)
    assert volume.dtype == np.uint8
    other, true = ball(5000, seed=1)
    assert (look_up(volume, other) == true).mean() > 0.93


def test_one_side_speaks_for_both():
    coords, regions = ball()
    left = coords[:, 0] > 0.5
    volume = build_region_volume([(coords[left], regions[left])], 32)
    np.testing.assert_array_equal(volume, volume[::-1])
    other, true = ball(5000, seed=1)
    assert (look_up(volume, other) == true).mean() > 0.93


def test_places_nobody_voted_for_take_the_nearest_label():
    coords, regions = ball()
    volume = build_region_volume([(coords, regions)], 32)
    assert look_up(volume, np.array([[0.5, 1.0, 0.5], [0.5, 0.0, 0.5]])).tolist() == [HAIR, NECK]
    assert set(np.unique(volume)) == {SKIN, HAIR, NECK, EAR}


@pytest.mark.parametrize(
    ("worn", "share", "wins"),
    [(GLASSES, 0.6, False), (GLASSES, 0.95, True), (HAT, 0.95, False)],
)
def test_glasses_win_only_where_nearly_all_wear_them_and_hats_never(worn, share, wins):
    rng = np.random.default_rng(0)
    coords = np.full((400, 3), 0.5, np.float32)
    regions = np.where(rng.random(400) < share, worn, HAIR).astype(np.uint8)
    assert (build_region_volume([(coords, regions)], 8) == (worn if wins else HAIR)).all()


def test_cloth_and_background_have_no_vote():
    coords = np.full((100, 3), 0.5, np.float32)
    regions = np.array([CLOTH] * 50 + [0] * 40 + [SKIN] * 10, np.uint8)
    assert (build_region_volume([(coords, regions)], 8) == SKIN).all()
    with pytest.raises(ValueError, match="votes of a head's region"):
        build_region_volume([(coords[:90], regions[:90])], 8)


def test_labels_without_a_name_are_refused():
    with pytest.raises(ValueError, match="regions must be below"):
        build_region_volume([(np.zeros((1, 3), np.float32), np.array([99], np.uint8))], 8)


def test_the_shipped_volume_knows_the_face():
    places = landmark_positions()
    lids = {"right": slice(36, 42), "left": slice(42, 48)}
    for lid in lids.values():
        assert region_of(places[lid].mean(axis=0, keepdims=True))[0] == EYE
    assert region_of(places[30:31])[0] == NOSE
    lips = (places[[48, 54]] + places[[60, 64]]) / 2
    assert (region_of(np.vstack([lips, places[[50, 52, 57]]])) == LIP).mean() >= 0.6
    cheeks = (places[[2, 14]] + places[[31, 35]]) / 2
    chin = places[8] + np.array([0, 0.02, 0])
    assert (region_of(np.vstack([cheeks, chin]).astype(np.float32)) == SKIN).all()
    others = np.array([[0.5, 0.97, 0.45], [0.27, 0.6, 0.43], [0.73, 0.6, 0.43], [0.5, 0.3, 0.6]])
    assert region_of(others).tolist() == [HAIR, EAR, EAR, NECK]


def test_the_shipped_volume_is_small_and_symmetric():
    file = parts._SHIPPED
    assert file.stat().st_size < 100_000
    places = np.random.default_rng(0).random((20_000, 3))
    mirrored = places * [-1, 1, 1] + [1, 0, 0]
    assert (region_of(places) == region_of(mirrored)).mean() > 0.99
    assert not np.isin(region_of(places), [0, CLOTH]).any()


def test_segment_keeps_to_the_mask():
    coords = np.tile(landmark_positions()[30], (4, 5, 1)).astype(np.float32)
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:] = True
    coords[1, 2] = np.nan
    labels = segment(CubeMap(coords, mask.astype(np.float32), mask, np.eye(2, 3)))
    expected = np.where(mask, NOSE, 0)
    expected[1, 2] = 0
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)


def test_places_outside_the_cube_and_wrong_shapes():
    far, rim = np.array([[0.5, 9.0, 0.45]]), np.array([[0.5, 0.9999, 0.45]])
    assert region_of(far) == region_of(rim)
    assert region_of(np.zeros((0, 3), np.float32)).shape == (0,)
    with pytest.raises(ValueError, match=r"coords must be \(N, 3\)"):
        region_of(np.zeros((2, 2), np.float32))


def test_a_volume_of_other_regions_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "regions.npz"
    volume = build_region_volume([ball()], 8)
    write_region_volume(path, volume)
    monkeypatch.setattr(parts, "_SHIPPED", path)
    parts.region_volume.cache_clear()
    try:
        places, _ = ball(100)
        np.testing.assert_array_equal(region_of(places), look_up(volume, places))
        parts.region_volume.cache_clear()
        np.savez(path, labels=volume, regions=np.array(REGIONS[::-1]))
        with pytest.raises(ValueError, match="made for other regions"):
            region_of(places)
    finally:
        parts.region_volume.cache_clear()
