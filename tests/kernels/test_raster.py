import numba
import numpy as np
import pytest

from mvs.kernels.raster import rasterise, vertex_normals
from tests.reference import raster as slow

ONE = np.array([[0, 1, 2]], np.int32)


def soup(n_faces, seed, size=(24, 32)):
    """Triangles anywhere in and around a picture; some vertices lie behind the camera."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((-12, -12), (size[1] + 12, size[0] + 12), (3 * n_faces, 2))
    depths = rng.uniform(0.4, 4.0, 3 * n_faces)
    depths[rng.random(len(depths)) < 0.03] *= -1
    return pixels, depths, rng.permutation(3 * n_faces).reshape(-1, 3).astype(np.int32)


def ball(rows=24, columns=40, radius=0.8, distance=3.0):
    """A closed sphere in front of the camera: positions and counter-clockwise faces."""
    polar = np.linspace(0, np.pi, rows + 1)[:, None]
    turn = np.arange(columns) * 2 * np.pi / columns + 0.01
    unit = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn]
    i, j = (k.ravel() for k in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    a, b = i * columns + j, i * columns + (j + 1) % columns
    faces = np.concatenate([np.stack([a, a + columns, b], 1), np.stack([b, a + columns, b], 1)])
    faces[len(a) :, 2] = b + columns
    unit = np.stack(unit, -1).reshape(-1, 3)
    return radius * unit + [0.1, -0.05, distance], faces.astype(np.int32), unit


def project(points, focal=90.0, center=(30.3, 25.7)):
    return points[:, :2] / points[:, 2:] * focal + center, points[:, 2]


def assert_same(buffers, expected):
    face, weights, depth = expected
    np.testing.assert_array_equal(buffers.face, face)
    np.testing.assert_allclose(buffers.barycentric, weights, atol=2e-6)
    np.testing.assert_allclose(buffers.depth, depth, rtol=2e-6)


@pytest.mark.parametrize("cull_back", [True, False])
@pytest.mark.parametrize(("n_faces", "seed"), [(1, 0), (3, 1), (12, 2), (60, 3), (60, 4)])
def test_equals_the_slow_reference(n_faces, seed, cull_back):
    pixels, depths, faces = soup(n_faces, seed)
    buffers = rasterise(pixels, depths, faces, (24, 32), cull_back)
    assert_same(buffers, slow.rasterise(pixels, depths, faces, (24, 32), cull_back))
    assert buffers.face.dtype == np.int32
    assert buffers.barycentric.dtype == buffers.depth.dtype == np.float32
    if n_faces == 60:
        assert len(np.unique(buffers.face)) > 12


def test_nothing_is_written_where_nothing_is_seen():
    buffers = rasterise(*soup(3, 1), (24, 32), False)
    empty = buffers.face < 0
    assert empty.any()
    assert not empty.all()
    assert np.isinf(buffers.depth[empty]).all()
    assert not buffers.barycentric[empty].any()
    np.testing.assert_allclose(buffers.barycentric[~empty].sum(axis=1), 1, atol=1e-6)


def test_positions_are_those_the_pixel_centres_look_at():
    points = np.array([[-0.6, -0.5, 0.8], [-0.2, 2.4, 3.5], [3.0, -1.4, 4.0]])
    pixels, depths = project(points)
    buffers = rasterise(pixels, depths, ONE, (60, 80), False)
    rows, columns = np.nonzero(buffers.face == 0)
    assert len(rows) > 1000
    seen = buffers.barycentric[rows, columns].astype(float) @ points
    np.testing.assert_allclose(
        project(seen)[0], np.column_stack([columns, rows]) + 0.5, rtol=0, atol=1e-3
    )
    np.testing.assert_allclose(buffers.depth[rows, columns], seen[:, 2], rtol=1e-6)
    # Weights that are linear in the picture are far off on this slanted triangle.
    flat = np.linalg.solve(
        np.column_stack([pixels, np.ones(3)]).T, np.stack([columns + 0.5, rows + 0.5, 0 * rows + 1])
    )
    assert np.abs(flat.T - buffers.barycentric[rows, columns]).max() > 0.2


def test_a_pixel_belongs_to_a_triangle_by_its_centre():
    pixels = np.array([[2.45, 1.45], [2.45, 3.55], [5.55, 1.45]])
    face = rasterise(pixels, np.ones(3), ONE, (6, 8)).face
    expected = np.full((6, 8), -1)
    expected[1, 2:5] = expected[2, 2:4] = expected[3, 2] = 0
    np.testing.assert_array_equal(face, expected)


def test_backs_are_culled():
    points, faces, _ = ball()
    pixels, depths = project(points)
    seen = rasterise(pixels, depths, faces, (50, 60))
    both = rasterise(pixels, depths, faces, (50, 60), False)
    inside = rasterise(pixels, depths, faces[:, ::-1], (50, 60))
    disc = seen.face >= 0
    assert disc.sum() == pytest.approx(np.pi * (90 * 0.8 / np.sqrt(9 - 0.64)) ** 2, rel=0.02)
    # From outside the backs are hidden anyhow; inside out, the far half is what remains.
    np.testing.assert_array_equal(both.face, seen.face)
    np.testing.assert_array_equal(both.depth, seen.depth)
    np.testing.assert_array_equal(inside.face >= 0, disc)
    assert (inside.depth[disc] >= seen.depth[disc]).all()
    assert inside.depth[25, 30] - seen.depth[25, 30] == pytest.approx(1.6, rel=0.02)


def wobbly_grid(seed=0, n=9, size=40.0):
    """A triangulated square whose inner vertices are moved at random."""
    rng = np.random.default_rng(seed)
    y, x = (k.ravel().astype(float) for k in np.meshgrid(*[np.linspace(-2, size + 2, n)] * 2))
    inner = (x > 0) & (x < size) & (y > 0) & (y < size)
    x, y = x + inner * rng.uniform(-1.5, 1.5, n * n), y + inner * rng.uniform(-1.5, 1.5, n * n)
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n - 1), np.arange(n - 1)))
    a = i * n + j
    faces = np.concatenate([np.stack([a, a + n, a + 1], 1), np.stack([a + 1, a + n, a + n + 1], 1)])
    return np.column_stack([x, y]), rng.uniform(1, 3, n * n), faces.astype(np.int32)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_cover_each_pixel_once(seed):
    pixels, depths, faces = wobbly_grid(seed)
    count = np.zeros((40, 40), int)
    for face in faces:
        count += rasterise(pixels, depths, face[None], (40, 40), False).face >= 0
    np.testing.assert_array_equal(count, 1)


def square_with_a_seam(corner, other):
    """Two triangles that share the edge x = 5.5, through the pixel centres of column 5."""
    pixels = np.array([[5.5, 0.0], [5.5, 11.0], corner, other])
    return pixels, np.array([[0, 1, 2], [1, 0, 3]], np.int32)


@pytest.mark.parametrize(("corner", "other"), [((6.0, 0.0), (0.0, 0.0)), ((11.0, 3.0), (0.0, 7.0))])
def test_no_gap_where_pixel_centres_lie_on_a_shared_edge(corner, other):
    pixels, faces = square_with_a_seam(corner, other)
    # All six turns of the two faces: none may leave a gap.
    for turn in range(3):
        for other_turn in range(3):
            turned = np.stack([np.roll(faces[0], turn), np.roll(faces[1], other_turn)])
            face = rasterise(pixels, np.ones(4), turned, (11, 12), False).face
            assert (face[:, 5] >= 0).all()


def test_what_lies_outside_does_not_matter():
    pixels, depths, faces = soup(60, 7, (48, 64))
    whole = rasterise(pixels, depths, faces, (48, 64), False)
    part = rasterise(pixels - [21, 13], depths, faces, (20, 30), False)
    np.testing.assert_array_equal(part.face, whole.face[13:33, 21:51])
    np.testing.assert_allclose(part.depth, whole.depth[13:33, 21:51], rtol=1e-6)
    np.testing.assert_allclose(part.barycentric, whole.barycentric[13:33, 21:51], atol=1e-5)


def test_triangles_around_and_beside_the_picture():
    around = np.array([[-1e4, -1e4], [-1e4, 3e4], [3e4, -1e4]])
    buffers = rasterise(around, np.array([1.0, 2.0, 3.0]), ONE, (9, 7))
    assert (buffers.face == 0).all()
    for shift in ((-200, 0), (200, 0), (0, -200), (0, 200)):
        beside = np.array([[1.0, 1], [1, 6], [6, 1]]) + shift
        assert (rasterise(beside, np.ones(3), ONE, (9, 7)).face == -1).all()
    # A corner of the picture cut off, at each of its corners.
    for x in (0.0, 7.0):
        for y in (0.0, 9.0):
            cut = np.array([[x - 3.2, y], [x + 3.2, y], [x, y - 3.2], [x, y + 3.2]])
            faces = np.array([[0, 1, 2], [0, 3, 1]], np.int32)
            face = rasterise(cut, np.ones(4), faces, (9, 7), False).face
            # Centres half, one and a half and two and a half pixels from the corner.
            assert (face >= 0).sum() == 6


@pytest.mark.parametrize(
    "bad",
    [
        [[3.0, 3], [9, 9], [6, 6]],
        [[3.0, 3], [3, 3], [9, 3]],
        [[3.0, 3]] * 3,
        [[np.nan, 3], [3, 9], [9, 3]],
        [[np.nan] * 2] * 3,
    ],
)
def test_degenerate_faces_draw_nothing(bad):
    good = np.array([[1.0, 1], [1, 11], [11, 1]])
    pixels = np.concatenate([np.array(bad), good])
    faces = np.array([[0, 1, 2], [3, 4, 5], [0, 2, 1], [3, 3, 4]], np.int32)
    depths = np.array([0.5] * 3 + [1.0, 2.0, 3.0])
    buffers = rasterise(pixels, depths, faces, (12, 12), False)
    alone = rasterise(good, depths[3:], ONE, (12, 12), False)
    np.testing.assert_array_equal(buffers.face >= 0, alone.face >= 0)
    assert set(np.unique(buffers.face)) == {-1, 1}
    np.testing.assert_array_equal(buffers.depth, alone.depth)
    np.testing.assert_array_equal(buffers.barycentric, alone.barycentric)


@pytest.mark.parametrize("depth", [0.0, -1.0, -np.inf, np.nan])
def test_faces_not_wholly_ahead_are_skipped(depth):
    pixels = np.array([[1.0, 1], [1, 11], [11, 1]])
    for vertex in range(3):
        depths = np.ones(3)
        depths[vertex] = depth
        assert (rasterise(pixels, depths, ONE, (12, 12), False).face == -1).all()


def test_empty_input():
    none = np.zeros((0, 3), np.int32)
    for pixels in (np.zeros((0, 2)), np.ones((4, 2))):
        buffers = rasterise(pixels, np.ones(len(pixels)), none, (5, 6))
        assert buffers.face.shape == buffers.depth.shape == (5, 6)
        assert buffers.barycentric.shape == (5, 6, 3)
        assert (buffers.face == -1).all()
    assert rasterise(*soup(3, 0), (0, 0)).face.shape == (0, 0)


def test_bad_shapes():
    pixels, depths, faces = soup(2, 0)
    with pytest.raises(ValueError, match=r"pixels \(V, 2\)"):
        rasterise(pixels[:, :1], depths, faces, (5, 5))
    with pytest.raises(ValueError, match=r"depths \(V,\)"):
        rasterise(pixels, depths[:-1], faces, (5, 5))
    with pytest.raises(ValueError, match=r"faces must be \(F, 3\)"):
        rasterise(pixels, depths, faces[:, :2], (5, 5))


@pytest.mark.parametrize(
    "depth",
    [
        1.0,
        0.7,
        0.1,
    ],
)
def test_ties_go_to_the_lowest_index(depth):
    pixels = np.array([[1.0, 1], [1, 11], [11, 1]])
    face = rasterise(pixels, np.full(3, depth), np.repeat(ONE, 3, axis=0), (12, 12)).face
    assert set(np.unique(face)) == {-1, 0}


def test_order_of_faces_and_corners_does_not_matter():
    pixels, depths, faces = soup(60, 5)
    plain = rasterise(pixels, depths, faces, (24, 32), False)
    order = np.random.default_rng(0).permutation(len(faces))
    turned = rasterise(pixels, depths, np.roll(faces[order], 1, axis=1), (24, 32), False)
    found = np.where(turned.face >= 0, order[turned.face], -1)
    np.testing.assert_array_equal(found, plain.face)
    np.testing.assert_allclose(
        np.roll(turned.barycentric, -1, axis=2), plain.barycentric, atol=1e-6
    )


def test_types_and_layouts_do_not_matter():
    pixels, depths, faces = soup(20, 6)
    pixels, depths = pixels.astype(np.float32), depths.astype(np.float32)
    plain = rasterise(pixels.astype(float), depths.astype(float), faces, (24, 32), False)
    other = rasterise(
        np.asfortranarray(pixels), depths, np.asfortranarray(faces, np.int64), (24, 32), False
    )
    for name in ("face", "barycentric", "depth"):
        assert getattr(plain, name).tobytes() == getattr(other, name).tobytes()


def test_threads_change_no_bit():
    points, faces, _ = ball()
    results = []
    for n_threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(n_threads)
        results.append(
            (rasterise(*project(points), faces, (50, 60)), vertex_normals(points, faces))
        )
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for name in ("face", "barycentric", "depth"):
        assert getattr(results[0][0], name).tobytes() == getattr(results[1][0], name).tobytes()
    assert results[0][1].tobytes() == results[1][1].tobytes()


def test_normals_are_means_weighted_by_area():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(30, 3)).astype(np.float32)
    faces = rng.integers(0, 29, (50, 3)).astype(np.int32)
    expected = np.zeros((30, 3))
    for a, b, c in faces:
        normal = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a], axis=0)
        for corner in (a, b, c):
            expected[corner] += normal
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-9)
    expected[29] = (0, 0, 1)  # touched by no face
    np.testing.assert_allclose(vertex_normals(vertices, faces), expected, atol=1e-5)


def test_normals_of_a_sphere_point_outwards():
    points, faces, unit = ball(40, 60)
    middle = np.abs(unit[:, 2]) < 0.98  # at the poles vertices coincide
    normals = vertex_normals(points, faces)
    assert (normals * unit).sum(axis=1)[middle].min() > np.cos(np.deg2rad(0.5))
    flipped = vertex_normals(points, faces[:, ::-1])
    np.testing.assert_allclose(flipped[middle], -normals[middle], atol=1e-6)
    assert len(vertex_normals(points[:0], faces[:0])) == 0
