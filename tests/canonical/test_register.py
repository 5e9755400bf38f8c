"""The template on a scan of a known deformation: back to the truth, without folds, any frame."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mvs.canonical.bend import Bender
from mvs.canonical.correspond import correspond, correspond_through, write_correspondence
from mvs.canonical.folds import find_crossings, find_folds
from mvs.canonical.register import RegisterOptions, register
from mvs.canonical.scan import make_scan, read_scan
from mvs.canonical.surface import Surface
from mvs.canonical.template import Template, load_template, read_template
from mvs.canonical.wrapped import registration_report, write_registration
from mvs.cli import main
from mvs.kernels.closest import closest_on_faces, faces_around
from mvs.stages.obj import read_obj
from mvs.stages.ply import read_properties, write_properties

MM = 1 / 375.7
TURN = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
FAST = RegisterOptions(iterations=12, detail=0.02)


def ball(rows, columns):
    """An ellipsoid open below, as a head in the cube: places and faces, outwards."""
    polar = np.linspace(0.02, 0.8 * np.pi, rows)[:, None]
    turn = np.arange(columns) * 2 * np.pi / columns
    unit = [np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn)]
    points = np.stack(unit, axis=-1).reshape(-1, 3) * [0.25, 0.35, 0.3] + 0.5
    # A nose, so that the head has a front.
    near = np.linalg.norm(points - [0.5, 0.5, 0.8], axis=1)
    points[:, 2] += 0.05 * np.exp(-((near / 0.05) ** 2))
    i, j = (k.ravel() for k in np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij"))
    a, b = i * columns + j, i * columns + (j + 1) % columns
    upper, lower = np.stack([a, a + columns, b], 1), np.stack([b, a + columns, b + columns], 1)
    faces = np.concatenate([upper, lower])
    return points, faces.astype(np.int32)


def person(coords):
    """Another shape: wider, a longer jaw, a bump; up to 9 mm from the neutral."""
    x, y, z = (np.asarray(coords, float) - 0.5).T
    bump = np.exp(-((x - 0.1) ** 2 + (y - 0.1) ** 2 + (z - 0.25) ** 2) / 0.1**2)
    moved = [x * (1 + 0.1 * np.cos(5 * y)), y - 0.15 * y**2 * (y < 0), z + 0.012 * bump]
    return np.stack(moved, axis=1) + 0.5


@cache
def template():
    points, faces = ball(26, 40)
    nothing = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
    return Template(points.astype(np.float32), faces, *nothing, np.ones(len(points), np.uint8))


def scan_of(noise_mm=0.2, coords_mm=3.0, bias_mm=0.0, holes=True, clutter=True, seed=0):
    """A dense scan of the person: noise, wrong u v w, a hole, a shield in front of one cheek."""
    rng = np.random.default_rng(seed)
    coords, faces = ball(110, 170)
    points = person(coords) + rng.normal(0, noise_mm * MM, coords.shape)
    shift = bias_mm * MM * np.sin(9 * coords[:, [1, 2, 0]])
    told = coords + rng.normal(0, coords_mm * MM, coords.shape) + shift
    if holes:
        gap = np.linalg.norm(coords - [0.3, 0.7, 0.6], axis=1) < 0.08
        faces = faces[~gap[faces].any(axis=1)]
    confidence = np.full(len(points), 0.7)
    if clutter:
        wall = np.stack(
            [
                *np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40)),
            ],
            axis=-1,
        )
        wall = np.column_stack([wall.reshape(-1, 2) * 0.3 + 0.6, np.full(1600, 0.9)])
        i = (np.arange(39)[:, None] * 40 + np.arange(39)).ravel()
        more = np.concatenate(
            [np.stack([i, i + 1, i + 40], 1), np.stack([i + 1, i + 41, i + 40], 1)]
        )
        faces = np.concatenate([faces, more + len(points)]).astype(np.int32)
        points, told = np.concatenate([points, wall]), np.concatenate([told, rng.random((1600, 3))])
        confidence = np.concatenate([confidence, np.full(1600, 0.02)])
    return make_scan(points, told, confidence, faces)


@cache
def wrapped():
    return register(scan_of(), template(), FAST)


def surface_mm(registration, move=lambda points: points):
    """From vertices that the scan shows to the true surface, and to their own true places."""
    coords, faces = ball(150, 240)
    seen = registration.visible
    found = registration.vertices[seen]
    on = np.linalg.norm(Surface(move(person(coords)), faces).closest(found)[2] - found, axis=1)
    place = np.linalg.norm(move(person(template().coords))[seen] - found, axis=1)
    return on / MM, place / MM


def test_it_returns_to_the_truth():
    on, place = surface_mm(wrapped())
    assert np.median(on) < 0.15
    assert np.quantile(on, 0.95) < 0.5
    # Coordinates are 3 mm off in each direction.
    assert np.median(place) < 0.6
    assert np.quantile(place, 0.9) < 1.5
    assert wrapped().visible.mean() > 0.8
    still = np.linalg.norm(template().coords - person(template().coords), axis=1) / MM
    assert np.quantile(still, 0.9) > 4


def test_nothing_folds_and_holes_follow():
    found = wrapped()
    assert not found.folded.any()
    true = person(template().coords)
    in_hole = np.linalg.norm(template().coords - [0.3, 0.7, 0.6], axis=1) < 0.06
    assert in_hole.sum() > 5
    assert not found.visible[in_hole].any()
    assert (found.confidence[in_hole] == 0).all()
    assert np.linalg.norm(found.vertices - true, axis=1)[in_hole].max() / MM < 3


def test_a_bias_of_the_coordinates_moves_places_but_not_the_surface():
    on, place = surface_mm(register(scan_of(bias_mm=3), template(), FAST))
    assert np.median(on) < 0.2
    assert 0.5 < np.median(place) < 3


def test_the_world_may_be_turned_moved_and_grown():
    scan = scan_of()

    def move(points):
        return 40 * points @ TURN.T + [900.0, -3.0, 7.0]

    moved = make_scan(move(scan.points), scan.coords, scan.confidence, scan.faces)
    found = register(moved, template(), FAST)
    off = np.linalg.norm(found.vertices - move(wrapped().vertices), axis=1) / 40 / MM
    assert off.max() < 0.02
    np.testing.assert_allclose(found.distance / 40, wrapped().distance, atol=0.02 * MM)
    np.testing.assert_array_equal(found.visible, wrapped().visible)


def test_the_same_scan_gives_the_same_bytes():
    again = register(scan_of(), template(), FAST)
    np.testing.assert_array_equal(again.vertices, wrapped().vertices)
    np.testing.assert_array_equal(again.confidence, wrapped().confidence)


def test_folds_and_crossings_are_seen():
    rest, faces = ball(26, 40)
    bender = Bender(rest, faces)
    assert not find_folds(bender, rest).any()
    assert not find_crossings(rest, faces).any()
    turned = rest @ TURN.T
    assert not find_folds(bender, turned).any()
    tucked = rest.copy()
    tucked[500] = rest[500] + 1.6 * (rest[502] - rest[500])
    assert 1 <= find_folds(bender, tucked).sum() <= 8
    pushed = rest.copy()
    pushed[500] = 2 * 0.5 - rest[500] * 1.2
    around = np.flatnonzero((faces == 500).any(axis=1))
    assert find_crossings(pushed, faces)[around].any()


def test_nearest_places_are_exact():
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(12, 3)), rng.permutation(12).reshape(4, 3).astype(np.int32)
    points = rng.normal(size=(60, 3)) * 1.5
    near = np.tile(np.arange(12), (60, 1))
    face, weights = closest_on_faces(points, vertices, faces, faces_around(faces, 12), near)
    found = np.linalg.norm(np.einsum("nk,nkc->nc", weights, vertices[faces[face]]) - points, axis=1)
    grid = np.array([[a, b, 100 - a - b] for a in range(101) for b in range(101 - a)]) / 100
    dense = np.einsum("gk,fkc->fgc", grid, vertices[faces]).reshape(-1, 3)
    slow = np.linalg.norm(points[:, None] - dense, axis=2).min(axis=1)
    assert (weights >= -1e-12).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (found <= slow + 1e-9).all()
    assert (slow - found).max() < 0.03


@pytest.mark.parametrize("corners", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)])
def test_nearest_places_on_faces_without_area(corners):
    """Corners at one place, as decimated scans have them: the edge that is left, or the point."""
    ends = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    vertices, faces = ends[list(corners)], np.array([[0, 1, 2]], np.int32)
    points = np.array([[0.5, 1.0, 0.0], [-1.0, 0.0, 0.0], [3.0, 0.0, 1.0]])
    near = np.tile(np.arange(3), (3, 1))
    face, weights = closest_on_faces(points, vertices, faces, faces_around(faces, 3), near)
    found = np.einsum("nk,nkc->nc", weights, vertices[faces[face]])
    along = np.clip(points[:, 0], 0.0, 2.0) * (1 in corners)
    np.testing.assert_allclose(found, along[:, None] * [1.0, 0.0, 0.0], atol=1e-12)


def test_places_on_another_person():
    first = scan_of(coords_mm=2, clutter=False, seed=1)
    coords, faces = ball(100, 150)
    rng = np.random.default_rng(2)
    told = coords + rng.normal(0, 2 * MM, coords.shape)
    # The other has no chin.
    faces = faces[(coords[faces, 1] > 0.3).all(axis=1)]
    second = make_scan(coords * 300, told, np.ones(len(coords)), faces)
    true = ball(110, 170)[0]
    chin = true[:, 1] < 0.27
    both = (true[:, 1] > 0.34) & np.isin(np.arange(len(true)), first.faces)
    for found in (
        correspond(first, second),
        correspond_through(first, second, template(), register_options=FAST),
    ):
        there = found.face >= 0
        error = np.linalg.norm(found.position / 300 - true, axis=1) / MM
        assert there[both].mean() > 0.9
        assert not there[chin].any()
        assert (found.confidence[~there] == 0).all()
        assert np.isnan(found.position[~there]).all()
        assert np.median(error[both & there]) < 1.5
        again = np.einsum(
            "nk,nkc->nc", found.weights[there], second.points[second.faces[found.face[there]]]
        )
        np.testing.assert_allclose(again, found.position[there], atol=1e-3)


def written(path, scan, without=()):
    table = {n: scan.points[:, k] for k, n in enumerate("xyz")}
    table |= {n: scan.coords[:, k].astype(np.float32) for k, n in enumerate("uvw")}
    table["confidence"] = scan.confidence.astype(np.float32)
    with path.open("wb") as stream:
        write_properties(stream, {k: v for k, v in table.items() if k not in without}, scan.faces)
    return path


def test_the_files(tmp_path):
    scan = scan_of()
    report = registration_report(wrapped(), scan)
    shipped = load_template()
    full = replace(wrapped(), template=replace(template(), atlas=shipped.atlas[:5]))
    flat = np.arange(3 * len(template().faces)).reshape(-1, 3).astype(np.int32) % 5
    full = replace(full, template=replace(full.template, atlas_faces=flat))
    write_registration(tmp_path, full, report)
    vertex, faces = read_properties(tmp_path / "registered.ply")
    np.testing.assert_array_equal(faces, template().faces)
    np.testing.assert_array_equal(np.column_stack([vertex[n] for n in "xyz"]), full.vertices)
    np.testing.assert_array_equal(np.column_stack([vertex[n] for n in "uvw"]), template().coords)
    mesh = read_obj(tmp_path / "registered.obj")
    np.testing.assert_allclose(mesh.vertices, full.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, template().faces)
    np.testing.assert_array_equal(mesh.texture_faces, flat)
    np.testing.assert_allclose(mesh.texture, shipped.atlas[:5], atol=1e-6)
    part = report["parts"]["face"]
    # Edges are 15 mm long, and straight.
    assert part["distance_mm"]["median"] < 0.6
    assert report["folded_faces"] == 0


def test_a_users_template(tmp_path):
    path = tmp_path / "mine.obj"
    lines = ["v {:g} {:g} {:g}".format(*row) for row in template().coords]
    lines += ["f {} {} {}".format(*(row + 1)) for row in template().faces]
    path.write_text("\n".join(lines))
    found = read_template(path)
    np.testing.assert_allclose(found.coords, template().coords, atol=1e-5)
    np.testing.assert_array_equal(found.faces, template().faces)
    assert len(found.atlas) == 0
    np.save(tmp_path / "coords.npy", 0.9 * template().coords)
    with_coords = read_template(path, tmp_path / "coords.npy")
    np.testing.assert_allclose(with_coords.coords, 0.9 * template().coords)
    np.save(tmp_path / "coords.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="a row per vertex"):
        read_template(path, tmp_path / "coords.npy")
    path.write_text("\n".join(lines).replace("v 0.", "v 9."))
    with pytest.raises(ValueError, match="outside the cube"):
        read_template(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"without": ("u", "v")}, "holds no u v"),
        ({"coords": 255.0}, "outside the cube"),
        ({"shuffle": True}, "not of one head"),
        ({"n": 200}, "300 are needed"),
        ({"confidence": 0.0}, "300 are needed"),
        ({"points": np.nan}, "300 are needed"),
        ({"points": 0.0}, "mvs: "),
        ({"unit": "m"}, "give the scan's own unit"),
        ({"missing": True}, "no such file"),
    ],
)
def test_what_a_scan_can_have_wrong(tmp_path, capfd, change, says):
    scan = scan_of(clutter=False)
    coords = scan.coords * change.get("coords", 1.0)
    if "shuffle" in change:
        coords = np.random.default_rng(0).permutation(coords)
    scan = replace(
        scan,
        coords=coords,
        points=scan.points * change.get("points", 100.0),
        confidence=scan.confidence * change.get("confidence", 1.0),
    )
    if "n" in change:
        rows = {f: getattr(scan, f)[: change["n"]] for f in ("points", "coords", "confidence")}
        scan = replace(scan, **rows, faces=scan.faces[(scan.faces < change["n"]).all(axis=1)])
    path = tmp_path / "scan.ply"
    if "missing" not in change:
        written(path, scan, change.get("without", ()))
    words = ["canonical", "register", str(path), "--output", str(tmp_path / "out")]
    words += ["--unit", change["unit"]] if "unit" in change else []
    assert main.run(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "out").exists()


def test_correspond_writes_its_file(tmp_path, capfd):
    paths = [written(tmp_path / f"{seed}.ply", scan_of(seed=seed)) for seed in (0, 1)]
    words = ["canonical", "correspond", *map(str, paths), "--output", str(tmp_path / "c.npz")]
    assert main.run(words) == 0
    assert "found" in capfd.readouterr().out
    with np.load(tmp_path / "c.npz") as data:
        assert set(data) == {"face", "weights", "position", "confidence", "distance"}
        assert (data["face"] >= 0).mean() > 0.8
    write_correspondence(tmp_path / "d.npz", correspond(*(read_scan(path) for path in paths)))
    assert (tmp_path / "c.npz").read_bytes() == (tmp_path / "d.npz").read_bytes()
    assert main.run([*words[:-1], str(tmp_path / "c.txt")]) == 2
