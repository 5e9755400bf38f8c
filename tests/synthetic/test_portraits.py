from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.scale import Similarity
from mvs.headmodel.portrait import FACE_CENTER_CM, PIXELS_PER_CM, portrait
from mvs.synthetic import portraits
from mvs.synthetic.head import FACE
from mvs.synthetic.portraits import (
    PORTRAITS,
    SIZE,
    PortraitOptions,
    contact_sheet,
    laid_over,
    portrait_path,
    portrait_shot,
    random_activations,
    random_portrait,
    random_subject,
    record_type,
)
from mvs.synthetic.scene import bend_neck
from mvs.synthetic.shards import write_shards
from tests.headmodel.models import small_ict
from tests.synthetic.test_render import person_of


def project(shot, points):
    seen = points @ shot.R.T + shot.t
    return seen[:, :2] / seen[:, 2:] * shot.focal + shot.center


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_the_mean_head_laid_over_a_person_is_upright_and_centred(studio, scale):
    rng = np.random.default_rng(2)
    person = random_subject(studio.head, rng)
    posed = scale * studio.head.pose(person.identity, person.expression) + [1.0, -2.0, 0.5]
    place = laid_over(studio.head, posed)
    for _ in range(5):
        shot = portrait_shot(place, rng)
        center, step = np.array(FACE_CENTER_CM), np.array([0, 1e-3, 0])
        middle, above = project(shot, place.points(np.stack([center, center + step])))
        np.testing.assert_allclose(middle, [SIZE / 2, SIZE / 2], atol=1e-6)
        assert abs((above - middle)[0]) < 1e-6
        assert 0.5 < (middle - above)[1] / (1e-3 * PIXELS_PER_CM) < 1.01


def test_how_large_a_head_is_does_not_show(studio):
    person = random_subject(studio.head, np.random.default_rng(3))
    posed = studio.head.pose(person.identity, person.expression).astype(np.float64)
    seen = []
    for scale in (1.0, 1.15):
        shot = portrait_shot(laid_over(studio.head, scale * posed), np.random.default_rng(5))
        seen.append(project(shot, scale * posed[studio.head.vertex_part == FACE]))
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-3)


def test_a_fit_takes_portraits_as_they_are_rendered():
    """From one place, cut out of a wide and tilted picture, a dot is where a portrait has it."""
    model = small_ict(1500)
    cm = Similarity(1.05, Rotation.from_euler("xy", [4, -7], degrees=True).as_matrix(), np.ones(3))
    shot = portrait_shot(cm, np.random.default_rng(3))
    eye = -shot.R.T @ shot.t
    tilt = Rotation.from_euler("zyx", [20, 6, -4], degrees=True).as_matrix() @ shot.R
    params = np.array([0.9 * shot.focal * 3, 0.9 * shot.focal * 3, 700.0, 640.0])
    pose = np.column_stack([tilt, -tilt @ eye])
    camera = Camera("PINHOLE", 1400, 1300, params, pose)
    off = np.array([[0, 0, 0], [5, 1, -2], [-3, 6, 1], [0, -6, 2]])
    points = cm.points(off + FACE_CENTER_CM)
    y, x = np.mgrid[:1300, :1400] + 0.5
    for point, wanted in zip(points, project(shot, points), strict=True):
        px, py = camera.project(point[None])[0][0]
        dot = np.where(np.hypot(x - px, y - py) < 9, 255, 0).astype(np.uint8)
        image = np.repeat(dot[..., None], 3, axis=2)
        found = portrait(image, camera, model, cm, SIZE).image[..., 0]
        rows, columns = np.indices(found.shape) + 0.5
        middle = [np.average(columns, weights=found), np.average(rows, weights=found)]
        np.testing.assert_allclose(middle, wanted, atol=0.3)


def test_a_portrait_is_of_its_seed_alone(studio):
    first, again, other = (
        random_portrait(studio, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first.dtype == record_type(studio.head)
    assert first.tobytes() == again.tobytes()
    assert first["image"].tobytes() != other["image"].tobytes()
    assert first["image"].std() > 5


def test_a_portrait_tells_where_places_of_its_head_are(studio, monkeypatch):
    shots = []

    def shot(*args):
        shots.append(portrait_shot(*args))
        return shots[-1]

    monkeypatch.setattr(portraits, "portrait_shot", shot)
    record = random_portrait(studio, np.random.default_rng(6))
    head = studio.head
    straight = head.pose(record["identity"], record["expression"])
    posed = bend_neck(straight, head.template, record["neck"])
    assert np.abs(posed - straight).max() > 0.1
    seen = np.column_stack([posed, np.ones(len(posed))]) @ record["camera"].T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], project(shots[0], posed), atol=2e-3)
    middle = seen[head.vertex_part == FACE].mean(axis=0)
    assert np.abs(middle[:2] / middle[2] - SIZE / 2).max() < SIZE / 5


def test_a_portrait_shows_its_person(studio, monkeypatch):
    """Another identity is another picture, and another record."""
    people = {}

    def subject(*_):
        return replace(person_of(studio), identity=people["identity"])

    monkeypatch.setattr(portraits, "random_subject", subject)
    images = []
    for amount in (0.0, 2.0):
        people["identity"] = np.full(len(studio.head.identity_modes), amount, np.float32)
        record = random_portrait(studio, np.random.default_rng(11))
        np.testing.assert_array_equal(record["identity"], people["identity"])
        images.append(record["image"].astype(int))
    assert np.abs(images[0] - images[1]).mean() > 1.0


def test_expressions_are_many_and_in_bounds(studio):
    rng = np.random.default_rng(0)
    drawn = np.stack([random_activations(studio.head, rng) for _ in range(800)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    at_rest = (drawn == 0).all(axis=1).mean()
    assert 0.05 < at_rest < 0.2
    blink = drawn[:, studio.head.expression_names.index("eyeBlink_L")]
    assert (blink > 0.1).mean() > 0.15
    assert blink.max() > 0.9


def test_eyes_turn_together():
    names = tuple(f"eyeLook{way}_{side}" for way in ("Down", "In", "Out", "Up") for side in "LR")
    rng = np.random.default_rng(1)
    for _ in range(50):
        expression = np.ones(len(names), np.float32)
        portraits._look_aside(expression, names, rng)
        by_name = dict(zip(names, expression.tolist(), strict=True))
        assert by_name["eyeLookOut_L"] == by_name["eyeLookIn_R"]
        assert by_name["eyeLookIn_L"] == by_name["eyeLookOut_R"]
        assert by_name["eyeLookUp_L"] * by_name["eyeLookDown_R"] == 0


def test_shards(head_file, studio, tmp_path):
    options = PortraitOptions(head_file, tmp_path / "set", 2, 2, seed=3)
    written = list(write_shards(options, PORTRAITS))
    assert written == [portrait_path(options.output, k) for k in (0, 1)]
    shards = [np.load(path) for path in written]
    assert all(shard.dtype == record_type(studio.head) and len(shard) == 2 for shard in shards)
    assert len({record["image"].tobytes() for shard in shards for record in shard}) == 4
    assert contact_sheet(shards[0], 3).shape == (SIZE // 2, 3 * SIZE // 2, 3)
    other = replace(options, output=tmp_path / "other", n_shards=1, seed=4)
    (path,) = write_shards(other, PORTRAITS)
    assert path.read_bytes() != written[0].read_bytes()
