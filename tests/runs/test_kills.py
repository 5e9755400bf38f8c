"""Runs that are killed or interrupted, find the disk full, or damaged results of stages."""

import signal
import subprocess
import sys

import pytest

from calib.capture import CaptureError
from tests.runs.runs import (
    CLOUDS,
    DRAFT,
    SCENE,
    CountingEmbedder,
    Dead,
    digests,
    dying,
    entries,
    full_disk,
    record,
    run,
    shown,
)


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
from tests.runs.runs import run
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
