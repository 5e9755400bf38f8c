"""Labels are checked against rays cast at the surfaces in space, a triangle at a time."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.cube import cube_from_cm
from mvs.synthetic import drawing
from mvs.synthetic.people import random_person
from mvs.synthetic.render import HEAD_MATERIALS, Shot, look_at, render
from mvs.synthetic.scene import build_scene
from mvs.synthetic.shells import HairStyle
from tests.reference import raster as slow
from tests.synthetic.test_people import GLASSES

SIZE = 44
CENTER = np.array([0.0, 2.0, 0.5])
HAIR = HairStyle(2.0, 0.6, 0.3, 2.0, 4.0, 0.0, 0.0)


def person_of(studio, seed=1, **changes):
    person = random_person(studio.head, np.random.default_rng(seed))
    bare = {"hair": None, "locks": None, "bun": None, "hat": None, "hood": None, "visor": 0.0}
    bare |= {"glasses": None, "dark_lenses": False}
    return replace(person, **(bare | changes))


def shot_of(yaw=0.3, pitch=0.1, roll=0.05, distance=90.0, size=SIZE, share=0.75):
    shot = look_at(CENTER, yaw, pitch, roll, distance)
    focal = share * size * distance / 24
    return replace(shot, focal=focal, center=(0.48 * size, 0.53 * size), size=(size, size))


def gray(size=SIZE):
    return np.full((size, size, 3), 0.2, np.float32)


def rays_of(shot):
    """Rays (N, 3) of the pixel centres and the camera's centre, in the head's frame."""
    y, x = np.mgrid[: shot.size[0], : shot.size[1]].reshape(2, -1) + 0.5
    local = np.stack(
        [(x - shot.center[0]) / shot.focal, (y - shot.center[1]) / shot.focal, 1 + 0 * x]
    )
    return local.T @ shot.R, -shot.R.T @ shot.t


def hit(layer, shot):
    """Of each pixel: the layer's canonical position, distance, material and features there."""
    rays, center = rays_of(shot)
    corners = layer.positions[layer.faces].astype(float) - center
    face, weights, distance = slow.first_hits(corners, rays, layer.materials[0] != drawing.SKIN)

    def mean(values):
        return np.einsum("nk,nkc->nc", weights, values[layer.faces[face]].astype(float))

    material = np.where(face >= 0, layer.materials[face].astype(int), -1)
    return mean(layer.canonical), distance, material, mean(layer.features)


def expected_labels(scene, shot):
    """Cube coordinates and material of the nearest of the body and what is worn."""
    canonical, distance, material, _ = hit(scene.layers[0], shot)
    worn, nearer, kind, features = hit(scene.layers[1], shot)
    front = (nearer < distance) & (features[:, drawing.COVER] > 0)
    canonical = np.where(front[:, None], worn, canonical)
    material = np.where(front, kind, material)
    on_head = np.isin(material, HEAD_MATERIALS)
    coords = np.where(on_head[:, None], cube_from_cm(canonical), 0)
    return (
        coords.reshape(*shot.size, 3),
        on_head.reshape(shot.size),
        material.reshape(shot.size),
        np.minimum(distance, nearer).reshape(shot.size),
    )


@pytest.mark.parametrize(
    ("changes", "yaw", "materials"),
    [
        ({}, 0.3, (drawing.SKIN, drawing.EYE, drawing.TEETH, drawing.CLOTH)),
        ({"hat": (6.0, 0.1, 0.8)}, -2.5, (drawing.SKIN, drawing.HAT, drawing.CLOTH)),
        (
            {"glasses": GLASSES, "dark_lenses": True, "hat": (7.5, 0.0, 0.5)},
            -0.2,
            (drawing.SKIN, drawing.FRAME, drawing.LENS, drawing.HAT),
        ),
    ],
)
def test_labels_are_the_places_the_pixel_centres_see(studio, changes, yaw, materials):
    scene = build_scene(studio, person_of(studio, **changes), (0.0,))
    shot = shot_of(yaw)
    photo = render(scene, shot, gray(), 1, 1)
    coords, mask, material, _ = expected_labels(scene, shot)
    # The rasteriser's pixels are rays to rounding; two surfaces may touch within it.
    same = photo.material == material
    assert (~same).sum() <= 2
    np.testing.assert_array_equal(photo.mask[same], mask[same])
    np.testing.assert_allclose(photo.coords[same], coords[same], atol=3e-6)
    for kind in materials:
        assert (material == kind).sum() > 5


def test_labels_are_of_the_template_not_of_the_pose(studio):
    """A vertex of the posed head that is seen: its picture carries its place on the template."""
    person = person_of(studio, seed=5)
    scene = build_scene(studio, person, (0.0,))
    head = studio.head
    used = np.unique(head.faces)
    skin = used[head.vertex_part[used] < 2]
    assert np.abs(scene.head - head.template)[skin].max() > 0.5
    shot = shot_of(size=400)
    photo = render(scene, shot, gray(400), 1, 1)
    local = scene.head.astype(float) @ shot.R.T + shot.t
    pixels = local[:, :2] / local[:, 2:] * shot.focal + shot.center
    x, y = pixels[skin].astype(int).T
    inside = (x >= 0) & (x < 400) & (y >= 0) & (y < 400)
    skin, x, y = skin[inside], x[inside], y[inside]
    off = np.linalg.norm(photo.coords[y, x] - cube_from_cm(head.template[skin]), axis=1)
    # Vertices whose normal looks at the camera; the shirt and the far side have other labels.
    normal = scene.layers[0].normals[skin]
    towards = -shot.R.T @ shot.t - scene.head[skin]
    facing = (normal * towards).sum(axis=1) / np.linalg.norm(towards, axis=1) > 0.5
    seen = facing & (photo.material[y, x] == drawing.SKIN)
    assert seen.sum() > 500
    # Half a pixel is 0.06 cm here, on a slanted and stretched surface up to twice that.
    assert np.quantile(off[seen], 0.98) < 0.15 * 0.0266
    assert np.median(off[seen]) < 0.04 * 0.0266


def test_labels_of_hair_lie_on_its_layers(studio):
    scene = build_scene(studio, person_of(studio, hair=HAIR, bun=(9.0, -7.0, 3.0)), (0.0, 0.5, 0.9))
    assert len(scene.layers) == 5
    shot = shot_of(2.2)
    photo = render(scene, shot, gray(), 1, 1)
    coords, mask, material, below = expected_labels(scene, shot)
    hair = photo.material == drawing.HAIR
    assert hair.sum() > 300
    assert photo.mask[hair].all()
    same = ~hair & (photo.material == material)
    assert (~hair & ~same).sum() <= 2
    np.testing.assert_allclose(photo.coords[same], coords[same], atol=3e-6)
    np.testing.assert_array_equal(photo.mask[same], mask[same])
    off = np.full((SIZE, SIZE), np.inf)
    for layer in scene.layers[2:]:
        canonical, distance, _, _ = hit(layer, shot)
        distance = distance.reshape(SIZE, SIZE)
        place = cube_from_cm(canonical).reshape(SIZE, SIZE, 3)
        error = np.abs(place - photo.coords).max(axis=2)
        off = np.where(distance < below + 1e-4, np.minimum(off, error), off)
    assert (off[hair] > 3e-6).sum() <= 2


def test_pixels_of_a_photograph_are_means_of_samples(studio):
    person = person_of(studio, seed=3, hair=HAIR)
    scene = build_scene(studio, person, (0.0, 0.9))
    shot, n = shot_of(0.9), 3
    rng = np.random.default_rng(0)
    background = rng.uniform(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
    photo = render(scene, shot, background, n, 1)
    center = (shot.center[0] * n, shot.center[1] * n)
    fine = replace(shot, focal=shot.focal * n, center=center, size=(SIZE * n, SIZE * n))
    samples = render(scene, fine, background.repeat(n, axis=0).repeat(n, axis=1), 1, 1)

    def blocks(values):
        return values.reshape(SIZE, n, SIZE, n, -1).swapaxes(1, 2).reshape(SIZE, SIZE, n * n, -1)

    share = blocks(samples.mask).sum(axis=(2, 3))
    assert np.isin(share, range(1, 9)).sum() > 50
    np.testing.assert_array_equal(photo.mask, share > n * n / 2)
    mean = blocks(samples.coords).sum(axis=2) / np.maximum(share, 1)[..., None]
    np.testing.assert_allclose(photo.coords, mean * photo.mask[..., None], atol=2e-6)
    np.testing.assert_allclose(photo.color, blocks(samples.color).mean(axis=2), atol=2e-4)
    np.testing.assert_array_equal(photo.material, samples.material[1::3, 1::3])


def test_shared_shading_changes_no_label_of_solid_things(studio):
    scene = build_scene(studio, person_of(studio, seed=2), (0.0,))
    fine, coarse = (render(scene, shot_of(), gray(), 2, rate) for rate in (1, 2))
    differ = fine.mask != coarse.mask
    # The ragged rim of the shirt is decided once per block.
    assert differ.mean() < 0.01
    both = fine.mask & coarse.mask
    assert both.sum() > 500
    assert (np.abs(fine.coords - coarse.coords)[both].max(axis=1) > 1e-6).mean() < 0.02
    assert np.abs(fine.color - coarse.color)[both].mean() < 0.05


def test_nothing_in_sight_is_background(studio):
    scene = build_scene(studio, person_of(studio, hair=HAIR), (0.0, 0.9))
    away = replace(shot_of(), center=(1e5, 0.0))
    background = np.random.default_rng(0).uniform(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
    photo = render(scene, away, background, 2, 2)
    assert not photo.mask.any()
    assert not photo.coords.any()
    assert (photo.material == -1).all()
    np.testing.assert_allclose(photo.color, background, rtol=1e-6)


def test_cameras_look_where_they_should():
    target = np.array([0.5, 2.0, -1.0])
    for yaw, pitch, roll in ((0, 0, 0), (0.7, -0.3, 0.2), (-3.0, 0.8, -0.5)):
        shot = look_at(target, yaw, pitch, roll, 80.0)
        np.testing.assert_allclose(shot.R @ shot.R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(shot.R) == pytest.approx(1)
        np.testing.assert_allclose(shot.R @ target + shot.t, [0, 0, 80], atol=1e-9)
        center = -shot.R.T @ shot.t
        offset = (center - target) / 80
        assert np.arcsin(offset[1]) == pytest.approx(pitch)
        assert np.arctan2(offset[0], offset[2]) == pytest.approx(yaw)
        # The head's up is up in the picture, turned by the roll; y points down.
        up = shot.R @ [0, 1, 0]
        assert up[1] < 0
        assert np.abs(np.arctan2(up[0], -up[1])) == pytest.approx(abs(roll))
    front = look_at(target, 0, 0, 0, 80.0)
    # The subject's left is on the right of a picture taken from the front.
    assert (front.R @ [1, 0, 0])[0] == pytest.approx(1)
    assert isinstance(front, Shot)
