"""The real command on captures on disk whose geometry is known exactly."""

import dataclasses
import json
import shutil
import stat
import subprocess
import sys

import cv2
import numpy as np
import pytest
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from mvs.pipeline import STAGES
from mvs.stages.refine import RefineOptions
from tests.integration.command import mvs
from tests.scenes import make_scene, write_capture, write_cube_maps

LENS = ("OPENCV", (-0.12, 0.05, 0.002, -0.001))
CLOUD_FIELDS = [
    *("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"),
    *("confidence", "n_views", "u", "v", "w", "quality"),
]


def write_scene(scene, folder):
    write_capture(scene, folder / "capture")
    write_cube_maps(scene, folder / "maps")
    return folder / "capture", folder / "maps"


def words_for(capture, maps, output, *more):
    quality = () if "--quality" in more else ("--quality", "draft")
    return (
        *("reconstruct", capture, "--output", output),
        *("--embedder", "precomputed", "--cube-maps", maps, *quality, *more),
    )


def reconstruct(*arguments):
    return mvs(*words_for(*arguments))


def read_ply(path):
    data = PlyData.read(str(path))
    return data, np.column_stack([data["vertex"][k] for k in "xyz"]).astype(np.float64)


def distance_mm(scene, path):
    return 1000 * scene.distance(read_ply(path)[1])


def shown(output):
    """Files that users see, by name."""
    return sorted(path for path in output.iterdir() if not path.name.startswith("."))


def unseen_mm(scene, path):
    """How far the surface that two views see is from the points, per surface point."""
    from scipy.spatial import cKDTree

    middle = range(1, len(scene.cameras) - 1)
    surface = np.concatenate([scene.surface_points(view)[::7] for view in middle])
    return 1000 * cKDTree(read_ply(path)[1]).query(surface)[0]


@pytest.fixture(scope="module")
def scene():
    return make_scene(6, 160)


@pytest.fixture(scope="module")
def paths(scene, tmp_path_factory):
    return write_scene(scene, tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def result(paths, tmp_path_factory):
    """Of a process of its own."""
    output = tmp_path_factory.mktemp("out") / "deep" / "er"
    words = [sys.executable, "-m", "mvs", *map(str, words_for(*paths, output))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # not a terminal: no progress bars
    return output, done.stdout


def test_exact_maps_give_exact_points(scene, result):
    output, _ = result
    for name, median, high in (("points.ply", 0.02, 0.2), ("cloud.ply", 0.05, 0.5)):
        error = distance_mm(scene, output / name)
        assert len(error) > 2000
        assert np.median(error) < median
        assert np.percentile(error, 95) < high
    # A pixel is 1.7 mm wide here.
    assert np.percentile(unseen_mm(scene, output / "points.ply"), 95) < 2.5
    error = distance_mm(scene, output / "mesh.ply")
    assert np.median(error) < 0.3
    assert np.percentile(unseen_mm(scene, output / "mesh.ply"), 90) < 3.0


def test_normals_and_coordinates_are_the_surface_s(scene, result):
    for name, degrees in (("cloud.ply", 4), ("mesh.ply", 8)):
        data, points = read_ply(result[0] / name)
        normals = np.column_stack([data["vertex"][k] for k in ("nx", "ny", "nz")])
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
        cosine = (normals * scene.normals(points)).sum(axis=1)
        assert np.median(np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))) < degrees
        coords = np.column_stack([data["vertex"][k] for k in "uvw"])
        error = np.linalg.norm(coords - scene.coords(points), axis=1) / scene.cube_scale
        assert 1000 * np.median(error) < 0.5


def test_files_are_what_other_programs_read(result):
    import open3d

    output, _ = result
    assert [path.name for path in shown(output)] == [
        *("cloud.ply", "mesh.ply", "points.ply", "report.html", "run.json"),
    ]
    for path in shown(output):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for name in ("points.ply", "cloud.ply", "mesh.ply"):
        header = (output / name).read_bytes()[:80]
        assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
        vertex = PlyData.read(str(output / name))["vertex"]
        assert [p.name for p in vertex.properties] == CLOUD_FIELDS
    mesh = open3d.io.read_triangle_mesh(str(output / "mesh.ply"))
    assert len(mesh.triangles) > 1000
    assert mesh.has_vertex_colors()
    assert mesh.has_vertex_normals()


def test_the_record_says_what_was_done(result, paths):
    output, text = result
    record = json.loads((output / "run.json").read_text())
    assert record["capture"] == str(paths[0])
    assert (record["images"], record["masks"], record["format"]) == (None, None, "colmap")
    assert record["unit"] is None
    assert record["embedder"] == "precomputed"
    assert list(record["seconds"]) == [stage for stage in STAGES if stage != "refine"]
    assert record["counts"]["views"] == 6
    assert record["options"]["match"]["max_epipolar_px"] == 14.0
    assert record["peak_memory_mb"] > 50
    assert record["versions"]["numpy"] == np.__version__
    assert len(record["inputs"]) == 6
    faces = PlyData.read(str(output / "mesh.ply"))["face"].count
    assert record["counts"]["faces"] == faces
    assert f"{faces:,}" in text


def test_the_report_shows_what_the_run_noted(result):
    """Exact maps and poses: matches that fit. The scene's cube is not that of heads."""
    output, _ = result
    record = json.loads((output / "run.json").read_text())
    notes = record["notes"]
    assert notes["agrees"] == [True] * 6
    assert notes["confidence"] == [1.0] * 6
    assert sum(notes["reprojection_px"]["counts"]) == record["counts"]["points"]
    assert notes["reprojection_px"]["median"] < 0.05
    page = (output / "report.html").read_text(encoding="utf-8")
    assert page.count('class="problem"') == 1
    assert "of the face is seen by fewer than two views" in page
    assert "A draft" in page
    assert f"median {notes['reprojection_px']['median']:.2f} px" in page
    assert f"{record['counts']['faces']:,} faces" in page


def test_same_bytes_for_one_thread_and_two_and_again(paths, result, tmp_path):
    for threads in (1, 2):
        done = reconstruct(*paths, tmp_path / str(threads), "--threads", threads)
        assert done.returncode == 0, done.stderr
    for name in ("points.ply", "cloud.ply", "mesh.ply"):
        one, two, other = (
            (folder / name).read_bytes() for folder in (tmp_path / "1", tmp_path / "2", result[0])
        )
        assert one == two == other, name


def test_balanced_quality_refines_the_cloud(paths, tmp_path):
    done = reconstruct(*paths, tmp_path / "out", "--quality", "balanced")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(record["seconds"]) == list(STAGES)
    assert record["options"]["refine"]["n_sources"] == 4
    assert record["counts"]["refined_points"] > 1000
    assert record["files"] == ["points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply"]
    assert list(record["cpu_seconds"]) == list(record["stage_peak_mb"]) == list(STAGES)
    cloud = PlyData.read(str(tmp_path / "out" / "cloud.ply"))["vertex"]
    assert len(cloud) == record["counts"]["refined_points"]


def test_what_is_given_goes_before_the_preset(paths, tmp_path):
    """Also where it is what another preset has."""
    more = ("--quality", "fast", "--refine.n-best", 1, "--refine.steps", "SPSPS", "--mesh.depth", 6)
    done = reconstruct(*paths, tmp_path / "out", *more, "--until", "embed")
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert options["refine"]["n_best"] == 1
    assert options["refine"]["every"] == 2
    assert options["refine"]["steps"] == RefineOptions().steps == "SPSPS"
    assert options["mesh"]["depth"] == 6


def test_pictures_without_texture_give_the_coarse_surface_and_say_so(scene, paths, tmp_path):
    capture = tmp_path / "capture"
    shutil.copytree(paths[0], capture)
    for name in scene.names:
        image = cv2.imread(str(capture / "images" / name))
        cv2.imwrite(str(capture / "images" / name), np.full_like(image, 128))
    more = ("--quality", "fast", "--mesh.mesher", "tsdf")
    done = reconstruct(capture, paths[1], tmp_path / "out", *more)
    assert done.returncode == 0, done.stderr
    assert "not refined" in done.stdout + done.stderr
    assert np.median(distance_mm(scene, tmp_path / "out" / "mesh.ply")) < 1.0


def test_tsdf_wants_refinement_and_leaves_open_what_poisson_closes(scene, paths, tmp_path):
    done = reconstruct(*paths, tmp_path / "no", "--mesh.mesher", "tsdf")
    assert done.returncode == 2
    assert "take a --quality that refines" in done.stderr
    faces = {}
    output = tmp_path / "out"
    for mesher in ("tsdf", "poisson"):
        done = reconstruct(*paths, output, "--quality", "fast", "--mesh.mesher", mesher)
        assert done.returncode == 0, done.stderr
        assert np.median(distance_mm(scene, output / "mesh.ply")) < 0.5
        faces[mesher] = (output / "mesh.ply").read_bytes()
    assert faces["tsdf"] != faces["poisson"]


def test_a_view_that_disagrees_is_named(scene, paths, tmp_path):
    """One picture is of noise: the others give the surface, and it is named."""
    capture = tmp_path / "capture"
    shutil.copytree(paths[0], capture)
    odd = capture / "images" / scene.names[2]
    noise = np.random.default_rng(0).integers(0, 255, cv2.imread(str(odd)).shape)
    cv2.imwrite(str(odd), noise.astype(np.uint8))
    done = reconstruct(capture, paths[1], tmp_path / "out", "--quality", "fast")
    assert done.returncode == 0, done.stderr
    warnings = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert any(scene.names[2] in warning for warning in warnings)
    assert np.median(distance_mm(scene, tmp_path / "out" / "mesh.ply")) < 0.5


def test_without_an_embedder_from_features_alone(scene, paths, tmp_path):
    out = tmp_path / "out"
    capture = tmp_path / "capture"
    shutil.copytree(paths[0], capture)
    done = mvs("reconstruct", capture, "--output", out, "--embedder", "none")
    assert done.returncode == 0, done.stderr
    assert np.median(distance_mm(scene, out / "mesh.ply")) < 1.0
    record = json.loads((out / "run.json").read_text())
    assert record["embedder"] == "none"
    failing(
        mvs("reconstruct", capture, "--output", out, "--embedder", "none", "--quality", "draft"),
        "--quality",
    )
    failing(
        mvs("reconstruct", capture, "--output", out, "--embedder", "none", "--weights", "w.st"),
        "--weights",
    )


def test_until_stops_early_and_says_so(paths, tmp_path):
    done = reconstruct(*paths, tmp_path / "out", "--until", "triangulate", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    names = [path.name for path in shown(tmp_path / "out")]
    assert names == ["points.ply", "report.html", "run.json"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["until"] == "triangulate"


def test_distorted_pictures(tmp_path):
    """Maps in distorted pixels; a lens ignored would shift points by many millimetres."""
    scene = make_scene(6, 160, lens=LENS)
    output = tmp_path / "out"
    done = reconstruct(*write_scene(scene, tmp_path), output, "--until", "triangulate")
    assert done.returncode == 0, done.stderr
    error = distance_mm(scene, output / "points.ply")
    assert len(error) > 2000
    assert np.median(error) < 0.1
    assert np.percentile(error, 90) < 0.5


def test_the_frame_and_unit_are_the_calibration_s(tmp_path):
    """A capture in another frame: everything moves along."""
    motion = np.eye(4)
    motion[:3, :3] = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    motion[:3, 3] = [12.0, -7.0, 30.0]
    scene = make_scene(5, 128, motion=motion)
    output = tmp_path / "out"
    done = reconstruct(*write_scene(scene, tmp_path), output, "--until", "fuse")
    assert done.returncode == 0, done.stderr
    assert np.median(distance_mm(scene, output / "points.ply")) < 0.05
    # At 30 m from the origin, float32 resolves 2 micrometres.
    assert np.median(distance_mm(scene, output / "cloud.ply")) < 0.1


def test_what_is_masked_out_is_not_reconstructed(scene, paths, tmp_path):
    capture, maps = tmp_path / "capture", paths[1]
    shutil.copytree(paths[0], capture)
    for view, name in enumerate(scene.names):
        upper = scene.cube_maps[view].mask.copy()
        upper &= scene.cube_maps[view].coords[..., 1] > 0.5
        cv2.imwrite(str(capture / "masks" / f"{name}.png"), upper.astype(np.uint8) * 255)
    done = reconstruct(capture, maps, tmp_path / "out", "--until", "fuse")
    assert done.returncode == 0, done.stderr
    points = read_ply(tmp_path / "out" / "cloud.ply")[1]
    assert len(points) > 1000
    assert scene.coords(points)[:, 1].min() > 0.49


def test_masks_that_leave_nothing_are_named(scene, paths, tmp_path):
    capture = tmp_path / "capture"
    shutil.copytree(paths[0], capture)
    black = np.zeros((160, 160), np.uint8)
    cv2.imwrite(str(capture / "masks" / f"{scene.names[1]}.png"), black)
    done = reconstruct(capture, paths[1], tmp_path / "out", "--until", "embed")
    assert done.returncode == 0
    assert f"1 of 6 views: {scene.names[1]}" in done.stderr
    for name in scene.names:
        cv2.imwrite(str(capture / "masks" / f"{name}.png"), black)
    failing(reconstruct(capture, paths[1], tmp_path / "out"), scene.names[0])


def test_results_of_two_runs_are_never_mixed(scene, paths, result, tmp_path):
    """A run that fails leaves the old results; one that stops early leaves none that are older."""
    output = tmp_path / "out"
    shutil.copytree(result[0], output)
    before = {path.name: path.read_bytes() for path in shown(output)}
    failing(reconstruct(paths[0], tmp_path / "absent", output))
    assert {path.name: path.read_bytes() for path in shown(output)} == before
    done = reconstruct(*paths, output, "--until", "triangulate", "--no-report")
    assert done.returncode == 0
    assert [path.name for path in shown(output)] == ["points.ply", "run.json"]
    assert json.loads((output / "run.json").read_text())["files"] == ["points.ply"]


def failing(done, *words):
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("mvs: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_inputs_that_are_not_there(paths, tmp_path):
    capture, maps = paths
    failing(reconstruct(tmp_path / "no", maps, tmp_path / "o"), str(tmp_path / "no"))
    failing(reconstruct(capture, tmp_path / "no", tmp_path / "o"), str(tmp_path / "no"))
    failing(mvs("reconstruct", capture, "--output", tmp_path / "o", "--weights", "no.st"), "no.st")
    failing(
        mvs("reconstruct", capture, "--output", tmp_path / "o", "--embedder", "precomputed"),
        "cube",
    )


def test_a_map_that_is_missing_or_of_another_size(scene, paths, tmp_path):
    maps = tmp_path / "maps"
    shutil.copytree(paths[1], maps)
    broken = maps / f"{scene.names[2]}.npz"
    broken.unlink()
    failing(reconstruct(paths[0], maps, tmp_path / "o"), broken.name)
    np.savez(broken, coords=np.zeros((5, 5, 3), np.float32))
    failing(reconstruct(paths[0], maps, tmp_path / "o"), broken.name, "(5, 5, 3)")
    broken.write_bytes(b"PK not a zip")
    failing(reconstruct(paths[0], maps, tmp_path / "o"), broken.name)


def test_a_result_that_cannot_be_written(paths, tmp_path):
    (tmp_path / "file").write_text("mine")
    failing(reconstruct(*paths, tmp_path / "file"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_missing_picture_is_left_out_with_a_warning(scene, paths, tmp_path):
    capture = tmp_path / "capture"
    shutil.copytree(paths[0], capture)
    (capture / "images" / scene.names[5]).unlink()
    done = reconstruct(capture, paths[1], tmp_path / "out", "--until", "triangulate")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert scene.names[5] in done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["counts"]["views"] == 5
    assert record["warnings"]


def test_views_that_do_not_overlap(tmp_path):
    """The front from one camera, the back from the other."""
    scene = make_scene(2, 96, arc_deg=180.0)
    failing(reconstruct(*write_scene(scene, tmp_path), tmp_path / "out"), "directions")


def test_poses_that_contradict_the_pictures(scene, paths, tmp_path):
    """Every camera rolled by an angle of its own: what was there before stays."""
    rolled = []
    for index, camera in enumerate(scene.cameras):
        roll = Rotation.from_rotvec([0, 0, 1.0 + 1.3 * index]).as_matrix()
        rolled.append(camera.with_pose(roll @ camera.cam_from_world))
    write_capture(dataclasses.replace(scene, cameras=tuple(rolled)), tmp_path / "capture")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mesh.ply").write_text("precious")
    failing(reconstruct(tmp_path / "capture", paths[1], tmp_path / "out"), "epipolar", "poses")
    assert (tmp_path / "out" / "mesh.ply").read_text() == "precious"


def test_embed_writes_what_precomputed_reads(scene, paths, result, tmp_path):
    """The exact maps through `mvs embed` and back give the same points."""
    done = mvs(
        *("embed", paths[0], "--output", tmp_path / "maps", "--quiet"),
        *("--embedder", "precomputed", "--cube-maps", paths[1]),
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "maps" / f"{scene.names[0]}.npz") as file:
        assert file["coords"].dtype == np.float32
        np.testing.assert_array_equal(file["mask"], scene.cube_maps[0].mask)
    done = reconstruct(paths[0], tmp_path / "maps", tmp_path / "out", "--until", "triangulate")
    assert done.returncode == 0, done.stderr
    first, second = result[0] / "points.ply", tmp_path / "out" / "points.ply"
    assert first.read_bytes() == second.read_bytes()
