import numpy as np
import pytest

from mvs.kernels.patches import Reference, Sources, make_patch, pack_pairs, unpack_pairs
from mvs.kernels.patchmatch import propagate, score_planes
from mvs.kernels.sharpen import sharpen

SIZE = 64
PATCH = make_patch(3, 1, spread=2.5, contrast=0.35, n_best=2, noise=0.005, smoothness=0.01)
NO_CUBE = np.zeros((0, 0, 3), np.float32)
FOCAL = 480.0
K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1.0]])
# A slanted plane in front of the reference camera: normal . X = 1.
NORMAL = np.array([0.12, -0.08, 0.9])


def texture(points, bald=0.0):
    """Brightness of places in space, smooth on the scale of a pixel; constant near the axis."""
    waves = 4 * np.array([[31.0, 7, 3], [5, 37, 11], [-19, 23, 5], [41, -29, 2]])
    away = np.clip(np.hypot(points[..., 0], points[..., 1]) / 0.005 - bald / 0.005, 0, 1)
    return 0.5 + 0.1 * away * np.sin(points @ waves.T + np.arange(4)).sum(axis=-1)


def poses():
    """Rotations and centres of the reference and three sources."""
    turns = [np.eye(3)]
    for angle in (0.25, -0.2, -0.3):
        c, s = np.cos(angle), np.sin(angle)
        turns.append(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]))
    centers = [np.zeros(3), [0.28, 0.02, 0.0], [-0.22, 0.03, 0.02], [-0.33, -0.02, 0.04]]
    return list(zip(turns, map(np.array, centers), strict=True))


def picture(rotation, center, bald=-1.0):
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T @ rotation
    along = (1 - NORMAL @ center) / (rays @ NORMAL)
    return texture(center + along[..., None] * rays, bald).astype(np.float32)


def pack(pictures):
    return np.stack([pack_pairs(picture).ravel() for picture in pictures])


def unpack(sources):
    return np.stack([unpack_pairs(pairs).reshape(SIZE, SIZE) for pairs in sources.pairs])


def make_world(bald=-1.0):
    """Reference picture, sources and the true planes."""
    (_, _), *others = poses()
    pictures = [picture(*pose, bald) for pose in poses()]
    rotations = np.stack([K @ turn @ np.linalg.inv(K) for turn, _ in others])
    translations = np.stack([-K @ turn @ center for turn, center in others])
    sizes = np.full((3, 2), SIZE, np.int32)
    gradient = NORMAL @ np.linalg.inv(K)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    true = np.empty((SIZE, SIZE, 3))
    true[..., 0] = gradient[0] * x + gradient[1] * y + gradient[2]
    true[..., 1:] = gradient[:2]
    none = np.zeros((1, 0, 0, 3), np.float32)
    sources = Sources(
        pack(pictures[1:]),
        SIZE,
        sizes,
        rotations,
        translations,
        none,
        none[..., 0],
        np.zeros((1, 4)),
    )
    return pictures[0], sources, true.astype(np.float32)


@pytest.fixture(scope="module")
def world():
    return make_world()


def inner(margin=16):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[margin:-margin, margin:-margin] = True
    return mask


def limits_of(planes, share=0.2):
    inverse = planes[..., 0]
    return np.stack([inverse * (1 - share), inverse * (1 + share)], axis=2).astype(np.float32)


def view(picture, mask, limits, seen=0b111):
    """The reference; every pixel is shown by the sources of the bit set."""
    bits = np.full(mask.shape, seen, np.uint64)
    # Of one layout, for which the kernels are compiled once.
    mask, limits = np.ascontiguousarray(mask), np.ascontiguousarray(limits)
    return Reference(picture, 1, mask, bits, limits, NO_CUBE, NO_CUBE[..., 0])


def project(sources, s, plane, row, column, dx, dy):
    """Where a source shows a place of the plane, from the middle of its first pixel."""
    inverse = plane[0] + plane[1] * dx + plane[2] * dy
    pixel = np.array([column + 0.5 + dx, row + 0.5 + dy, 1.0])
    u, v, w = sources.rotations[s] @ pixel + inverse * sources.translations[s]
    return np.array([u / w - 0.5, v / w - 0.5])


def linear(sources, s, plane, row, column, dx, dy):
    """The same by the derivative in the patch's middle."""
    tiny = 1e-3
    across = project(sources, s, plane, row, column, tiny, 0)
    across -= project(sources, s, plane, row, column, -tiny, 0)
    down = project(sources, s, plane, row, column, 0, tiny)
    down -= project(sources, s, plane, row, column, 0, -tiny)
    middle = project(sources, s, plane, row, column, 0, 0)
    return middle + (across * dx + down * dy) / (2 * tiny)


def slow_cost(reference, sources, plane, row, column, patch, place=linear):
    """1 - ZNCC, mean over the best sources, sample by sample."""
    weighed = patch.near > 0
    samples = list(zip(patch.across[weighed].tolist(), patch.along[weighed].tolist(), strict=True))
    own = np.array([reference[row + dy, column + dx] for dx, dy in samples], float)
    distance = np.array([dx * dx + dy * dy for dx, dy in samples])
    off = (own - reference[row, column]) / patch.contrast
    weight = np.exp(-0.5 * distance / patch.spread**2) / (1 + off**2) ** 2
    costs = []
    for s, image in enumerate(unpack(sources)):
        other = []
        for dx, dy in samples:
            u, v = place(sources, s, plane.astype(float), row, column, dx, dy)
            if not (0 <= u < SIZE - 1 and 0 <= v < SIZE - 1):
                break
            c, r = int(np.floor(u)), int(np.floor(v))
            fx, fy = u - c, v - r
            quad = image[r : r + 2, c : c + 2].astype(float)
            other.append(np.array([1 - fy, fy]) @ quad @ np.array([1 - fx, fx]))
        if len(other) < len(samples):
            costs.append(2.0)
            continue
        a = own - np.average(own, weights=weight)
        b = np.array(other) - np.average(other, weights=weight)
        likeness = (weight * a * b).sum() / np.sqrt((weight * a * a).sum() * (weight * b * b).sum())
        costs.append(1 - likeness)
    return np.mean(sorted(costs)[: patch.n_best])


def test_cost_is_what_a_slow_loop_says(world):
    reference, sources, true = world
    planes = true.copy()
    planes[..., 0] *= 1.02
    mask = inner()
    cost = score_planes(view(reference, mask, limits_of(planes)), sources, planes, PATCH)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(16, SIZE - 16, (25, 2)):
        expected = slow_cost(reference, sources, planes[row, column], row, column, PATCH)
        assert cost[row, column] == pytest.approx(expected, abs=2e-4)
        exact = slow_cost(reference, sources, planes[row, column], row, column, PATCH, project)
        assert cost[row, column] == pytest.approx(exact, abs=3e-3)
    assert (cost[~mask] == 2).all()


def test_the_true_plane_costs_next_to_nothing(world):
    reference, sources, true = world
    cost = score_planes(view(reference, inner(), limits_of(true)), sources, true, PATCH)
    assert np.median(cost[inner()]) < 2e-3
    assert (
        np.median(
            score_planes(
                view(reference, inner(), limits_of(true)), sources, true * np.float32(1.1), PATCH
            )[inner()]
        )
        > 0.1
    )


def test_gain_and_bias_of_a_source_do_not_matter(world):
    reference, sources, true = world
    planes = true * np.float32(1.01)
    before = score_planes(view(reference, inner(), limits_of(planes)), sources, planes, PATCH)
    changed = sources._replace(pairs=pack(unpack(sources) * np.float32(0.6) + np.float32(0.1)))
    after = score_planes(view(reference, inner(), limits_of(planes)), changed, planes, PATCH)
    np.testing.assert_allclose(after[inner()], before[inner()], atol=2e-3)


def parallax_px(found, true):
    """Error as shift in the nearest source, pixels; a unit of inverse depth shifts by f b."""
    return np.abs(found[..., 0] - true[..., 0]) * FOCAL * 0.28


def test_sharpening_reaches_a_hundredth_of_a_pixel(world):
    reference, sources, true = world
    rng = np.random.default_rng(1)
    planes = true.copy()
    planes[..., 0] *= 1 + rng.uniform(-0.02, 0.02, planes.shape[:2])
    planes[..., 1:] = 0
    mask = inner()
    before = np.median(parallax_px(planes, true)[mask])
    for _ in range(6):
        sharpen(view(reference, mask, limits_of(true)), sources, planes, PATCH)
    error = parallax_px(planes, true)[mask]
    assert before > 0.25
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.95) < 0.05
    slope = np.abs(planes[..., 1:] - true[..., 1:])[mask]
    assert np.median(slope) < 0.1 * np.abs(true[0, 0, 1:]).mean()


def test_planes_spread_from_a_few_seeds(world):
    reference, sources, true = world
    rng = np.random.default_rng(2)
    planes = true.copy()
    planes[..., 0] *= 1 + rng.choice([-0.15, 0.15], planes.shape[:2])
    mask = inner()
    planes[20:44:8, 20:44:8] = true[20:44:8, 20:44:8]
    cost = score_planes(view(reference, mask, limits_of(planes)), sources, planes, PATCH)
    for _ in range(8):
        before = cost.copy()
        propagate(view(reference, mask, limits_of(true)), sources, planes, cost, PATCH)
        assert (cost <= before).all()
    assert np.mean(parallax_px(planes, true)[mask] < 0.05) > 0.95


def test_depths_stay_within_their_limits(world):
    reference, sources, true = world
    planes = true * np.float32(1.1)
    limits = limits_of(planes, 0.01)
    mask = inner()
    cost = score_planes(view(reference, mask, limits_of(planes)), sources, planes, PATCH)
    propagate(view(reference, mask, limits), sources, planes, cost, PATCH)
    sharpen(view(reference, mask, limits), sources, planes, PATCH)
    assert (planes[mask][:, 0] >= limits[mask][:, 0]).all()
    assert (planes[mask][:, 0] <= limits[mask][:, 1]).all()


def test_where_there_is_no_texture_neighbours_hold():
    """A disc without texture: its planes come from around it, and nothing is not a number."""
    reference, sources, true = make_world(bald=0.045 / 4)
    assert np.ptp(reference[29:35, 29:35]) == 0
    planes = true.copy()
    planes[26:38, 26:38, 0] *= 1.01
    mask = inner()
    before = np.median(parallax_px(planes, true)[29:35, 29:35])
    for _ in range(60):
        sharpen(view(reference, mask, limits_of(true)), sources, planes, PATCH)
    assert np.isfinite(planes).all()
    assert np.median(parallax_px(planes, true)[29:35, 29:35]) < 0.2 * before


def test_pixels_off_the_mask_stay_as_they_are(world):
    reference, sources, true = world
    planes = true * np.float32(1.01)
    before = planes.copy()
    mask = inner()
    cost = score_planes(view(reference, mask, limits_of(planes)), sources, planes, PATCH)
    sharpen(view(reference, mask, limits_of(true)), sources, planes, PATCH)
    propagate(view(reference, mask, limits_of(true)), sources, planes, cost, PATCH)
    assert np.array_equal(planes[~mask], before[~mask])
    assert (planes[mask] != before[mask]).any()


def test_patches_that_leave_every_source_cost_the_most(world):
    reference, sources, true = world
    far = sources._replace(translations=sources.translations * 50)
    cost = score_planes(view(reference, inner(), limits_of(true)), far, true, PATCH)
    assert (cost == 2).all()
    planes = true.copy()
    sharpen(view(reference, inner(), limits_of(true)), far, planes, PATCH)
    assert np.isfinite(planes).all()


def test_sources_that_do_not_show_a_pixel_have_no_say(world):
    """The third source's picture is noise; where it is not asked, nothing changes."""
    reference, sources, true = world
    pictures = unpack(sources)
    pictures[2] = np.random.default_rng(3).random(pictures[2].shape)
    noisy = sources._replace(pairs=pack(pictures))
    planes = true * np.float32(1.01)
    two = view(reference, inner(), limits_of(true), seen=0b011)
    assert np.array_equal(
        score_planes(two, noisy, planes, PATCH), score_planes(two, sources, planes, PATCH)
    )
    moved, clean = planes.copy(), planes.copy()
    sharpen(two, noisy, moved, PATCH)
    sharpen(two, sources, clean, PATCH)
    assert np.array_equal(moved, clean)
    none = view(reference, inner(), limits_of(true), seen=0)
    assert (score_planes(none, sources, planes, PATCH) == 2).all()


def test_the_cube_coordinates_hold_where_there_is_no_texture():
    """Pictures without any texture: the maps alone bring planes off by pixels to the truth."""
    reference, sources, true = make_world(bald=1.0)
    assert np.ptp(reference) == 0
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    maps = []
    for turn, center in poses():
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T @ turn
        along = (1 - NORMAL @ center) / (rays @ NORMAL)
        maps.append((center + along[..., None] * rays).astype(np.float32))
    trust = np.ones((4, SIZE, SIZE), np.float32)
    with_cube = sources._replace(
        coords=np.stack(maps[1:]), trust=trust[1:], map_from_pixel=np.tile([1.0, 0, 1, 0], (3, 1))
    )
    seen = view(reference, inner(), limits_of(true))._replace(coords=maps[0], trust=trust[0])
    planes = true.copy()
    planes[..., 0] *= 1.02
    before = np.median(parallax_px(planes, true)[inner()])
    assert before > 2
    for _ in range(30):
        sharpen(seen, with_cube, planes, PATCH._replace(cube=0.05))
    assert np.median(parallax_px(planes, true)[inner()]) < 0.05 * before


def test_every_second_pixel_gets_what_all_pixels_get(world):
    """Without neighbours' pull, planes of a sparse grid are those of the same pixels of a full."""
    reference, sources, true = world
    alone = PATCH._replace(smoothness=0.0)
    start = true * np.float32(1.01)
    full, mask = start.copy(), inner()
    sharpen(view(reference, mask, limits_of(true)), sources, full, alone)
    full_cost = score_planes(view(reference, mask, limits_of(true)), sources, full, alone)
    rows = np.s_[1::2, 1::2]
    every = view(reference, mask[rows], limits_of(true)[rows])._replace(stride=2)
    sparse = start[rows].copy()
    sharpen(every, sources, sparse, alone)
    assert (sparse[mask[rows]] != start[rows][mask[rows]]).any()
    np.testing.assert_allclose(sparse[mask[rows]], full[rows][mask[rows]], rtol=1e-5)
    cost = score_planes(every, sources, full[rows].copy(), alone)
    np.testing.assert_array_equal(cost, full_cost[rows])


def test_planes_of_a_sparse_grid_spread_too(world):
    reference, sources, true = world
    rows = np.s_[1::2, 1::2]
    mask, planes = inner()[rows], true[rows].copy()
    planes[..., 0] *= 1 + np.random.default_rng(2).choice([-0.15, 0.15], planes.shape[:2])
    planes[10:22:8, 10:22:8] = true[rows][10:22:8, 10:22:8]
    every = view(reference, mask, limits_of(true)[rows])._replace(stride=2)
    cost = score_planes(every, sources, planes, PATCH)
    for _ in range(8):
        propagate(every, sources, planes, cost, PATCH)
    assert np.mean(parallax_px(planes, true[rows])[mask] < 0.05) > 0.95


def test_packing_keeps_a_picture_to_16_bits():
    picture = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    pairs = pack_pairs(picture)
    np.testing.assert_allclose(unpack_pairs(pairs), picture, atol=0.51 / 65535)
    np.testing.assert_array_equal((pairs >> 16)[:, :-1], (pairs & 0xFFFF)[:, 1:])


def test_a_patch_is_round_and_a_multiple_of_eight():
    for radius, step in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 1)):
        patch = make_patch(radius, step, 2.5, 0.35, 2, 0.02, 0.06)
        samples = set(zip(patch.across.tolist(), patch.along.tolist(), strict=True))
        offsets = range(-(radius // step) * step, radius + 1, step)
        assert samples == {(x, y) for x in offsets for y in offsets if x * x + y * y <= radius**2}
        assert len(patch.near) % 8 == 0
        assert (patch.near > 0).sum() == len(samples)


def test_more_best_sources_than_there_are(world):
    reference, sources, true = world
    planes = true * np.float32(1.01)
    seen = view(reference, inner(), limits_of(planes))
    three = score_planes(seen, sources, planes, PATCH._replace(n_best=3))
    assert np.array_equal(score_planes(seen, sources, planes, PATCH._replace(n_best=9)), three)


@pytest.mark.parametrize("stride", [1, 2])
def test_neighbours_carry_half_their_slope_over(stride):
    """No texture at all, and neighbours on one side only: the pixel is where they want it."""
    reference, sources, true = make_world(bald=1.0)
    rows = np.s_[stride // 2 :: stride, stride // 2 :: stride]
    mask = np.zeros(true[rows].shape[:2], bool)
    mask[12:15, 12] = True
    mask[14, 13] = True
    planes = true[rows].copy()
    planes[14, 12] *= 1.05
    flat = view(reference, mask, limits_of(true)[rows])._replace(stride=stride)
    for _ in range(40):
        held = planes[[12, 13, 14], [12, 12, 13]]
        sharpen(flat, sources, planes, PATCH)
        planes[[12, 13, 14], [12, 12, 13]] = held
    above, right = true[rows][13, 12].astype(float), true[rows][14, 13].astype(float)
    half = 0.5 * stride
    wanted = (above[0] + half * above[2] + right[0] - half * right[1]) / 2
    assert planes[14, 12, 0] == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_allclose(planes[14, 12, 1:], above[1:], rtol=1e-4)
