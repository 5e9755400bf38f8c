"""Runs that are killed, that find the disk full, or an earlier run's results."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import mvs.stages.refine as refine_stage
from calib.capture import CaptureError
from calib.formats import read_capture
from mvs.cli import main
from mvs.folder import claimed
from mvs.pipeline import STAGES
from mvs.stages.mesh import MeshOptions
from tests.scenes import write_cube_maps
from tests.survival import (
    CLOUDS,
    DRAFT,
    FINE,
    SCENE,
    CountingEmbedder,
    Dead,
    cached,
    digests,
    dying,
    entries,
    full_disk,
    run,
    shown,
    write_scene,
)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("survival") / "capture")


@pytest.fixture(scope="module")
def whole(capture, tmp_path_factory):
    """An uninterrupted run, its folder kept as it was."""
    output = tmp_path_factory.mktemp("whole") / "out"
    run(capture, output)
    return output


@pytest.fixture(scope="module")
def draft(capture, tmp_path_factory):
    output = tmp_path_factory.mktemp("draft") / "out"
    run(capture, output, DRAFT)
    return output


@pytest.fixture
def output(whole, tmp_path):
    """A copy of the uninterrupted run."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def sharpened(monkeypatch):
    """Views that refinement really sharpens."""
    views, sharpen = [], refine_stage._refine_view

    def counted(start, view, *rest):
        views.append(view)
        return sharpen(start, view, *rest)

    monkeypatch.setattr(refine_stage, "_refine_view", counted)
    return views


def record(output):
    return json.loads((output / "run.json").read_text())


def test_killed_after_every_write_it_goes_on_to_the_same_bytes(
    capture, whole, sharpened, tmp_path, monkeypatch
):
    """Each run dies after one write more than there was, and loses no more than one view."""
    output, embedder, deaths = tmp_path / "out", CountingEmbedder(), 0
    for _ in range(100):
        try:
            with dying(monkeypatch, 1):
                run(capture, output, embedder=embedder)
        except Dead:
            deaths += 1
            assert all(name in shown(whole) for name in shown(output))
            written = digests(output, CLOUDS[:1] + CLOUDS[3:])
            assert written.items() <= digests(whole).items()
            continue
        break
    n = len(SCENE.names)
    # Three entries of each view; matches, points, cloud, start, refined; four results, four notes.
    assert deaths > 3 * n + 10
    assert digests(output) == digests(whole)
    # A death costs the view in hand; two where another had begun.
    for asked, names in ((embedder.found, SCENE.names), (embedder.mapped, SCENE.names)):
        assert max(map(asked.count, names)) <= 3
    assert max(map(sharpened.count, range(n))) <= 2
    assert shown(output) == shown(whole)
    left = [path.name for path in output.rglob(".*") if path.name != ".stages"]
    assert left == []
    assert record(output)["counts"] == record(whole)["counts"]
    assert record(output)["warnings"] == record(whole)["warnings"]


def test_killed_by_the_system_in_the_middle_of_a_stage(capture, whole, tmp_path):
    """A real SIGKILL, while the second depth map is on its way to the disk."""
    output = tmp_path / "out"
    script = f"""
import os, signal
from pathlib import Path
from calib.formats import read_capture
from tests.survival import run
replace, seen = Path.replace, []
def stop(path, target):
    if "refine-" in str(target):
        seen.append(target)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)
Path.replace = stop
run(read_capture(Path({str(capture.path)!r})), Path({str(output)!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (output / "mesh.ply").exists()
    unfinished = [p for p in (output / ".stages").iterdir() if p.name.startswith(".refine-")]
    assert len(unfinished) == 1
    embedder = CountingEmbedder()
    report = run(capture, output, embedder=embedder)
    assert embedder.found == embedder.mapped == []
    assert report.cached["embed"] == report.cached["fuse"] == "all"
    assert report.cached["refine"] == f"2 of {len(SCENE.names) + 2}"
    assert "mesh" not in report.cached
    assert digests(output) == digests(whole)
    assert not unfinished[0].exists()


def test_interrupted_by_the_user_it_goes_on(capture, whole, sharpened, tmp_path):
    def stop(stage, done, total):
        if (stage, done) == ("refine", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(capture, tmp_path / "out", progress=stop)
    run(capture, tmp_path / "out")
    assert sharpened == list(range(len(SCENE.names)))
    assert digests(tmp_path / "out") == digests(whole)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(
    capture, draft, tmp_path, monkeypatch
):
    output, complaints = tmp_path / "out", []
    for n_writes in (*range(3, 60, 4), 1000):
        try:
            with full_disk(monkeypatch, n_writes):
                run(capture, output, DRAFT)
        except CaptureError as error:
            complaints.append(str(error))
            assert digests(output).items() <= digests(draft).items()
            assert [p for p in output.rglob(".*") if p.name != ".stages"] == []
    remedy = "No space left on device; choose another --output, or free some space"
    assert set(complaints) == {f"{output}: {remedy}"}
    assert len(complaints) >= 3
    assert digests(output) == digests(draft)


def test_a_folder_that_cannot_be_written_is_refused(capture, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/headmvs")):
        embedder = CountingEmbedder()
        with pytest.raises(CaptureError, match="choose another --output"):
            run(capture, place, embedder=embedder)
        assert embedder.found == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_turns_read_only_keeps_what_it_has(capture, output, whole, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("calib.files.tempfile.mkstemp", refuse)
    with pytest.raises(CaptureError, match="Permission denied"):
        run(capture, output, cached(FINE, force=True))
    assert digests(output) == digests(whole)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other"])
def test_damaged_entries_are_computed_again(capture, output, whole, damage):
    (output / "mesh.ply").unlink()
    (output / "points.ply").write_bytes(b"ply")
    paths = entries(output)
    assert {path.name.partition("-")[0] for path in paths} == {"embed", "fuse", "refine"}
    whole_entries = [path.read_bytes() for path in paths]
    for path in entries(output, least=0):
        data = bytearray(path.read_bytes())
        if damage == "cut":
            path.write_bytes(data[: len(data) * 2 // 3])
        elif damage == "bit":
            data[-1 - len(data) // 7] ^= 4
            path.write_bytes(data)
        elif damage == "empty":
            path.write_bytes(b"")
        else:
            path.write_bytes(whole_entries[paths.index(path) - 1] if path in paths else b"PK")
    report = run(capture, output)
    assert report.cached == {}
    assert digests(output) == digests(whole)
    assert [path.read_bytes() for path in paths] == whole_entries


def test_run_again_it_computes_nothing(capture, output, whole, sharpened, monkeypatch):
    for module in ("mvs.steps.coarse.embed_views", "mvs.steps.refined.refine", "mvs.pipeline.mesh"):
        monkeypatch.setattr(module, lambda *_, **__: pytest.fail("computed"))
    report = run(capture, output)
    assert report.cached == dict.fromkeys(STAGES, "all")
    assert set(report.seconds.values()) == {0.0}
    assert [path.name for path in report.files] == [*CLOUDS, "run.json"]
    old, new = record(whole), record(output)
    assert new["cached"] == report.cached
    assert old["cached"] == {}
    for name in ("counts", "warnings", "files", "inputs", "options", "embedder_identity"):
        assert new[name] == old[name]
    assert old["embedder_identity"] == "first"


def test_another_mesh_option_only_meshes(capture, output, whole, sharpened, tmp_path):
    (output / "textured.glb").write_text("of the old mesh")
    embedder = CountingEmbedder()
    other = replace(FINE, mesh=MeshOptions(depth=4))
    report = run(capture, output, other, embedder)
    assert embedder.found == embedder.mapped == sharpened == []
    assert [stage for stage in STAGES if stage not in report.cached] == ["mesh"]
    assert digests(output)["mesh.ply"] != digests(whole)["mesh.ply"]
    assert not (output / "textured.glb").exists()
    run(capture, tmp_path / "fresh", other)
    assert digests(output) == digests(tmp_path / "fresh")
    assert digests(output, CLOUDS[:3]) == digests(whole, CLOUDS[:3])


def test_tsdf_after_poisson_is_as_if_it_had_been_first(capture, output, tmp_path):
    tsdf = replace(FINE, mesh=MeshOptions(depth=5, mesher="tsdf"))
    run(capture, output, tsdf)
    run(capture, tmp_path / "fresh", tsdf)
    assert digests(output) == digests(tmp_path / "fresh")
    # Depth maps stay where the mesh is made of them.
    assert len(entries(output, "refine")) > len(SCENE.names)
    report = run(capture, output, replace(tsdf, mesh=MeshOptions(depth=4, mesher="tsdf")))
    assert report.cached["refine"] == "all"


def test_a_draft_and_a_refined_run_share_what_they_have_in_common(
    capture, output, whole, draft, sharpened
):
    embedder = CountingEmbedder()
    run(capture, output, DRAFT, embedder)
    assert digests(output) == digests(draft)
    assert shown(output) == shown(draft)
    run(capture, output, FINE, embedder)
    assert digests(output) == digests(whole)
    assert embedder.found == embedder.mapped == []


def test_what_stops_early_leaves_no_results_of_others(capture, output, whole):
    report = run(capture, output, until="triangulate")
    assert shown(output) == ["points.ply", "run.json"]
    assert report.cached["triangulate"] == "all"
    assert record(output)["until"] == "triangulate"
    run(capture, output)
    assert digests(output) == digests(whole)


def test_a_texture_stays_while_its_mesh_does(capture, output):
    (output / "textured.glb").write_text("precious")
    run(capture, output)
    assert (output / "textured.glb").read_text() == "precious"
    run(capture, output, cached(FINE, start="mesh"))
    assert (output / "textured.glb").read_text() == "precious"


def test_results_that_were_changed_or_removed_are_written_again(capture, output, whole, sharpened):
    (output / "cloud.ply").write_bytes(b"mine")
    (output / "cloud.ply.vis").unlink()
    (output / "mesh.ply").unlink()
    run(capture, output)
    assert sharpened == []
    assert digests(output) == digests(whole)


def test_one_picture_replaced(capture, draft, tmp_path):
    edited, output = tmp_path / "capture", tmp_path / "out"
    shutil.copytree(draft, output)
    shutil.copytree(capture.path, edited)
    name = SCENE.names[1]
    image = cv2.imread(str(edited / "images" / name))
    cv2.imwrite(str(edited / "images" / name), 255 - image)
    embedder = CountingEmbedder()
    # Elsewhere, too: most of its pictures are the same.
    report = run(read_capture(edited), output, DRAFT, embedder)
    assert embedder.found == embedder.mapped == [name]
    assert "match" not in report.cached
    run(read_capture(edited), tmp_path / "fresh", DRAFT)
    assert digests(output) == digests(tmp_path / "fresh")


def test_a_mask_replaced_asks_no_network(capture, draft, tmp_path):
    edited, output = tmp_path / "capture", tmp_path / "out"
    shutil.copytree(draft, output)
    shutil.copytree(capture.path, edited)
    path = edited / "masks" / f"{SCENE.names[0]}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask[: len(mask) // 2] = 0
    cv2.imwrite(str(path), mask)
    embedder = CountingEmbedder()
    run(read_capture(edited), output, DRAFT, embedder)
    assert embedder.found == embedder.mapped == []
    run(read_capture(edited), tmp_path / "fresh", DRAFT)
    assert digests(output) == digests(tmp_path / "fresh")


def test_other_weights_are_asked_anew_and_those_unknown_always(capture, output, whole):
    embedder = CountingEmbedder("second")
    run(capture, output, DRAFT, embedder)
    assert sorted(embedder.mapped) == sorted(SCENE.names)
    unknown = CountingEmbedder(None)
    run(capture, output, DRAFT, unknown)
    report = run(capture, output, DRAFT, unknown)
    assert len(unknown.mapped) == 2 * len(SCENE.names)
    assert report.cached == {}
    assert record(output)["embedder_identity"] is None


def test_from_a_stage_on(capture, output, whole, sharpened):
    embedder = CountingEmbedder()
    report = run(capture, output, cached(FINE, start="refine"), embedder)
    assert sharpened == list(range(len(SCENE.names)))
    assert embedder.mapped == []
    assert [stage for stage in STAGES if stage not in report.cached] == ["refine", "mesh"]
    assert digests(output) == digests(whole)
    report = run(capture, output, cached(DRAFT, start="embed"), embedder)
    assert report.cached == {}
    assert sorted(embedder.mapped) == sorted(SCENE.names)
    with pytest.raises(ValueError, match=r"from must be one of embed, pairs, .*, got lunch"):
        run(capture, output, cached(FINE, start="lunch"))


def test_what_is_kept_is_as_said(capture, output, whole, tmp_path):
    some = sum(path.stat().st_size for path in entries(whole, least=0))
    run(capture, tmp_path / "none", cached(DRAFT, keep="none"), until="match")
    assert entries(tmp_path / "none", least=0) == []
    run(capture, output, cached(FINE, keep="all", force=True))
    assert sum(path.stat().st_size for path in entries(output, least=0)) > 1.5 * some
    # What no longer belongs goes when a run has ended.
    run(capture, output, cached(replace(FINE, mesh=MeshOptions(depth=4)), keep="some"))
    assert len(entries(output, least=0)) == len(entries(whole, least=0))


def another_capture(folder, capture):
    shutil.copytree(capture.path, folder)
    for path in (folder / "images").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) ^ np.uint8(1))
    return read_capture(folder)


def test_another_capture_s_folder_is_refused(capture, output, whole, tmp_path):
    other = another_capture(tmp_path / "other", capture)
    for gone in (None, output / ".stages" / "capture.json"):
        if gone:
            gone.unlink()
        with pytest.raises(CaptureError) as error:
            run(other, output)
        assert str(error.value) == (
            f"{output}: holds results of another capture ({capture.path}); "
            "choose another --output, or --force"
        )
        assert digests(output) == digests(whole)
    run(other, output, cached(DRAFT, force=True))
    assert record(output)["capture"] == str(other.path)
    with pytest.raises(CaptureError, match="another capture"):
        run(capture, output)
    # All its pictures may change where they are, and a copy of it is itself.
    shutil.rmtree(tmp_path / "moved", ignore_errors=True)
    shutil.move(other.path, tmp_path / "moved")
    assert run(read_capture(tmp_path / "moved"), output, DRAFT).cached["mesh"] == "all"
    shutil.copytree(capture.path / "images", tmp_path / "moved" / "images", dirs_exist_ok=True)
    run(read_capture(tmp_path / "moved"), output, DRAFT)


def test_of_two_runs_on_a_folder_the_second_is_refused(capture, output, whole):
    import os
    import socket

    with claimed(output), pytest.raises(CaptureError) as error:
        run(capture, output, cached(FINE, force=True))
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert str(error.value) == (
        f"{output}: another run is writing here ({who}); wait for it, or choose another --output"
    )
    assert digests(output) == digests(whole)
    run(capture, output)


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from mvs.cli import main
from mvs.folder import claimed
with claimed(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / ".stages" / "owner.json").exists()
    with claimed(tmp_path):
        pass


def test_the_command_says_so_in_one_line(capture, whole, tmp_path, capfd):
    """Exit code 2, and what to do; --force and --from do it."""
    write_cube_maps(SCENE, tmp_path / "maps")
    other = another_capture(tmp_path / "other", capture)
    shutil.copytree(whole, tmp_path / "out")
    words = [
        "reconstruct",
        str(other.path),
        "--output",
        str(tmp_path / "out"),
        "--quality",
        "draft",
    ]
    words += ["--embedder", "precomputed", "--cube-maps", str(tmp_path / "maps")]
    assert main.run(words) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"mvs: {tmp_path / 'out'}: holds results of another capture")
    assert err.count("\n") == 1
    assert main.run([*words, "--until", "fuse", "--force", "--keep", "all"]) == 0
    assert record(tmp_path / "out")["options"]["cache"]["keep"] == "all"
    assert main.run([*words, "--until", "fuse", "--from", "triangulate"]) == 0
    out = capfd.readouterr().out
    assert "(from an earlier run)" in out
    assert list(record(tmp_path / "out")["cached"]) == ["match"]
    with claimed(tmp_path / "out"):
        assert main.run(words) == 2
    assert "another run is writing here" in capfd.readouterr().err
