from dataclasses import replace

import numpy as np
import pytest

from mvs.kernels.raster import vertex_normals
from mvs.synthetic import drawing, shells
from mvs.synthetic.backgrounds import clouds, draw_shape, random_background
from mvs.synthetic.lights import ambient_occlusion, cast_shadow, harmonics
from mvs.synthetic.noise import VOLUME, noise_at
from mvs.synthetic.regions import ear, hair_height, vertex_regions
from mvs.synthetic.scene import build_scene, merge
from tests.scenes import unit_ball
from tests.synthetic.test_people import GLASSES
from tests.synthetic.test_render import HAIR, person_of

SEED = np.float32([3.0, 1.0, 4.0])


def posed_of(studio):
    person = person_of(studio, seed=6)
    return studio.head.pose(person.identity, person.expression)


def ball(radius=8.0, rows=40, columns=60):
    unit, faces = unit_ball(rows, columns)
    unit = unit.astype(np.float32)
    return radius * unit, unit, faces


def test_patches_are_skin_subdivided_once(studio):
    head = studio.head
    for patch in (studio.scalp, studio.shoulders):
        np.testing.assert_array_equal(patch.on(head.template), patch.template)
        part = head.vertex_part[patch.parents]
        assert (part < 2).all()
        whole = patch.parents[:, 0] == patch.parents[:, 1]
        coarse = set(patch.parents[whole, 0])
        inside = [face for face in head.faces if coarse.issuperset(face)]
        assert len(patch.faces) == 4 * len(inside)
        assert patch.faces.max() < len(patch.parents)
        corners = patch.template[patch.faces]
        area = np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        whole_corners = head.template[np.array(inside)]
        before = np.linalg.norm(
            np.cross(
                whole_corners[:, 1] - whole_corners[:, 0], whole_corners[:, 2] - whole_corners[:, 0]
            ),
            axis=1,
        )
        assert area.sum() == pytest.approx(before.sum(), rel=1e-5)
        assert ((patch.normals * patch.template)[:, [0, 2]].sum(axis=1) > -2).all()
    assert not ear(studio.scalp.template[studio.scalp.parents[:, 0] == 0]).any()
    assert studio.scalp.template[:, 1].max() > 13
    assert studio.shoulders.template[:, 1].max() < -7


@pytest.mark.parametrize("kind", ["hair", "long hair", "hat", "shirt"])
def test_shells_move_with_the_skin_below(studio, kind):
    """Position minus skin is canonical position minus template skin."""
    posed = posed_of(studio)
    patch = studio.shoulders if kind == "shirt" else studio.scalp
    if kind == "hat":
        shell = shells.put_hat(patch, posed, 6.0, 0.1, 0.8)
    elif kind == "shirt":
        shell = shells.dress(patch, posed, -9.0, 0.5, SEED)
    else:
        style = HAIR if kind == "long hair" else replace(HAIR, length=0.0)
        shell = shells.grow_hair(patch, posed, style, SEED)
    n = len(patch.parents)
    offset = shell.vertices[:n] - patch.on(posed)
    np.testing.assert_allclose(offset, shell.canonical[:n] - patch.template, atol=5e-6)
    assert np.abs(patch.on(posed) - patch.template).max() > 0.5
    outwards = (offset * patch.normals).sum(axis=1)
    used = np.unique(shell.faces)
    solid = used[(used < n) & (shell.cover[used] > 1)[: len(used)]]
    assert len(solid) > 100
    if kind != "long hair":
        assert outwards[solid].min() > 0
        assert np.linalg.norm(offset, axis=1).max() < 4
    else:
        # Falls at the sides, by about the length asked for.
        drop = patch.template[:, 1] - shell.canonical[:, 1]
        assert 0.7 * (HAIR.length + 4) < drop.max() < 1.5 * (HAIR.length + 4)


def test_a_shirt_is_drawn_down_over_the_chest(studio):
    posed = posed_of(studio)
    shell = shells.dress(studio.shoulders, posed, -9.0, 0.5, SEED)
    assert shell.vertices[shell.faces][..., 1].min() < posed[np.unique(studio.head.faces), 1].min()
    assert shell.faces.max() < len(shell.vertices) == len(shell.cover)
    higher = shells.dress(studio.shoulders, posed, -8.0, 0.5, SEED)
    assert (higher.cover > 0).sum() > (shell.cover > 0).sum()


def test_layers_of_a_scene(studio):
    person = person_of(studio, seed=6, hair=HAIR, hat=(6.0, 0.1, 0.8), glasses=GLASSES)
    scene = build_scene(studio, person, (0.0, 0.4, 0.9))
    materials = [set(np.unique(layer.materials)) for layer in scene.layers]
    assert materials[0] == {drawing.SKIN, drawing.EYE, drawing.MOUTH, drawing.TEETH, drawing.FRAME}
    assert materials[1] == {drawing.CLOTH, drawing.HAT}
    assert materials[2:] == [{drawing.HAIR}] * 3
    for layer in scene.layers:
        n = len(layer.positions)
        assert len(layer.canonical) == len(layer.normals) == len(layer.features) == n
        assert len(layer.materials) == len(layer.faces)
        assert 0 <= layer.faces.min() <= layer.faces.max() < n
        assert {layer.positions.dtype, layer.canonical.dtype} == {np.dtype(np.float32)}
    # From inside out.
    top = [layer.positions[:, 1].max() for layer in scene.layers[2:]]
    assert top == sorted(top)
    assert len(set(top)) == 3
    np.testing.assert_array_equal(
        scene.layers[0].canonical[: len(studio.head.template)], studio.head.template
    )


def test_bending_the_neck_leaves_the_head_where_it_is(studio):
    straight, bent = (
        build_scene(studio, person_of(studio, seed=6, neck=np.float32(neck)), ()).head
        for neck in ((0, 0, 0), (0.1, 0.5, -0.1))
    )
    upper = straight[:, 1] > -3
    np.testing.assert_array_equal(straight[upper], bent[upper])
    lowest = np.unique(studio.head.faces)
    lowest = lowest[straight[lowest, 1] < -14]
    assert np.linalg.norm(straight - bent, axis=1)[lowest].max() > 1
    # Fully turned below: a rigid motion.
    before, after = (p[lowest] - p[lowest].mean(axis=0) for p in (straight, bent))
    np.testing.assert_allclose(
        np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1), atol=1e-4
    )


def test_merging_keeps_every_triangle(studio):
    scene = build_scene(studio, person_of(studio, seed=6, hair=HAIR), (0.0, 0.9))
    whole = merge(list(scene.layers))
    corners = np.concatenate([layer.positions[layer.faces] for layer in scene.layers])
    np.testing.assert_array_equal(whole.positions[whole.faces], corners)


def test_noise_is_interpolated_smoothly_between_its_cells():
    rng = np.random.default_rng(0)
    points = rng.uniform(-70, 70, (200, 3)).astype(np.float32)
    expected = np.zeros((200, 4))
    for row, point in enumerate(points.astype(float)):
        first = np.floor(point).astype(int)
        t = point - first
        t = t * t * (3 - 2 * t)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, t, 1 - t))
            expected[row] += weight * VOLUME[tuple((first + corner) % 32)]
    found = noise_at(points)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1
    lattice = rng.integers(-64, 64, (50, 3))
    np.testing.assert_array_equal(noise_at(lattice.astype(float)), VOLUME[tuple((lattice % 32).T)])
    # On coordinates that float32 holds exactly it repeats exactly.
    grid = np.round(points * 64) / 64
    np.testing.assert_allclose(noise_at(grid), noise_at(grid + np.array([32, -64, 96])), atol=1e-6)
    assert len(noise_at(points[:0])) == 0


def test_regions_are_alike_on_both_sides(studio):
    points = studio.head.template[np.unique(studio.head.faces)].astype(float)
    mirrored = points * [-1, 1, 1]
    np.testing.assert_array_equal(ear(points), ear(mirrored))
    np.testing.assert_allclose(hair_height(points), hair_height(mirrored))
    assert (hair_height(points[ear(points)]) == -9).all()
    regions = vertex_regions(studio.head)
    for name in ("lip", "lid", "brow", "beard", "blush", "hair"):
        values = getattr(regions, name)
        assert values.shape == (len(studio.head.template),)
        assert np.isfinite(values).all()
    for name in ("lip", "beard", "blush"):
        assert 0 <= getattr(regions, name).min() <= getattr(regions, name).max() <= 1
    # The made-up head has its mouth at y = -3.5, eyes and brows as in the landmarks.
    place = studio.head.template
    lips = place[regions.lip > 0.9]
    assert len(lips) > 5
    assert np.abs(lips[:, 0]).max() < 3.2
    assert np.abs(lips[:, 1] + 3.5).max() < 2
    brows = place[regions.brow < 0.8]
    assert len(brows) > 5
    assert np.abs(brows[:, 1] - 6).max() < 1
    assert place[regions.hair > 4, 1].min() > -1
    assert regions.hair[place[:, 1] > 12].min() > 1


def test_harmonics_are_orthogonal():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = harmonics(directions).astype(float)
    gram = values.T @ values / len(values)
    scale = np.sqrt(np.diag(gram))
    assert np.abs(gram / np.outer(scale, scale) - np.eye(9)).max() < 0.02


def test_shadows_fall_away_from_the_lamp():
    vertices, _, faces = ball(5.0)
    for direction in np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.6, 0.64, -0.48]]):
        shadow = cast_shadow(vertices, faces, direction)
        for along, hidden in ((6.0, False), (-6.0, True)):
            place = along * direction
            column, row, distance = shadow.map_from_head @ [*place, 1]
            depth = shadow.depth[int(row), int(column)]
            # The lamp sees the ball's near end, 5 cm before the middle.
            assert depth == pytest.approx(100 - 5, abs=0.02)
            assert (distance > depth) == hidden
        covered = np.isfinite(shadow.depth).sum() * (44 / 320) ** 2
        assert covered == pytest.approx(np.pi * 25, rel=0.02)


def test_ambient_occlusion_of_simple_shapes():
    vertices, unit, faces = ball()
    assert ambient_occlusion(vertices, unit, faces).min() > 0.97
    # From inside a closed ball nothing is seen.
    inside = ambient_occlusion(vertices, -unit, faces[:, ::-1])
    assert inside.max() < 0.1
    # A floor beside a long high wall sees half the surround, and more of it farther away.
    floor, tiles = sheet([0, 0, -12], [12, 0, 0], [0, 0, 24])
    wall, stones = sheet([-0.4, 0, -16], [0, 16, 0], [0, 0, 32])
    points = np.concatenate([floor, wall]).astype(np.float32)
    faces = np.concatenate([tiles, stones + len(floor)]).astype(np.int32)
    normals = vertex_normals(points, faces)
    assert (np.abs(normals[: len(floor), 1]) > 0.99).all()
    seen = ambient_occlusion(points, np.abs(normals), faces)[: len(floor)].reshape(25, 25)[:, 12]
    assert seen[0] == pytest.approx(0.5, abs=0.08)
    assert seen[24] > seen[8] > seen[0]
    alone = ambient_occlusion(floor, np.float32([[0, 1, 0]] * len(floor)), tiles)
    assert alone.min() > 0.98


def sheet(corner, first, second, n=25):
    """A rectangle of small triangles: (n * n, 3) positions and faces."""
    s, t = (k.ravel()[:, None] / (n - 1) for k in np.indices((n, n)))
    i, j = (k.ravel() for k in np.indices((n - 1, n - 1)))
    a = i * n + j
    faces = [np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)]
    points = np.array(corner) + s * np.array(first) + t * np.array(second)
    return points.astype(np.float32), np.concatenate(faces).astype(np.int32)


def test_shadows_of_large_triangles():
    fine, many = sheet([-8, -8, -8], [16, 0, 16], [0, 16, 0])
    corners = fine[[0, 24, 600, 624]]
    few = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    exact = cast_shadow(fine, many, np.array([0.0, 0.0, 1.0])).depth
    found = cast_shadow(corners, few, np.array([0.0, 0.0, 1.0])).depth
    both = np.isfinite(exact) & np.isfinite(found)
    assert both.sum() > 10000
    assert np.abs(exact[both] - found[both]).max() < 0.12


def test_clouds_have_the_spectrum_asked_for():
    for slope in (0.0, 1.0, 2.0):
        field = clouds((128, 128), np.random.default_rng(1), slope)
        assert field.shape == (128, 128)
        assert abs(field.mean()) < 1e-4
        assert field.std() == pytest.approx(1, abs=1e-3)
        spectrum = np.abs(np.fft.fft2(field))
        radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128) * 128] * 2))
        near, far = (spectrum[(radius > low) & (radius < 1.3 * low)].mean() for low in (6, 48))
        assert np.log(near / far) / np.log(8) == pytest.approx(slope, abs=0.15)


def test_backgrounds_are_light():
    seen = set()
    for seed in range(40):
        picture = random_background((40, 60), np.random.default_rng(seed))
        assert picture.shape == (40, 60, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert picture.min() >= np.float32(0.002)
        again = random_background((40, 60), np.random.default_rng(seed))
        assert picture.tobytes() == again.tobytes()
        seen.add(picture.tobytes())
    assert len(seen) == 40


def test_shapes_are_drawn_in_place():
    changed = 0
    for seed in range(60):
        picture = np.zeros((50, 50, 3), np.float32)
        draw_shape(picture, np.random.default_rng(seed))
        assert picture.min() >= 0
        changed += picture.any()
    assert changed > 45
