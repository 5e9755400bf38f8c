"""A fit wrapped onto its scan: the scan where there is one, the fit's own shape elsewhere."""

import json

import numpy as np
import pytest

from mvs.canonical.fitted import read_fitted, register_fitted
from mvs.canonical.register import RegisterOptions
from mvs.canonical.scan import make_scan
from mvs.canonical.surface import Surface
from mvs.canonical.template import load_template
from mvs.cli import main
from mvs.stages.ply import read_properties, write_properties
from tests.scenes import unit_ball

HEAD_MM = 375.7
TURN = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def person(coords):
    """A head in its own world, millimetres: some way off the neutral one."""
    x, y, z = (coords.astype(float) - 0.5).T
    moved = np.stack([x * (1 + 0.08 * np.cos(5 * y)), y + 0.03 * x * x, z + 0.02 * y], axis=1)
    return HEAD_MM * moved @ TURN.T + [10, 20, 30]


def off(coords):
    """What the fit is wrong by: 2 mm, smooth."""
    return 2.0 * np.sin(8 * coords.astype(float)[:, [2, 0, 1]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A fit with a ball inside, and a scan of the right half of the head's front."""
    folder = tmp_path_factory.mktemp("fitted")
    head = load_template()
    n = len(head.coords)
    unit, inner = unit_ball(6, 8)
    middle = 0.5 + 0.03 * unit
    coords = np.concatenate([head.coords, middle])
    places = person(coords) + off(coords)
    coords[-1] = np.nan
    faces = np.concatenate([head.faces, inner + n]).astype(np.int32)
    part = np.repeat([1, 2], [n, len(unit)]).astype(np.uint8)
    write(folder / "posed.ply", places, coords, faces, part)
    front = (head.coords[:, 2] > 0.5) & (head.coords[:, 0] < 0.55)
    kept = head.faces[front[head.faces].all(axis=1)]
    nothing = np.zeros(n, np.uint8)
    write(folder / "truth.ply", person(head.coords), head.coords, head.faces, nothing)
    write(folder / "scan.ply", person(head.coords), head.coords, kept, nothing)
    return folder


def write(path, points, coords, faces, part):
    columns = {name: points[:, k] for k, name in enumerate("xyz")}
    columns |= {name: coords[:, k].astype(np.float32) for k, name in enumerate("uvw")}
    with path.open("wb") as stream:
        write_properties(stream, columns | {"part": part}, faces)


@pytest.fixture(scope="module")
def wrapped(files):
    vertex, faces = read_properties(files / "scan.ply")
    points, coords = (np.column_stack([vertex[k] for k in names]) for names in ("xyz", "uvw"))
    scan = make_scan(points, coords, np.ones(len(points)), faces)
    options = RegisterOptions(iterations=8, detail=0.01)
    return register_fitted(scan, read_fitted(files / "posed.ply"), options)


def test_it_lies_on_the_scan(wrapped):
    head = load_template()
    n = len(head.coords)
    seen = wrapped.visible[:n]
    assert seen.mean() > 0.2
    true = Surface(person(head.coords), head.faces)
    found = wrapped.vertices[:n][seen]
    away = np.linalg.norm(true.closest(found)[2] - found, axis=1)
    assert np.median(np.linalg.norm(off(head.coords), axis=1)) > 1
    assert np.median(away) < 0.15
    assert np.quantile(away, 0.95) < 0.6
    assert not wrapped.folded.any()


def test_what_the_scan_has_not_keeps_the_fit(wrapped):
    """The back is 2 mm off, as the fit is, and not the template's 20 mm."""
    head = load_template()
    fit = person(head.coords) + off(head.coords)
    behind = head.coords[:, 2] < 0.4
    moved = np.linalg.norm((wrapped.vertices[: len(fit)] - fit)[behind], axis=1)
    assert np.median(moved) < 2.5
    assert not wrapped.visible[: len(fit)][behind].any()


def test_what_is_inside_goes_along(wrapped):
    n = len(load_template().coords)
    assert len(wrapped.vertices) > n
    assert not wrapped.visible[n:].any()
    assert not wrapped.confidence[n:].any()
    ball = wrapped.vertices[n:]
    assert np.ptp(ball, axis=0).max() == pytest.approx(2 * 0.03 * HEAD_MM, rel=0.2)
    assert np.isfinite(ball).all()


def test_command(files, tmp_path, capsys):
    words = ["canonical", "register", str(files / "scan.ply"), "--fit", str(files / "posed.ply")]
    words += ["--unit", "mm", "--output", str(tmp_path), "--iterations", "4", "--quiet"]
    assert main.run([*words, "--truth", str(files / "truth.ply")]) == 0
    report = json.loads((tmp_path / "registration.json").read_text())
    # What is inside is no part of any figure.
    counted = sum(part["distance_all_mm"]["n"] for part in report["parts"].values())
    assert counted < len(load_template().faces)
    assert report["truth"]["surface"]["face"]["median"] < 0.6
    vertex, faces = read_properties(tmp_path / "registered.ply")
    known = read_properties(files / "posed.ply")
    np.testing.assert_array_equal(faces, known[1])
    np.testing.assert_array_equal(vertex["u"], known[0]["u"])
    assert main.run([*words, "--template", str(files / "posed.ply")]) == 2
    assert "leave out --template" in capsys.readouterr().err
    assert main.run([*words[:4], str(files / "scan.obj"), *words[5:]]) == 2
    assert "give posed.ply of mvs fit" in capsys.readouterr().err
