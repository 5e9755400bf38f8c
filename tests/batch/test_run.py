"""A whole batch: the same bytes whoever works, and whoever is killed meanwhile."""

import json
import os
import signal

import pytest

from mvs.batch.clusters import ClusterOptions
from mvs.batch.engines import SchedulerLostError
from mvs.batch.run import run_batch
from mvs.cli.main import run
from mvs.folder import claimed
from tests.batch.sequences import arguments, results, write_sequence
from tests.batch.test_work import job_of

N_FRAMES = 5


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    write_sequence(folder, N_FRAMES)
    assert run(arguments(folder, folder / "out", "--quiet")) == 0
    return folder


def test_the_summary_says_what_was_done(serial):
    document = json.loads((serial / "out" / "batch.json").read_text())
    assert document["engine"] == "serial"
    assert document["counts"] == {"frames": 5, "done": 5, "kept": 0, "failed": 0, "left": 0}
    assert sorted(document["frames"]) == [f"{k:06d}" for k in range(N_FRAMES)]
    for frame in document["frames"].values():
        assert frame["cpu_seconds"] > 0
        assert frame["peak_mb"] > 0


def test_workers_give_the_bytes_of_one_process_though_one_is_killed(serial, tmp_path):
    """The worker that hands in the first frame is killed; what it was doing next is done again."""
    killed = []

    def kill(batch):
        if not killed and any(o.state == "done" for o in batch.outcomes.values()):
            (outcome,) = (o for o in batch.outcomes.values() if o.state == "done")
            killed.append(int(outcome.worker.rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    job, frames = job_of(serial, output=tmp_path / "out")
    batch = run_batch(job, frames, ClusterOptions(workers=2, dashboard=0), progress=kill)
    assert killed
    assert killed != [os.getpid()]
    assert batch.engine == "processes"
    assert batch.dashboard.startswith("http://")
    # A frame whose worker dies between finishing and saying so is found done.
    assert {o.state for o in batch.outcomes.values()} <= {"done", "kept"}
    assert len(batch.outcomes) == N_FRAMES
    assert results(tmp_path / "out") == results(serial / "out")
    # Nothing that is half done is left.
    assert len(list((tmp_path / "out" / "frames").iterdir())) == N_FRAMES


def test_a_scheduler_that_is_always_lost_is_not_waited_for_for_ever(serial, tmp_path, monkeypatch):
    """Done in between, it counts anew; what was done stays."""
    job, frames = job_of(serial, output=tmp_path / "out")
    asked = []

    def work_off(engine, job, left, recorder):
        asked.append(len(left))
        if len(asked) == 5:
            left.pop()
        raise SchedulerLostError

    monkeypatch.setattr("mvs.batch.run._work_off", work_off)
    with pytest.raises(ValueError, match="lost 10 times running"):
        run_batch(job, frames, ClusterOptions())
    assert asked == [N_FRAMES] * 5 + [N_FRAMES - 1] * 11
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["counts"]["left"] > 0


def test_a_batch_that_was_interrupted_goes_on(serial, tmp_path):
    job, frames = job_of(serial, output=tmp_path / "out")

    def interrupt(batch):
        if len(batch.outcomes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(job, frames, ClusterOptions(), progress=interrupt)
    # What a killed worker leaves behind.
    (tmp_path / "out" / "frames" / ".000004.0123").mkdir()
    batch = run_batch(job, frames, ClusterOptions())
    assert [o.state for o in batch.outcomes.values()] == ["kept"] * 2 + ["done"] * 3
    assert results(tmp_path / "out") == results(serial / "out")


def test_failures_are_listed_and_tried_again_when_asked(serial, tmp_path, capfd):
    broken = tmp_path / "maps"
    broken.mkdir()
    for number in range(2):
        (broken / f"{number:06d}").symlink_to(serial / "maps" / f"{number:06d}")
    here = ["--cube-maps", str(broken / "{frame:06d}"), "--frames", "0:3", "--quiet"]
    words = [*arguments(serial, tmp_path / "out"), *here]
    assert run(words) == 1
    assert "failed: frame 000002: " in capfd.readouterr().err
    first = (tmp_path / "out" / "failed" / "000002.json").stat().st_mtime_ns
    assert run(words) == 1
    assert (tmp_path / "out" / "failed" / "000002.json").stat().st_mtime_ns == first
    counts = json.loads((tmp_path / "out" / "batch.json").read_text())["counts"]
    assert counts == {"frames": 3, "done": 0, "kept": 2, "failed": 1, "left": 0}
    assert run([*words, "--retry"]) == 1
    assert (tmp_path / "out" / "failed" / "000002.json").stat().st_mtime_ns > first
    (broken / "000002").symlink_to(serial / "maps" / "000002")
    assert run(words) == 0


def test_two_batches_do_not_share_an_output(serial, tmp_path, capfd):
    output = tmp_path / "out"
    output.mkdir()
    videos = ["--videos", str(tmp_path / "{camera}.mp4"), "--embedder", "none"]
    with claimed(output):
        assert run(arguments(serial, output)) == 2
        assert "another run is writing here" in capfd.readouterr().err
        # Nor do they decode into the same pictures.
        assert run(["batch", str(serial / "rig"), "--output", str(output), *videos]) == 2
        assert "another run is writing here" in capfd.readouterr().err
    assert [path.name for path in output.iterdir()] == [".stages"]


def test_weights_of_no_embedder_are_refused(serial, tmp_path, capfd):
    words = ["batch", str(serial / "rig"), "--output", str(tmp_path / "out")]
    words += ["--images", str(serial / "shot/{camera}/{frame:06d}.png")]
    assert run([*words, "--embedder", "none", "--weights", "w.safetensors"]) == 2
    assert "--embedder none uses no --weights" in capfd.readouterr().err


def test_what_is_done_is_warned_of_again(tmp_path):
    write_sequence(tmp_path, 1)
    job, frames = job_of(tmp_path)
    frames[0].pictures["view_00.png"].unlink()
    first, second = [run_batch(job, frames, ClusterOptions()).outcomes["000000"] for _ in range(2)]
    assert [first.state, second.state] == ["done", "kept"]
    assert first.warnings[0] == "1 pictures are missing: view_00.png"
    assert second.warnings == first.warnings


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--images", "x/{camera}/{frame}.jpg"], "no such files"),
        (["--images", "x/{frame}.jpg"], "needs {camera} and {frame:06d}"),
        (["--videos", "{camera}.mp4"], "give one of --images, --videos and --captures"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--frames", "7:3"], "names no frame"),
        (["--min-views", "1"], "min_views must be at least 2"),
        (["--scheduler", "tcp://127.0.0.1:1", "--slurm"], "exclude each other"),
        (["--cluster-config", "x.toml"], "for --slurm and --kubernetes"),
        (["--resources", "GPU"], "is not NAME=NUMBER"),
        (["--embedder", "compact"], "--cube-maps are for"),
        (["--captures", "list.txt"], "give one of --images, --videos and --captures"),
    ],
)
def test_bad_options_get_one_line(serial, tmp_path, capfd, more, says):
    assert run([*arguments(serial, tmp_path / "out"), *more]) == 2
    err = capfd.readouterr().err
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    assert says in err
