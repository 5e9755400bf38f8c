"""Normals and regions of a rendering, against geometry and against places that are known."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.regions import REGIONS
from mvs.synthetic import drawing
from mvs.synthetic.dataset import decode_normals, encode
from mvs.synthetic.drawing import Surface
from mvs.synthetic.head import load_head
from mvs.synthetic.regions import label_vertices, neck, nose, vertex_regions
from mvs.synthetic.render import render
from mvs.synthetic.scene import Scene, Studio, build_scene
from mvs.synthetic.shade import _majority
from tests.scenes import unit_ball
from tests.synthetic.test_dataset import random_sample
from tests.synthetic.test_people import GLASSES
from tests.synthetic.test_render import HAIR, gray, person_of, shot_of

SIZE = 160
BRIDGE, TIP, LIPS, BROWS = 27, 30, slice(48, 68), slice(17, 27)


def index(name):
    return REGIONS.index(name)


def still_person(studio, **changes):
    person = person_of(studio, neck=np.zeros(3, np.float32), collar=(-14.0, 0.3), **changes)
    return replace(
        person,
        identity=np.zeros_like(person.identity),
        expression=np.zeros_like(person.expression),
    )


def world_positions(scene, shot):
    """Where in the head's frame each pixel of a bare still head is: its cube coordinates."""
    photo = render(scene, shot, gray(SIZE), 1, 1)
    scale = 0.026616902916325333
    offset = (0.5, 0.563929808269576, 0.4486820788392664)
    return photo, (photo.coords.astype(float) - offset) / scale


def test_normals_are_those_of_the_surface(studio):
    """Of a neutral head positions are canonical, so normals are cross products of differences."""
    scene = build_scene(studio, still_person(studio), (0.0,))
    shot = shot_of(0.5, 0.1, 0.0, size=SIZE)
    photo, at = world_positions(scene, shot)
    skin = photo.material == drawing.SKIN
    inner = skin[1:-1, 1:-1] & skin[:-2, 1:-1] & skin[2:, 1:-1] & skin[1:-1, :-2] & skin[1:-1, 2:]
    right, down = at[1:-1, 2:] - at[1:-1, :-2], at[2:, 1:-1] - at[:-2, 1:-1]
    # Beside folds and rims differences reach over a gap.
    inner &= (np.linalg.norm(right, axis=2) < 1) & (np.linalg.norm(down, axis=2) < 1)
    expected = np.cross(down, right)
    expected /= np.maximum(np.linalg.norm(expected, axis=2, keepdims=True), 1e-12)
    found = photo.normals[1:-1, 1:-1]
    cosine = (expected * found).sum(axis=2)[inner]
    assert inner.sum() > 3000
    assert np.quantile(cosine, 0.05) > np.cos(np.deg2rad(12))
    assert np.median(cosine) > np.cos(np.deg2rad(3))


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_normals_are_unit_vectors_towards_the_camera(studio, yaw):
    person = person_of(studio, seed=5, hair=HAIR, glasses=GLASSES, hat=(8.0, 0.0, 0.5))
    shot = shot_of(yaw, size=SIZE)
    scene = build_scene(studio, person, (0.0, 0.9))
    photo = render(scene, shot, gray(SIZE), 2, 2)
    np.testing.assert_allclose(np.linalg.norm(photo.normals[photo.mask], axis=1), 1, atol=1e-5)
    assert not photo.normals[~photo.mask].any()
    y, x = (np.indices((SIZE, SIZE)) + 0.5).reshape(2, -1)
    rays = np.stack([(x - shot.center[0]), (y - shot.center[1]), shot.focal + 0 * x], 1) @ shot.R
    away = (rays.reshape(SIZE, SIZE, 3) * photo.normals).sum(axis=2)
    on = photo.mask
    # Smooth normals of the skin may turn away a little at the rim; shells are two-sided.
    assert (away[on] < 0).mean() > 0.97
    two_sided = on & np.isin(photo.material, (drawing.HAT, drawing.HAIR))
    single = render(scene, shot, gray(SIZE), 1, 1)
    shells = np.isin(single.material, (drawing.HAT, drawing.HAIR, drawing.FRAME))
    assert two_sided.sum() > 200
    turned = (rays.reshape(SIZE, SIZE, 3) * single.normals).sum(axis=2)[shells]
    assert turned.max() < 1e-3 * np.linalg.norm(rays, axis=1).max()


def test_bumps_and_light_change_no_normal(studio):
    person = person_of(studio, seed=7, hair=HAIR)
    rough = person.look.copy()
    rough["pores"], rough["wrinkles"], rough["folds"] = 1.0, 1.0, 1.0
    one, other = (
        render(build_scene(studio, replace(person, look=look), ()), shot_of(), gray(44), 1, 1)
        for look in (person.look, rough)
    )
    np.testing.assert_array_equal(one.normals, other.normals)


def test_landmarks_lie_in_their_regions(real_head_file):
    head = load_head(real_head_file)
    labels = label_vertices(head, vertex_regions(head))
    marks = labels[head.landmarks]
    # Corners and inner rim of the mouth may be on either side of the line of the lips.
    assert (marks[LIPS] == index("lip")).mean() > 0.55
    assert (marks[27:36] == index("nose")).all()
    assert (marks[BROWS] == index("brow")).all()
    assert np.isin(marks[:17], (index("skin"), index("neck"), index("ear"))).all()
    place = head.template
    tip = place[(head.vertex_part == 0), 2].argmax()
    assert labels[tip] == index("nose")
    for point, name in (
        ((8.6, 1.0, 0.0), "ear"),
        ((-8.6, 1.0, 0.0), "ear"),
        ((4.8, -0.5, 8.5), "skin"),
        ((0.0, 9.0, 9.5), "skin"),
        ((0.0, -6.3, 11.0), "skin"),
        ((0.0, -12.0, 3.0), "neck"),
        ((0.0, -9.0, -6.0), "neck"),
        ((3.2, 3.5, 9.6), "eye"),
    ):
        near = np.linalg.norm(place - point, axis=1)
        near[~np.isin(head.vertex_part, (0, 1, 2))] = 99
        assert REGIONS[labels[near.argmin()]] == name, point


def test_regions_of_the_made_up_head(studio):
    labels, part = studio.regions, studio.head.vertex_part
    assert labels.shape == (len(studio.head.template),)
    assert (labels[part == 2] == index("eye")).all()
    assert (labels[part == 3] == index("mouth")).all()
    place = studio.head.template
    lips = place[(labels == index("lip"))]
    assert len(lips) > 5
    assert np.abs(lips[:, 1] + 3.5).max() < 2
    brows = place[(labels == index("brow"))]
    assert len(brows) > 5
    assert np.abs(brows[:, 1] - 6).max() < 1.2
    low = np.isin(part, (0, 1)) & (place[:, 1] < -8)
    assert (labels[low] == index("neck")).all()
    for where in (neck, nose):
        np.testing.assert_array_equal(where(place), where(place * np.float32([-1, 1, 1])))


def test_the_region_of_most_weight_wins():
    rng = np.random.default_rng(0)
    for _ in range(300):
        corners = rng.integers(0, 3, 3)
        weights = rng.dirichlet(np.ones(3)).astype(np.float32)
        share = np.bincount(corners, weights, 3)
        assert _majority(*corners, weights) == share.argmax()


def test_every_pixel_has_the_region_of_its_material(studio):
    person = person_of(studio, seed=5, hair=HAIR, glasses=GLASSES, hat=(8.0, 0.0, 0.5))
    photo = render(build_scene(studio, person, (0.0, 0.9)), shot_of(size=SIZE), gray(SIZE), 1, 1)
    for material, names in (
        (-1, {"background"}),
        (drawing.SKIN, {"skin", "brow", "eye", "nose", "lip", "ear", "neck"}),
        (drawing.EYE, {"eye"}),
        (drawing.TEETH, {"mouth"}),
        (drawing.CLOTH, {"cloth"}),
        (drawing.HAT, {"hat"}),
        (drawing.FRAME, {"glasses"}),
        (drawing.HAIR, {"hair"}),
    ):
        found = {REGIONS[k] for k in np.unique(photo.region[photo.material == material])}
        assert found <= names
        assert found


def test_a_pixel_takes_the_most_frequent_of_its_samples(studio):
    n = 3
    scene = build_scene(studio, person_of(studio, seed=3, hair=HAIR), (0.0, 0.9))
    shot = shot_of(0.4)
    photo = render(scene, shot, gray(), n, 1)
    fine = replace(
        shot,
        focal=shot.focal * n,
        center=(shot.center[0] * n, shot.center[1] * n),
        size=(44 * n, 44 * n),
    )
    samples = render(scene, fine, gray(44 * n), 1, 1)
    blocks = samples.region.reshape(44, n, 44, n).swapaxes(1, 2).reshape(44, 44, n * n)
    votes = (blocks[..., None] == np.arange(len(REGIONS))).sum(axis=2)
    np.testing.assert_array_equal(photo.region, votes.argmax(axis=2))
    on = samples.mask.reshape(44, n, 44, n)
    normals = samples.normals.reshape(44, n, 44, n, 3) * on[..., None]
    mean = normals.sum(axis=(1, 3))
    mean /= np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-9)
    # Between vertices normals are a little short, which weights the mean.
    np.testing.assert_allclose(photo.normals, mean * photo.mask[..., None], atol=2e-2)
    assert np.abs(photo.normals - mean * photo.mask[..., None]).mean() < 1e-4


def mirrored(scene):
    """A scene seen in a mirror through x = 0: positions, normals and turning are reversed."""
    mirror = np.float32([-1, 1, 1])
    layers = tuple(
        Surface(
            layer.positions * mirror,
            layer.canonical,
            layer.normals * mirror,
            layer.features,
            np.ascontiguousarray(layer.faces[:, ::-1]),
            layer.materials,
            layer.regions,
        )
        for layer in scene.layers
    )
    return Scene(layers, None, None, scene.lighting, scene.look, scene.eyes, scene.head)


def test_labels_mirror_with_the_scene(studio):
    scene = build_scene(studio, person_of(studio, seed=8, hat=(8.0, 0.0, 0.5)), (0.0,))
    shot, mirror = shot_of(0.6, 0.2, 0.15, size=SIZE), np.diag([-1.0, 1, 1])
    center = (SIZE - shot.center[0], shot.center[1])
    other = replace(shot, R=mirror @ shot.R @ mirror, t=mirror @ shot.t, center=center)
    one = render(scene, shot, gray(SIZE), 1, 1)
    two = render(mirrored(scene), other, gray(SIZE), 1, 1)
    assert (one.region != two.region[:, ::-1]).mean() < 0.002
    both = one.mask & two.mask[:, ::-1] & (one.material == two.material[:, ::-1])
    flipped = two.normals[:, ::-1] * [-1, 1, 1]
    assert np.quantile(np.abs(flipped - one.normals)[both].max(axis=1), 0.995) < 1e-3


def test_normals_of_a_ball_point_outwards(studio):
    unit, faces = unit_ball(60, 90)
    scene = build_scene(studio, person_of(studio), ())
    n = len(unit)
    ball = Surface(
        (8 * unit + [0, 2, 0.5]).astype(np.float32),
        unit.astype(np.float32),
        unit.astype(np.float32),
        np.ones((n, drawing.N_FEATURES), np.float32),
        faces.astype(np.int32),
        np.full(len(faces), drawing.SKIN, np.uint8),
        np.full(n, index("skin"), np.uint8),
    )
    photo = render(replace(scene, layers=(ball,)), shot_of(size=SIZE), gray(SIZE), 1, 1)
    place = (photo.coords - [0.5, 0.563929808269576, 0.4486820788392664]) / 0.026616902916325333
    on = photo.mask
    assert on.sum() > 3000
    place = place[on] / np.linalg.norm(place[on], axis=1, keepdims=True)
    np.testing.assert_allclose(photo.normals[on], place, atol=2e-3)


def test_records_keep_normals_and_regions():
    sample = random_sample(4)
    record = encode(sample)
    assert record["normals"].dtype == np.int8
    blocks = (sample.normals * sample.mask[..., None]).astype(float)
    mean = blocks.reshape(128, 2, 128, 2, 3).sum(axis=(1, 3))
    length = np.linalg.norm(mean, axis=2)
    clear = length > 1e-3
    assert clear.sum() > 10000
    expected = mean[clear] / length[clear][:, None]
    assert np.abs(record["normals"][clear] / 127 - expected).max() <= 0.5 / 127 + 1e-5
    found = decode_normals(record["normals"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[clear], axis=1), 1, atol=1e-6)
    # Half a level along each axis is 0.4 degrees.
    assert (found[clear] * expected).sum(axis=1).min() > np.cos(np.deg2rad(0.45))
    nothing = ~sample.mask.reshape(128, 2, 128, 2).any(axis=(1, 3))
    assert nothing.sum() > 100
    assert not found[nothing].any()
    votes = (sample.region.reshape(128, 2, 128, 2, 1) == np.arange(13)).sum(axis=(1, 3))
    np.testing.assert_array_equal(record["region"], votes.argmax(axis=2))


def test_the_studio_labels_the_real_head_on_both_sides(real_head_file):
    studio = Studio(load_head(real_head_file))
    scene = build_scene(studio, still_person(studio), ())
    shot = shot_of(0.0, 0.0, 0.0, size=SIZE)
    photo = render(scene, replace(shot, center=(SIZE / 2, SIZE / 2)), gray(SIZE), 1, 1)
    flipped = photo.region[:, ::-1]
    assert (photo.region != flipped).mean() < 0.01
    counts = np.bincount(photo.region.ravel(), minlength=len(REGIONS))
    for name in ("skin", "brow", "eye", "nose", "lip", "ear", "neck"):
        assert counts[index(name)] > 20
    assert counts[index("nose")] < 0.12 * photo.mask.sum()
