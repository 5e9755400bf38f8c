"""Frames that start from the one before: the same bytes whatever happens, as good as without."""

import dataclasses
import os
import shutil
import signal

import cv2
import numpy as np
import pytest

from mvs.batch import work as module
from mvs.batch.clusters import ClusterOptions
from mvs.batch.jobs import is_done, note_failure, read_manifest
from mvs.batch.run import run_batch
from mvs.cli.main import run
from mvs.errors import ReconstructionError
from mvs.pipeline import PRESETS
from mvs.stages.export import read_mesh, write_mesh
from mvs.types import Mesh
from tests.batch.sequences import arguments, job_of, results, write_sequence
from tests.stages.test_prior import motion_of

N_FRAMES, CHAIN = 5, 3
ALONE = ClusterOptions()
AWAY = np.array([0.08, -0.07, 0.1])


def motion(number):
    """A turn and a shift of seven millimetres a frame."""
    return motion_of((1.0 * number, -2.0 * number, 0.0), (0.004 * number, 0.0, 0.006 * number))


def starts(batch):
    return [batch.outcomes[name].start for name in sorted(batch.outcomes)]


def states(batch):
    return [batch.outcomes[name].state for name in sorted(batch.outcomes)]


def error(output, number, scene):
    """Median and 95 % quantile of the mesh's distance, and of its places' in the cube, metres."""
    vertices = read_mesh(output / "frames" / f"{number:06d}" / "mesh.ply").vertices
    off = np.linalg.norm(vertices.coords - scene.coords(vertices.points), axis=1)
    distances = (scene.distance(vertices.points), off / scene.cube_scale)
    return np.array([np.quantile(values, share) for values in distances for share in (0.5, 0.95)])


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """The folder and its scenes; ``anew`` has every frame alone, ``out`` in chains."""
    folder = tmp_path_factory.mktemp("chains")
    scenes = write_sequence(folder, N_FRAMES, motion)
    job, frames = job_of(folder, output=folder / "anew")
    run_batch(job, frames, ALONE)
    job, frames = job_of(folder, CHAIN)
    assert starts(run_batch(job, frames, ALONE)) == [
        *("anew", "frame 000000", "frame 000001", "anew", "frame 000003")
    ]
    return folder, scenes


def test_a_chain_is_as_good_as_every_frame_alone(sequence):
    folder, scenes = sequence
    for number, scene in enumerate(scenes):
        alone, chained = (error(folder / name, number, scene) for name in ("anew", "out"))
        assert (chained < 1.3 * alone + 1e-4).all()
    anew, chained = (results(folder / name) for name in ("anew", "out"))
    same = {name for name in anew if anew[name] == chained.get(name)}
    # Who starts a chain is whom a batch without chains gives.
    assert {name[7:13] for name in same} == {"000000", "000003"}
    assert {"frames/000003/manifest.json", "frames/000003/mesh.ply"} <= same


def test_workers_give_the_bytes_of_one_process_though_one_is_killed(sequence, tmp_path):
    folder, _ = sequence
    job, frames = job_of(folder, CHAIN, output=tmp_path / "out")
    killed = []

    def kill(batch):
        done = [o for o in batch.outcomes.values() if o.state == "done"]
        if done and not killed:
            killed.append(int(done[0].worker.rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    batch = run_batch(job, frames, ClusterOptions(workers=2, dashboard=0), progress=kill)
    assert killed
    assert len(batch.outcomes) == N_FRAMES
    assert not batch.failed
    assert results(tmp_path / "out") == results(folder / "out")


def copied(sequence, tmp_path, **changes):
    """Job and frames of a copy of the results, and what they were."""
    folder, _ = sequence
    shutil.copytree(folder / "out", tmp_path / "out")
    job, frames = job_of(folder, CHAIN, output=tmp_path / "out", **changes)
    return job, frames, results(tmp_path / "out")


def test_what_is_done_stays_done(sequence, tmp_path):
    job, frames, before = copied(sequence, tmp_path)
    assert states(run_batch(job, frames, ALONE)) == ["kept"] * N_FRAMES
    assert results(job.output) == before
    # In other chains, those are done again that start from something else.
    _, others = job_of(sequence[0], 2)
    assert states(run_batch(job, others, ALONE)) == ["kept", "kept", "done", "done", "done"]
    assert states(run_batch(job, frames, ALONE)) == ["kept", "kept", "done", "done", "done"]
    assert results(job.output) == before


def test_a_frame_that_failed_is_done_without_and_mended_with(sequence, tmp_path, monkeypatch):
    """Whether it failed at first, or at all: in the end the bytes are the same."""
    job, frames, before = copied(sequence, tmp_path)
    shutil.rmtree(job.output / "frames" / "000001")
    real = module.reconstruct

    def faulty(capture, embedder, output, *rest, **more):
        if output.name.startswith(".000001"):
            raise MemoryError("of a worker that was killed")
        return real(capture, embedder, output, *rest, **more)

    monkeypatch.setattr(module, "reconstruct", faulty)
    batch = run_batch(job, frames, ALONE)
    assert states(batch) == ["kept", "failed", "done", "kept", "kept"]
    assert starts(batch)[2] == "anew: no surface of frame 000001 is of use"
    monkeypatch.undo()
    assert states(run_batch(job, frames, ALONE))[1:3] == ["failed", "kept"]
    assert states(run_batch(job, frames, ALONE, retry=True))[1:3] == ["done", "done"]
    assert results(job.output) == before


def test_what_comes_to_nothing_from_a_surface_is_done_without(sequence, tmp_path, monkeypatch):
    job, frames, _ = copied(sequence, tmp_path)
    shutil.rmtree(job.folder("000001"))
    real = module.reconstruct

    def faulty(*given, prior):
        if prior is not None:
            raise ReconstructionError("too few points", "add views")
        return real(*given, prior=prior)

    monkeypatch.setattr(module, "reconstruct", faulty)
    outcome = run_batch(job, frames[:2], ALONE).outcomes["000001"]
    assert (outcome.state, outcome.start) == ("done", "anew: no surface of frame 000000 is of use")
    at = "frames/000001/mesh.ply"
    assert results(job.output)[at] == results(sequence[0] / "anew")[at]


def test_what_failed_lends_no_surface_of_before(sequence, tmp_path):
    """It may be of other pictures."""
    job, frames, before = copied(sequence, tmp_path)
    note_failure(job, frames[1], "broken")
    assert not is_done(job, frames[2])
    # It is done, as it turns out: what a worker wrote who died before it could say so.
    assert states(run_batch(job, frames, ALONE)) == ["kept"] * N_FRAMES
    assert results(job.output) == before


def test_a_damaged_surface_is_not_started_from(sequence, tmp_path):
    job, frames, before = copied(sequence, tmp_path)
    mesh = job.folder("000001") / "mesh.ply"
    data = bytearray(mesh.read_bytes())
    data[-100:] = bytes(100)
    mesh.write_bytes(data)
    shutil.rmtree(job.folder("000002"))
    batch = run_batch(job, frames, ALONE)
    assert starts(batch)[2] == "anew: no surface of frame 000001 is of use"
    forced = dataclasses.replace(job, force=True)
    run_batch(forced, frames[1:2], ALONE)
    run_batch(job, frames, ALONE)
    assert results(job.output) == before


def wrong(job, name, change):
    """Put another surface in a frame's place, as if it had been reconstructed."""
    folder = job.folder(name)
    manifest = read_manifest(folder) or {}
    write_mesh(change(read_mesh(folder / "mesh.ply")), folder / "mesh.ply")
    manifest["files"] = module._seal(folder, [path.name for path in folder.iterdir()])
    del manifest["files"]["manifest.json"]
    module.write_json(folder / "manifest.json", manifest)


def changed(surface, **what):
    return Mesh(dataclasses.replace(surface.vertices, **what), surface.faces)


@pytest.mark.parametrize(
    ("kind", "start"),
    [("another place", "frame"), ("another head", "frame"), ("nonsense", "anew: the surface")],
)
def test_no_frame_depends_on_another_being_right(sequence, tmp_path, kind, start):
    folder, scenes = sequence
    job, frames, _ = copied(sequence, tmp_path)
    changes = {
        "another place": lambda s: changed(s, points=s.vertices.points + AWAY),
        "another head": lambda s: changed(s, points=s.vertices.points * [1.05, 0.965, 1.03]),
        "nonsense": lambda s: changed(s, coords=s.vertices.coords[::-1]),
    }
    wrong(job, "000000", changes[kind])
    assert [is_done(job, frame) for frame in frames[:3]] == [True, False, True]
    outcome = run_batch(job, frames[:2], ALONE).outcomes["000001"]
    assert (outcome.state, outcome.start[: len(start)]) == ("done", start)
    found, alone = (error(at, 1, scenes[1]) for at in (job.output, folder / "anew"))
    assert (found < 1.3 * alone + 1e-4).all()
    if start != "frame":
        at = "frames/000001/mesh.ply"
        assert results(job.output)[at] == results(folder / "anew")[at]


def test_a_changed_picture_changes_what_comes_after(sequence, tmp_path):
    folder, _ = sequence
    shutil.copytree(folder / "shot", tmp_path / "shot")
    job, frames, before = copied(sequence, tmp_path)
    picture = tmp_path / "shot" / "view_00" / "000001.png"
    pictures = frames[1].pictures | {"view_00.png": picture}
    cv2.imwrite(str(picture), cv2.imread(str(picture)) ^ np.uint8(1))
    frames = [frames[0], dataclasses.replace(frames[1], pictures=pictures), *frames[2:]]
    assert states(run_batch(job, frames, ALONE)) == ["kept", "done", "done", "kept", "kept"]
    after = results(job.output)
    assert {name[7:13] for name in after if after[name] != before[name]} == {"000001", "000002"}


def test_what_was_forced_and_published_before_its_worker_died_is_done(
    sequence, tmp_path, monkeypatch
):
    job, frames, before = copied(sequence, tmp_path, force=True)

    class Dying:
        name = "dying"

        def run(self, work, frames):
            for frame in frames:
                if frame.number < 2:
                    work(frame)
                yield frame, "its worker died"

    monkeypatch.setattr("mvs.batch.clusters.SerialEngine", Dying)
    batch = run_batch(job, frames, ALONE)
    assert states(batch) == ["kept", "kept", "failed", "failed", "failed"]
    assert results(job.output) == before


def test_the_commands_take_chains(sequence, tmp_path, capfd):
    folder, _ = sequence
    words = arguments(folder, tmp_path / "out")
    assert run([*words, "--chain", "2"]) == 2
    assert "--chain is for what is refined" in capfd.readouterr().err
    assert PRESETS["draft"].refine is None
    words[words.index("draft")] = "fast"
    assert run([*words, "--chain", "0"]) == 2
    assert "--chain must be at least 1" in capfd.readouterr().err
