import numpy as np
import pytest

from mvs.synthetic.glasses import GlassesStyle, make_glasses
from mvs.synthetic.lights import random_lights
from mvs.synthetic.locks import COMBS
from mvs.synthetic.look import LOOK, random_look
from mvs.synthetic.people import (
    covered_person,
    random_expression,
    random_glasses,
    random_hair,
    random_person,
    shown_person,
)
from mvs.synthetic.sample import frontal_shot, random_shot
from tests.synthetic.heads import EXPRESSIONS, EYES

GLASSES = GlassesStyle(5.0, 4.0, 3.0, 0.2, 0.1, 3.4)
N = 400


def people(head):
    return [random_person(head, np.random.default_rng(seed)) for seed in range(N)]


def test_people_are_determined_by_their_seed(studio):
    one, same, other = (random_person(studio.head, np.random.default_rng(s)) for s in (4, 4, 5))
    for name in ("identity", "expression", "neck", "look"):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes()
        if name != "expression":
            assert getattr(one, name).tobytes() != getattr(other, name).tobytes()
    for name in ("hair", "locks", "bun", "hat", "hood", "visor", "glasses"):
        assert getattr(one, name) == getattr(same, name)
    assert one.lights.colors.tobytes() == same.lights.colors.tobytes()


def test_people_make_sense(studio):
    drawn = people(studio.head)
    for person in drawn:
        assert person.dark_lenses <= (person.glasses is not None)
        if person.bun is not None:
            assert person.hair is not None
            assert person.hat is None
        if person.hat is not None and person.hair is not None:
            assert person.hair.thickness < person.hat[2]  # hair stays below the hat
        if person.hair is not None:
            assert person.hair.thickness > 0
            assert 0 < person.hair.side <= 1
            assert person.hair.length >= 0
        if person.hood is not None:
            assert person.hair is None
            assert person.hat is None
        assert (person.visor > 0) <= (person.hat is not None)
        if person.locks is not None:
            assert person.hair is not None
            assert person.locks.comb in COMBS
            assert person.locks.width > 0
        assert -12.5 <= person.collar[0] <= -7.8
    for name, low, high in (
        ("hair", 0.75, 0.95),
        ("hat", 0.06, 0.2),
        ("glasses", 0.13, 0.27),
        ("bun", 0.03, 0.14),
        ("hood", 0.02, 0.1),
        ("locks", 0.6, 0.9),
    ):
        share = np.mean([getattr(person, name) is not None for person in drawn])
        assert low < share < high
    spread = np.std([person.identity for person in drawn])
    assert 0.7 < spread < 1.1


def test_expressions_are_activations_alike_on_both_sides(studio):
    drawn = np.array([random_expression(studio.head, np.random.default_rng(s)) for s in range(N)])
    assert drawn.shape == (N, len(EXPRESSIONS))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    neutral = (drawn == 0).all(axis=1).mean()
    assert 0.2 < neutral < 0.4
    for name in ("browDown", "eyeBlink", "mouthSmile"):
        left, right = (drawn[:, EXPRESSIONS.index(f"{name}_{side}")] for side in "LR")
        np.testing.assert_array_equal(left > 0, right > 0)
        assert (left > 0).any()
        active = left > 0
        ratio = right[active] / left[active]
        assert ratio.min() >= 0.59
        assert ratio.max() <= 1.7


def test_looks_are_colours_and_amounts():
    looks = np.concatenate([random_look(np.random.default_rng(s)) for s in range(N)])
    assert looks.dtype == LOOK
    for name in LOOK.names:
        assert np.isfinite(looks[name]).all()
        if name not in ("seed", "gaze"):
            assert looks[name].min() >= 0
    for name in ("skin", "lips", "hair", "cloth", "hat", "frame", "lens"):
        assert looks[name].min() > 0
        assert looks[name].max() <= 1
    np.testing.assert_allclose(np.linalg.norm(looks["gaze"], axis=1), 1, atol=1e-6)
    assert looks["gaze"][:, 2].min() > 0.5
    # From very dark to very light skin.
    assert looks["skin"][:, 0].min() < 0.12
    assert looks["skin"][:, 0].max() > 0.6


def test_lamps():
    drawn = [random_lights(np.random.default_rng(seed)) for seed in range(N)]
    assert {len(lights.directions) for lights in drawn} == {0, 1, 2, 3}
    for lights in drawn:
        np.testing.assert_allclose(np.linalg.norm(lights.directions, axis=1), 1, atol=1e-6)
        assert lights.colors.shape == lights.directions.shape
        assert (lights.colors > 0).all()
        assert (lights.ambient[0] > 0).all()
        assert 0 <= lights.softness <= 1


def test_cameras_stay_within_their_ranges():
    size, head = 200, np.array([0.0, 2.0, 0.5])
    shots = [random_shot(size, np.random.default_rng(seed)) for seed in range(1500)]
    yaws, pitches, rolls, distances, shares, centers = [], [], [], [], [], []
    for shot in shots:
        assert shot.size == (size, size)
        np.testing.assert_allclose(shot.R @ shot.R.T, np.eye(3), atol=1e-12)
        local = shot.R @ head + shot.t
        np.testing.assert_allclose(local[:2], 0, atol=1e-9)
        offset = -shot.R.T @ shot.t - head
        distances.append(np.linalg.norm(offset))
        pitches.append(np.arcsin(offset[1] / distances[-1]))
        yaws.append(np.arctan2(offset[0], offset[2]))
        up = shot.R @ [0, 1, 0]
        rolls.append(np.arctan2(up[0], -up[1]))
        shares.append(shot.focal * 24 / distances[-1] / size)
        centers.append(np.array(shot.center) / size)
    assert 30 <= min(distances) < 34
    assert 275 < max(distances) <= 300
    assert -0.8 - 1e-9 <= min(pitches) < -0.6
    assert 0.7 < max(pitches) <= 0.8 + 1e-9
    assert np.abs(rolls).max() < 0.65
    assert 0.12 <= min(shares) < 0.15
    assert 1.6 < max(shares) <= 1.8
    assert 0.05 < (np.array(shares) > 0.95).mean() < 0.13
    small = np.array(shares) < 0.42
    assert 0.1 < small.mean() < 0.18
    # From all around, most from the front; the head mostly in the middle.
    assert np.histogram(yaws, 8, (-np.pi, np.pi))[0].min() > 40
    assert (np.abs(yaws) < np.pi / 2).mean() > 0.7
    assert np.abs(np.array(centers) - 0.5).max() < 1
    assert (np.abs(np.array(centers)[~small] - 0.5).max(axis=1) < 0.2).mean() > 0.65


def test_hair_and_glasses_stay_within_their_ranges():
    for seed in range(N):
        rng = np.random.default_rng(seed)
        hair, glasses = random_hair(rng), random_glasses(rng)
        assert 0.2 <= hair.thickness <= 6.5
        assert 0 <= hair.length <= 18
        assert -1.8 <= hair.line <= 4
        assert hair.lump <= 0.4 * 3.5
        assert 4.4 <= glasses.width <= 5.8
        assert 0.55 <= glasses.height / glasses.width <= 0.95


def test_glasses_have_the_size_asked_for():
    frame, frame_faces, lens, lens_faces = make_glasses(GLASSES, np.float32(EYES))
    for vertices, faces in ((frame, frame_faces), (lens, lens_faces)):
        assert vertices.dtype == np.float32
        assert set(faces.ravel()) == set(range(len(vertices)))
    left = lens[lens[:, 0] > 0]
    assert len(left) == len(lens) / 2
    np.testing.assert_allclose(np.ptp(left[:, :2], axis=0), [5.0, 4.0], atol=1e-5)
    np.testing.assert_allclose(left[:, :2].min(axis=0), [3.2 - 2.5, 3.9 - 2.0], atol=1e-5)
    mirrored = lens * np.float32([-1, 1, 1])
    gap = np.linalg.norm(lens[:, None] - mirrored[None], axis=2).min(axis=1)
    assert gap.max() < 1e-5
    # In front of the eyes, temples back to the ears; every wire is as thick as asked for.
    assert lens[:, 2].min() > 7.7 + 1
    assert frame[:, 2].min() < 0
    ring = frame.reshape(-1, 6, 3)
    radius = np.linalg.norm(ring - ring.mean(axis=1, keepdims=True), axis=2)
    np.testing.assert_allclose(radius, 0.2, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_more_draws_do_not_change_earlier_ones(studio, seed):
    rng = np.random.default_rng(seed)
    first = random_person(studio.head, rng)
    random_person(studio.head, rng)
    again = random_person(studio.head, np.random.default_rng(seed))
    assert first.identity.tobytes() == again.identity.tobytes()


def test_covered_people_wear_hoods_or_strands_before_the_face(studio):
    rng = np.random.default_rng(0)
    people = [covered_person(studio.head, rng) for _ in range(300)]
    hooded = [person for person in people if person.hood is not None]
    assert 0.4 < len(hooded) / 300 < 0.65
    for person in hooded:
        if person.hair is None:
            assert person.hat is person.locks is person.bun is None
            assert person.visor == 0
    combed = [person.locks for person in people if person.hood is None and person.locks is not None]
    assert len(combed) > 60
    assert all(locks.fringe and locks.length >= 6 for locks in combed)
    assert {locks.comb for locks in combed} == {"forward", "down"}


def test_shown_people_have_few_hats_and_faces_of_their_own(studio):
    rng = np.random.default_rng(0)
    people = [shown_person(studio.head, rng) for _ in range(300)]
    capped = sum(person.hat is not None or person.hood is not None for person in people)
    assert 3 < capped < 45
    spread = np.sqrt(np.mean([(person.identity**2).mean() for person in people]))
    assert 0.95 < spread < 1.2
    assert people[0].identity.dtype == np.float32


def test_frontal_cameras_see_the_face():
    size, head = 200, np.array([0.0, 2.0, 0.5])
    for seed in range(300):
        shot = frontal_shot(size, np.random.default_rng(seed))
        local = shot.R @ head + shot.t
        np.testing.assert_allclose(local[:2], 0, atol=1e-9)
        assert 35 <= local[2] <= 200
        assert 0.5 <= shot.focal * 24 / local[2] / size <= 0.9
        away = -shot.R.T @ shot.t - head
        assert away[2] > 0.3 * np.linalg.norm(away)
        assert np.abs(np.array(shot.center) / size - 0.5).max() < 0.25
