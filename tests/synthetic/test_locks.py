"""Locks of hair and cloth around the head keep to the surface they grow from."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.regions import REGIONS
from mvs.synthetic import drawing, headgear, shells
from mvs.synthetic.locks import COMBS, N_POINTS, LockStyle, grow_locks
from mvs.synthetic.render import render
from mvs.synthetic.ribbons import spread
from mvs.synthetic.scene import build_scene
from mvs.synthetic.skull import CENTER
from tests.synthetic.test_people import GLASSES
from tests.synthetic.test_render import HAIR, gray, person_of, shot_of
from tests.synthetic.test_scene import SEED, posed_of

STYLE = LockStyle("crown", 5.0, 0.3, 0.3, 0.1, 2.0, 0.2, 0.5, 0.1, 0.2, 300)
SHORT = replace(HAIR, length=0.0)
HOOD = headgear.HoodStyle(6.0, 7.0, 0.8, 0.5, 0.2)


def grow(studio, posed, style=STYLE, hair=SHORT):
    shell = shells.grow_hair(studio.scalp, posed, hair, SEED)
    return grow_locks(studio.scalp, studio.skull, posed, studio.head.template, shell, style)


def test_the_skull_is_the_skin_in_every_direction(studio):
    skull, template = studio.skull, studio.head.template
    skin = np.unique(studio.head.faces)
    skin = skin[(studio.head.vertex_part[skin] < 2) & (template[skin, 1] > 0)]
    rows, columns = skull.cells(template[skin])
    distance = np.linalg.norm(template[skin] - CENTER, axis=1)
    # A cell is 2.5 by 2.8 degrees, half a centimetre here.
    assert np.abs(skull.radius[rows, columns] - distance).max() < 0.8
    gap = np.linalg.norm(template[skull.vertex[rows, columns]] - template[skin], axis=1)
    assert gap.max() < 1.2
    top = skull.cells(np.float32([[0, 12.0, -1], [0, 3.0, 9.0]]))
    np.testing.assert_array_equal(skull.on_scalp[top], [1, 0])


@pytest.mark.parametrize("comb", COMBS)
def test_locks_grow_out_of_the_head(studio, comb):
    template = studio.head.template
    locks = grow(studio, template, replace(STYLE, comb=comb))
    assert locks.points.shape == locks.canonical.shape == locks.normals.shape
    assert locks.points.shape == (STYLE.count, N_POINTS, 3)
    # On the template itself nothing is moved.
    np.testing.assert_allclose(locks.points, locks.canonical, atol=1e-5)
    radius = np.linalg.norm(locks.canonical - CENTER, axis=2)
    rows, columns = studio.skull.cells(locks.canonical)
    above = locks.canonical[..., 1] > -8
    assert (radius - studio.skull.radius[rows, columns])[above].min() > -0.5
    steps = np.linalg.norm(np.diff(locks.points, axis=1), axis=2).sum(axis=1)
    assert 1.0 < np.median(steps) < 12
    np.testing.assert_allclose(np.linalg.norm(locks.normals, axis=2), 1, atol=1e-5)


def test_combs_lead_where_they_say(studio):
    ends = {}
    for comb in ("forward", "back", "side", "down", "up", "tied"):
        style = replace(STYLE, comb=comb, lift=0.0, loose=0.0, fringe=True, length=6.0)
        points = grow(studio, studio.head.template, style).points
        ends[comb] = points[:, -1] - points[:, 0]
        if comb == "tied":
            near = np.linalg.norm(points[:, -1] - [0, *STYLE.tie], axis=1)
            assert np.median(near) < 5
    forward, back = ends["forward"][:, 2].mean(), ends["back"][:, 2].mean()
    assert forward > 1 > -1 > back
    assert ends["down"][:, 1].mean() < ends["up"][:, 1].mean() - 1
    assert np.abs(ends["side"][:, 0]).mean() > 1.2 * np.abs(ends["back"][:, 0]).mean()


def test_locks_move_with_the_skin_below(studio):
    """Position minus canonical position is how far the nearest skin moved."""
    posed = posed_of(studio)
    locks = grow(studio, posed)
    moved = (locks.points - locks.canonical).reshape(-1, 3)
    shift = posed - studio.head.template
    assert np.abs(shift).max() > 0.5
    skin = np.unique(studio.head.faces)
    skin = skin[studio.head.vertex_part[skin] < 2]
    at = locks.canonical.reshape(-1, 3)[::17]
    out = (at - CENTER) / np.linalg.norm(at - CENTER, axis=1, keepdims=True)
    rays = studio.head.template[skin] - CENTER
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    expected = shift[skin[(out @ rays.T).argmax(axis=1)]]
    off = np.linalg.norm(moved[::17] - expected, axis=1)
    assert np.median(off) < 0.06
    assert np.quantile(off, 0.95) < 0.3


def test_locks_are_determined_by_their_style(studio):
    posed = posed_of(studio)
    one, same = grow(studio, posed), grow(studio, posed)
    other = grow(studio, posed, replace(STYLE, width=0.21))
    for name in ("points", "canonical", "normals", "width", "tint", "depth"):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes()
    assert one.points.tobytes() != other.points.tobytes()


def test_ribbons_face_the_camera_and_are_as_wide_as_the_locks(studio):
    locks = grow(studio, studio.head.template)
    shot = shot_of(size=4000)
    seen = locks.points.reshape(-1, 3).astype(float) @ shot.R.T + shot.t
    pixels = seen[:, :2] / seen[:, 2:] * shot.focal + shot.center
    both, depths, surface = spread(locks, pixels, seen[:, 2], shot.focal)
    left, right = both.reshape(-1, 2, 2).swapaxes(0, 1)
    np.testing.assert_allclose(0.5 * (left + right), pixels, atol=1e-6)
    wide = np.linalg.norm(left - right, axis=1)
    expected = locks.width.ravel() * shot.focal / seen[:, 2]
    np.testing.assert_allclose(wide, np.maximum(expected, 1), rtol=1e-5)
    np.testing.assert_array_equal(depths[::2], seen[:, 2])
    assert len(surface.positions) == len(both) == surface.faces.max() + 1
    assert (surface.regions == REGIONS.index("hair")).all()
    # Far away a ribbon is a pixel wide and lets through what it does not cover.
    _, _, far = spread(locks, pixels, seen[:, 2], shot.focal / 40)
    assert far.features[:, drawing.COVER].max() <= 1
    assert far.features[:, drawing.COVER].mean() < 0.9 * surface.features[:, drawing.COVER].mean()


def test_locks_are_drawn_and_labelled_as_hair(studio):
    person = person_of(studio, seed=3, hair=SHORT, locks=STYLE)
    plain = build_scene(studio, replace(person, locks=None), (0.0, 0.9))
    combed = build_scene(studio, person, (0.0, 0.9))
    shot = shot_of(2.4, size=128)
    bare, photo = (render(scene, shot, gray(128), 2, 2) for scene in (plain, combed))
    locks = photo.material == drawing.STRAND
    assert locks.sum() > 300
    single = render(combed, shot, gray(128), 1, 1)
    strands = single.material == drawing.STRAND
    assert strands.sum() > 300
    assert (single.region[strands] == REGIONS.index("hair")).all()
    assert single.mask[strands].all()
    # The silhouette grows by loose ends, the middle of the hair stays where it was.
    assert 0 < (photo.mask & ~bare.mask).sum() < 0.4 * bare.mask.sum()
    both = locks & (bare.material == drawing.HAIR) & photo.mask & bare.mask
    off = np.linalg.norm(photo.coords - bare.coords, axis=2)[both] / 0.0266
    assert np.median(off) < 1.5


def test_a_hood_leaves_the_face_free(studio):
    scene = build_scene(studio, person_of(studio, seed=2, hood=HOOD), (0.0,))
    shot = shot_of(0.0, 0.0, 0.0, size=128)
    photo = render(scene, shot, gray(128), 2, 2)
    hat, skin = (photo.region == REGIONS.index(name) for name in ("hat", "skin"))
    assert hat.sum() > 300
    assert skin.sum() > 300
    assert photo.mask[hat].mean() > 0.9
    assert not (photo.region == REGIONS.index("ear")).any()
    behind = render(scene, shot_of(np.pi, size=128), gray(128), 2, 2)
    top = behind.region[:60][behind.region[:60] > 0]
    assert (top == REGIONS.index("hat")).mean() > 0.95


def test_hoods_move_with_the_skin_below(studio):
    posed, patch = posed_of(studio), studio.hood
    shell = headgear.put_hood(patch, posed, HOOD, SEED)
    offset = shell.vertices - patch.on(posed)
    np.testing.assert_allclose(offset, shell.canonical - patch.template, atol=5e-6)
    used = np.unique(shell.faces)
    solid = used[shell.cover[used] > 1]
    assert np.linalg.norm(offset[solid], axis=1).min() > 0.1
    visor = headgear.put_visor(studio.scalp, posed, 6.0, 0.1, 6.0)
    np.testing.assert_allclose(np.ptp(visor.vertices - visor.canonical, axis=0), 0, atol=1e-4)
    assert visor.canonical[:, 2].max() == pytest.approx(0.6 + 9.4 + 6.0, abs=0.1)


def test_clear_glass_hides_no_label(studio):
    person = person_of(studio, seed=4, glasses=GLASSES)
    person.look["glare"] = 1.0
    scene = build_scene(studio, person, (0.0,))
    assert scene.panes is not None
    shot = shot_of(0.0, 0.0, 0.0, size=128)
    with_panes = render(scene, shot, gray(128), 2, 2)
    without = render(replace(scene, panes=None), shot, gray(128), 2, 2)
    same = with_panes.region == without.region
    assert same.mean() > 0.985
    assert (np.abs(with_panes.color - without.color).max(axis=2) > 1e-4).sum() > 100
    dark = build_scene(studio, replace(person, dark_lenses=True), (0.0,))
    assert dark.panes is None
    lens = render(dark, shot, gray(128), 2, 2)
    more = (lens.region == REGIONS.index("glasses")).sum()
    assert more > 2 * (without.region == REGIONS.index("glasses")).sum()
