"""One frame: done once, whole or not at all; what is wrong is said and no more is lost."""

import dataclasses
import json

import pytest

from mvs.batch import jobs
from mvs.batch import work as module
from mvs.batch.frames import Pattern, find_in_list, with_cube_maps
from mvs.batch.jobs import known_failure
from mvs.cache import CacheOptions
from mvs.pipeline import PRESETS
from tests.batch import sequences
from tests.batch.sequences import results, write_sequence


@pytest.fixture
def sequence(tmp_path):
    write_sequence(tmp_path, 2)
    return tmp_path


def job_of(folder, **changes):
    """Of draft quality, without masks."""
    job, frames = sequences.job_of(folder, pipeline=PRESETS["draft"], **changes)
    return job, [dataclasses.replace(frame, masks={}) for frame in frames]


def work(job, frames):
    return [module.work(job, frame) for frame in frames]


def is_done(job, frames):
    return [jobs.is_done(job, frame) for frame in frames]


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def test_a_frame_is_done_once(sequence):
    job, frames = job_of(sequence)
    assert is_done(job, frames) == [False, False]
    assert states(work(job, frames)) == ["done", "done"]
    assert is_done(job, frames) == [True, True]
    first = results(job.output)
    assert {"frames/000000/mesh.ply", "frames/000001/manifest.json"} <= first.keys()
    assert states(work(job, frames)) == ["kept", "kept"]
    # Threads are no reason, options and pictures are.
    assert is_done(dataclasses.replace(job, threads=2), frames) == [True, True]
    coarse = dataclasses.replace(job.pipeline, mesh=dataclasses.replace(job.pipeline.mesh, depth=5))
    assert is_done(dataclasses.replace(job, pipeline=coarse), frames) == [False, False]
    # A picture of the same content and a new date is the same picture.
    picture = frames[0].pictures["view_00.png"]
    picture.write_bytes(picture.read_bytes())
    assert is_done(job, frames) == [False, True]
    assert states(work(job, frames)) == ["kept", "kept"]
    assert is_done(job, frames) == [True, True]
    # Another picture is not, and gives another result.
    picture.write_bytes(frames[1].pictures["view_00.png"].read_bytes())
    assert states(work(job, frames)) == ["done", "kept"]
    changed = results(job.output)
    assert {k for k in changed if changed[k] != first[k] and k.endswith("mesh.ply")} == {
        "frames/000000/mesh.ply"
    }


def test_stages_leave_nothing_for_a_run_that_never_comes(sequence, monkeypatch):
    from mvs import cache

    job, frames = job_of(sequence)
    written = []
    real = cache.replacing
    monkeypatch.setattr(cache, "replacing", lambda path: written.append(path.name) or real(path))
    assert states(work(job, frames[:1])) == ["done"]
    assert written == []
    kept = dataclasses.replace(job.pipeline, cache=CacheOptions(keep="all"))
    assert is_done(dataclasses.replace(job, pipeline=kept), frames[:1]) == [True]


def test_damaged_results_are_made_again_to_the_same_bytes(sequence):
    job, frames = job_of(sequence)
    work(job, frames[:1])
    first = results(job.output)
    (job.folder(frames[0].name) / "mesh.ply").write_bytes(b"ply")
    assert is_done(job, frames[:1]) == [False]
    assert states(work(job, frames[:1])) == ["done"]
    assert results(job.output) == first
    assert sorted(path.name for path in (job.output / "frames").iterdir()) == ["000000"]


def test_missing_and_damaged_pictures_cost_their_views_only(sequence):
    job, frames = job_of(sequence)
    frames[0].pictures["view_00.png"].unlink()
    damaged = frames[1].pictures["view_02.png"]
    damaged.write_bytes(damaged.read_bytes()[:300])
    outcomes = work(job, frames)
    assert states(outcomes) == ["done", "done"]
    assert outcomes[0].warnings[0] == "1 pictures are missing: view_00.png"
    assert outcomes[1].warnings[0].startswith(f"view_02.png is left out: {damaged}: ")
    assert states(work(job, frames)) == ["kept", "kept"]


def test_too_few_pictures_fail_their_frame_only(sequence):
    job, frames = job_of(sequence, min_views=3)
    frames[0].pictures["view_01.png"].write_bytes(b"no picture")
    outcomes = work(job, frames)
    assert states(outcomes) == ["failed", "done"]
    assert outcomes[0].reason.startswith("2 usable pictures: view_01.png is left out: ")
    assert known_failure(job, frames[0]) == outcomes[0].reason
    assert known_failure(job, frames[1]) is None
    assert not (job.output / "frames" / "000000").exists()
    # Mended, it is no failure any more.
    frames[0].pictures["view_01.png"].write_bytes(frames[1].pictures["view_01.png"].read_bytes())
    assert known_failure(job, frames[0]) is None
    assert states(work(job, frames)) == ["done", "kept"]
    assert list((job.output / "failed").iterdir()) == []


def test_a_fault_in_one_frame_does_not_end_the_others(sequence, monkeypatch):
    job, frames = job_of(sequence)
    real = module.reconstruct

    def faulty(capture, embedder, output, options, prior):
        if output.name.startswith(".000000"):
            (output / "half.ply").write_bytes(b"half")
            raise TypeError("two\nlines")
        return real(capture, embedder, output, options, prior=prior)

    monkeypatch.setattr(module, "reconstruct", faulty)
    outcomes = work(job, frames)
    assert states(outcomes) == ["failed", "done"]
    assert outcomes[0].reason == "unexpected TypeError: two lines"
    assert [path.name for path in (job.output / "frames").iterdir()] == ["000001"]


def test_captures_of_their_own(sequence, tmp_path):
    import shutil

    from tests.scenes import make_scene, write_capture, write_cube_maps

    scene = make_scene(3, 96, arc_deg=40.0)
    write_capture(scene, tmp_path / "captures" / "first")
    write_cube_maps(scene, tmp_path / "exact" / "0")
    (tmp_path / "captures" / "list.txt").write_text("first\nsecond\n")
    shutil.copytree(tmp_path / "exact" / "0", tmp_path / "exact" / "1")
    frames = find_in_list(tmp_path / "captures" / "list.txt").frames
    frames = with_cube_maps(frames, Pattern(f"{tmp_path}/exact/{{frame}}", ("frame",)))
    job, _ = job_of(sequence, rig=None, output=tmp_path / "other")
    outcomes = work(job, frames)
    assert states(outcomes) == ["done", "failed"]
    assert "second: no such folder" in outcomes[1].reason
    manifest = json.loads((job.output / "frames/000000/manifest.json").read_text())
    assert manifest["input_bytes"] > 1000
