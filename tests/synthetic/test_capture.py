import functools
import json
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from calib.formats import read_capture
from mvs.canonical.cube import CUBE_SCALE_PER_CM, cube_from_cm
from mvs.cli.main import run
from mvs.evaluation.truth import Truth
from mvs.stages.ply import read_properties
from mvs.synthetic import capture as module
from mvs.synthetic.capture import CaptureOptions, sitter, write_capture
from mvs.synthetic.drawing import SKIN, STRAND
from mvs.synthetic.head import EYEBALL_RANGES
from mvs.synthetic.people import random_person
from mvs.synthetic.render import render
from tests.reference import raster as slow

SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"
N_VIEWS, SIZE = 5, 96


def options_for(head_file, folder, **changes):
    return CaptureOptions(
        head_file, folder, **({"n_views": N_VIEWS, "size": SIZE, "supersampling": 2} | changes)
    )


@pytest.fixture(scope="module")
def written(head_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    steps = []
    write_capture(options_for(head_file, folder), lambda: steps.append(1))
    assert len(steps) == N_VIEWS
    return folder


@pytest.fixture(scope="module")
def capture(written):
    return read_capture(written)


def mesh_of(path):
    vertex, faces = read_properties(path)
    return np.column_stack([vertex[name] for name in "xyz"]).astype(float), faces, vertex


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_is_a_capture(capture):
    assert [view.name for view in capture.views] == [f"{k:02d}.jpg" for k in range(N_VIEWS)]
    assert capture.warnings == ()
    for view in capture.views:
        assert view.camera.model == "PINHOLE"
        assert view.load_image().shape == (SIZE, SIZE, 3)
        assert 0.1 < view.load_mask().mean() < 0.6
        assert len(view.point_ids) > 20


def test_the_seed_determines_every_byte(head_file, written, tmp_path):
    write_capture(options_for(head_file, tmp_path / "same"))
    first, again = files_of(written), files_of(tmp_path / "same")
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []
    write_capture(options_for(head_file, tmp_path / "other", seed=8))
    other = files_of(tmp_path / "other")
    assert first.keys() == other.keys()
    same = {str(name) for name in first if first[name] == other[name]}
    # The cameras are the same for everyone.
    assert {name.split("/")[0] for name in same} <= {"sparse"}


def test_the_world_is_as_documented(head_file, studio, written):
    points, faces, vertex = mesh_of(written / "gt" / "mesh.ply")
    head = studio.head
    assert len(points) == len(head.template)
    np.testing.assert_array_equal(faces, head.faces)
    np.testing.assert_array_equal(vertex["part"], head.vertex_part)
    coords = np.column_stack([vertex[name] for name in "uvw"])
    np.testing.assert_array_equal(coords, cube_from_cm(head.template))
    # Metres; z up, the face to -y, +x is the subject's left.
    person = sitter(studio, 7)
    posed = head.pose(person.identity, person.expression).astype(float)
    expected = 0.01 * np.column_stack([posed[:, 0], -posed[:, 2], posed[:, 1]])
    np.testing.assert_allclose(points, expected, atol=1e-7)
    eyes = [points[slice(*head.ranges[span])].mean(axis=0) for span in EYEBALL_RANGES]
    assert eyes[0][0] > 0.02 > -0.02 > eyes[1][0]
    info = json.loads((written / "gt" / "info.json").read_text())
    assert info["seed"] == 7
    assert info["cube"]["scale_per_cm"] == CUBE_SCALE_PER_CM
    np.testing.assert_allclose(info["identity"], person.identity, atol=1e-6)


@pytest.fixture(scope="module")
def hits(written, capture):
    """Of a view: distances to the head and to the shirt, see ``nearest_hits``."""

    @functools.cache
    def of_view(index):
        camera = capture.views[index].camera
        return [nearest_hits(written / "gt" / f"{name}.ply", camera) for name in ("mesh", "torso")]

    return of_view


def nearest_hits(path, camera, coarse=2):
    """Distance along the rays of every second pixel to a mesh, ray by ray; inf beside it."""
    y, x = (k.ravel() + 0.5 for k in np.mgrid[: camera.height : coarse, : camera.width : coarse])
    rays = camera.unproject(np.column_stack([x, y]))
    points, faces, _ = mesh_of(path)
    _, _, distance = slow.first_hits(points[faces] - camera.center, rays)
    n = len(range(0, camera.height, coarse))
    return distance.reshape(n, -1)


@pytest.mark.parametrize("index", [0, 2, 4])
def test_the_mesh_reprojects_into_the_masks(written, capture, hits, index):
    view = capture.views[index]
    head, shirt = hits(index)
    hair = cv2.imread(str(written / "gt" / "hair" / f"{index:02d}.png"), cv2.IMREAD_GRAYSCALE)
    seen = np.isfinite(head) & (head < shirt)
    mask, hair = view.load_mask(), hair[::2, ::2] > 127
    assert seen.sum() > 200
    assert hair.sum() > 50
    expected = seen | hair
    # Whether a pixel is on the rim is for the mean of its samples to say.
    rim = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3))) != cv2.erode(
        expected.astype(np.uint8), np.ones((3, 3))
    )
    differ = mask[::2, ::2] != expected
    assert not (differ & ~rim).any()
    assert differ.sum() < 0.3 * rim.sum()
    # Moved by two pixels the silhouette does not fit any more.
    moved = np.roll(mask, 2, axis=1)[::2, ::2] != expected
    assert (moved & ~rim).sum() + moved.sum() > 2 * differ.sum()


def test_masks_hide_the_shirt(capture, hits):
    view = capture.views[2]
    head, shirt = hits(2)
    front = np.isfinite(shirt) & (shirt < head)
    assert front.sum() > 50
    assert view.load_mask()[::2, ::2][front].mean() < 0.1


def test_sparse_points_lie_on_the_skin_and_are_seen(written, capture):
    assert 100 < len(capture.points) <= 1000
    vertices, _, vertex = mesh_of(written / "gt" / "mesh.ply")
    gap = np.linalg.norm(capture.points[:, None] - vertices[None], axis=2)
    assert gap.min(axis=1).max() < 1e-6
    assert (vertex["part"][gap.argmin(axis=1)] < 2).all()
    views = np.zeros(len(capture.points), int)
    for view in capture.views:
        rows = view.point_ids
        views[rows] += 1
        pixels, depth = view.camera.project(capture.points[rows])
        assert (depth > 0).all()
        column, row = pixels.astype(int).T
        wide = cv2.dilate(view.load_mask().astype(np.uint8), np.ones((3, 3)))
        assert wide[row, column].mean() > 0.97
    assert views.min() >= 2
    model = pycolmap.Reconstruction(written / "sparse" / "0")
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 1e-6


def test_the_truth_is_what_the_evaluation_reads(capture):
    truth = Truth(capture)
    samples = truth.sample(4000)
    face = samples.positions[samples.parts == 0]
    assert len(face) > 300
    # Five views around the face: most of it is seen twice and more.
    assert (truth.count_views(face) >= 2).mean() > 0.8


def test_cameras_stand_on_an_arc(head_file, tmp_path):
    yaws = {}
    for arc in (90.0, 360.0):
        folder = tmp_path / f"{arc:.0f}"
        write_capture(options_for(head_file, folder, n_views=4, size=32, arc_deg=arc))
        yaws[arc] = []
        for view in read_capture(folder).views:
            target, camera = np.array([0, -0.005, 0.01]), view.camera
            offset = camera.center - target
            yaws[arc].append(np.rad2deg(np.arctan2(offset[0], -offset[1])))
            assert 1.0 - 1e-9 < np.linalg.norm(offset) < 1.2
            np.testing.assert_allclose(
                offset / np.linalg.norm(offset), -camera.rotation[2], atol=1e-12
            )
            # Upright: the world's z is up in the picture.
            assert camera.rotation[1, 2] < -0.8
    np.testing.assert_allclose(yaws[90.0], [-45, -15, 15, 45], atol=1e-6)
    np.testing.assert_allclose(np.mod(yaws[360.0], 360), [0, 90, 180, 270], atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_views": 1},
        {"size": 31},
        {"supersampling": 0},
        {"arc_deg": 0.0},
        {"arc_deg": -90.0},
        {"arc_deg": 361.0},
        {"arc_deg": float("nan")},
    ],
)
def test_impossible_options_are_refused(bad, tmp_path):
    with pytest.raises(ValueError, match=next(iter(bad))):
        CaptureOptions(tmp_path / "head.npz", tmp_path, **bad)


def test_a_bad_head_ends_in_one_line(tmp_path, capsys):
    words = ["synthesize", "capture", "--head", str(tmp_path / "absent.npz")]
    assert run([*words, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "not a packed ICT-FaceKit head" in error


def test_nothing_is_half_written(head_file, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(module, "write_properties", broken)
    with pytest.raises(OSError, match="no space left"):
        write_capture(options_for(head_file, tmp_path, n_views=2, size=32))
    assert not (tmp_path / "gt" / "mesh.ply").exists()


def test_the_sample_head_is_made_from_the_real_head(real_head_file, tmp_path):
    write_capture(CaptureOptions(real_head_file, tmp_path, n_views=2, size=32, supersampling=1))
    for name in ("mesh.ply", "torso.ply"):
        points, faces, vertex = mesh_of(tmp_path / "gt" / name)
        kept, kept_faces, kept_vertex = mesh_of(SAMPLE / "gt" / name)
        np.testing.assert_array_equal(faces, kept_faces)
        np.testing.assert_allclose(points, kept, atol=1e-6)
        for other in vertex.keys() - set("xyz"):
            np.testing.assert_allclose(vertex[other], kept_vertex[other], atol=1e-6)
    info = json.loads((tmp_path / "gt" / "info.json").read_text())
    assert info == json.loads((SAMPLE / "gt" / "info.json").read_text())


def test_landmarks_are_where_the_cameras_and_the_mesh_say(capture, written, studio):
    truth = json.loads((written / "gt" / "landmarks.json").read_text())
    points, _, vertex = mesh_of(written / "gt" / "mesh.ply")
    rows = studio.head.landmarks
    assert truth["vertex"] == rows.tolist()
    xyz = np.array(truth["xyz"])
    np.testing.assert_allclose(xyz, points[rows], atol=1e-6)
    uvw = np.column_stack([vertex[name] for name in "uvw"])[rows]
    np.testing.assert_allclose(truth["canonical"], uvw, atol=1e-6)
    visible_by_rays = Truth(capture)
    agree = []
    for view in capture.views:
        found = truth["views"][view.name]
        np.testing.assert_allclose(found["uv"], view.camera.project(xyz)[0], atol=1e-2)
        seen = np.array(found["visible"]) > 0
        # Rays start from hair and masks, too; what they see no raster may hide.
        by_rays = visible_by_rays.visible(view, xyz)
        agree.append(seen[by_rays])
        assert seen.any()
    assert np.concatenate(agree).mean() > 0.9
    hidden = [np.mean(found["visible"]) for found in truth["views"].values()]
    assert min(hidden) < 0.8  # a view from the side hides landmarks of the other


def test_anyone_is_another_person_than_the_sitter_and_than_the_next(head_file, written, tmp_path):
    """Every picture has its own background; the truth is of the same kind."""
    folders = {seed: tmp_path / str(seed) for seed in (1, 7)}
    for seed, folder in folders.items():
        write_capture(options_for(head_file, folder, seed=seed, person="any"))
    write_capture(options_for(head_file, tmp_path / "again", seed=1, person="any"))
    assert files_of(tmp_path / "again") == files_of(folders[1])
    capture = read_capture(folders[1])
    corners = {view.load_image()[:3, :3].tobytes() for view in capture.views}
    assert len(corners) == len(capture.views)
    truths = [(folder / "gt" / "mesh.ply").read_bytes() for folder in (*folders.values(), written)]
    assert len(set(truths)) == 3
    assert json.loads((folders[1] / "gt" / "info.json").read_text())["person"] == "any"
    with pytest.raises(ValueError, match="seed must not be negative"):
        options_for(head_file, tmp_path, seed=-1)
    with pytest.raises(ValueError, match="studio or any"):
        options_for(head_file, tmp_path, person="nobody")


def test_locks_of_hair_hide_what_is_below(head_file, tmp_path, monkeypatch):
    """They are in none of the meshes that hide the head, so the coverage tells of them."""
    combed = []

    def person_with_locks(head, rng):
        person = random_person(head, rng)
        while person.locks is None or person.hood is not None:
            person = random_person(head, rng)
        combed.append(person)
        return person

    monkeypatch.setattr(module, "random_person", person_with_locks)
    photos = []

    def watched(*args):
        photos.append(render(*args))
        return photos[-1]

    monkeypatch.setattr(module, "render", watched)
    write_capture(options_for(head_file, tmp_path, n_views=3, person="any"))
    strands = 0
    landmarks = json.loads((tmp_path / "gt" / "landmarks.json").read_text())["views"]
    for name, photo in zip(landmarks, photos, strict=True):
        cover = cv2.imread(str(tmp_path / "gt" / "hair" / f"{Path(name).stem}.png"), -1) > 0
        strand = photo.material == STRAND
        strands += strand.sum()
        assert cover[strand].all()
        assert not cover[photo.material == SKIN].any()
        seen = np.array(landmarks[name]["visible"], bool)
        row, column = np.array(landmarks[name]["uv"])[seen, ::-1].astype(int).T
        assert not strand[row, column].any()
    assert strands > 50
