"""Workers that die, schedulers that are not there, jobs as they are handed in."""

import os
import sys
from types import SimpleNamespace

import pytest

from mvs.batch import clusters, engines
from mvs.batch.clusters import ClusterOptions, open_engine, slurm_cluster
from mvs.batch.engines import DaskEngine, SchedulerLostError, SerialEngine
from mvs.batch.frames import Frame
from mvs.batch.work import Outcome


def fatal_at_two(frame):
    """What a worker does that is killed for its memory, and others do not."""
    if frame.number == 2:
        os._exit(9)
    if frame.number == 3:
        raise TypeError("a fault")
    return Outcome(frame.name, "done", threads())


def threads():
    return os.environ["NUMBA_NUM_THREADS"] + os.environ["OMP_NUM_THREADS"]


def test_a_frame_that_kills_its_workers_is_given_up_and_the_others_are_done(monkeypatch):
    # What the user has set holds.
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ClusterOptions(workers=2, dashboard=0, allowed_failures=1, memory_limit="1GB")
    frames = [Frame(number) for number in range(6)]
    with open_engine(options, 3, 120.0) as (engine, dashboard):
        assert dashboard.startswith("http://")
        answers = {frame.number: answer for frame, answer in engine.run(fatal_at_two, frames)}
    assert "every worker that tried it died" in answers.pop(2)
    assert answers.pop(3) == "unexpected TypeError: a fault"
    assert {number: answer.reason for number, answer in answers.items()} == dict.fromkeys(
        (0, 1, 4, 5), "31"
    )


class AtOnce:
    """A client whose tasks are done as they are submitted."""

    status = "running"

    def __init__(self, log):
        self.log = log

    def submit(self, work, frame, **_):
        self.log.append(f"do {frame.number}")
        return Done(str(frame.number), work(frame))

    def map(self, work, frames, **_):
        return [self.submit(work, frame) for frame in frames]


class Done:
    def __init__(self, key, outcome):
        self.key, self.result, self.exception = key, lambda: outcome, lambda: None

    def release(self):
        pass


def test_a_frame_waits_until_what_became_of_the_one_before_is_written_down(monkeypatch):
    class Futures(list):
        add = list.append

    monkeypatch.setattr(engines, "_distributed", lambda: SimpleNamespace(as_completed=Futures))
    log = []
    engine = DaskEngine(AtOnce(log), "test")
    frames = [Frame(0), Frame(1, after="000000"), Frame(2, after="000001")]
    for frame, _ in engine.run(lambda frame: Outcome(frame.name, "done"), frames):
        log.append(f"note {frame.number}")
    assert log == ["do 0", "note 0", "do 1", "note 1", "do 2", "note 2"]


class Cancelled:
    """A future that has no answer any more."""

    def __init__(self, reason):
        self.reason = reason

    def exception(self):
        from distributed.client import FutureCancelledError

        if self.reason == "broken":
            raise ConnectionResetError
        raise FutureCancelledError("key", self.reason)


class Running:
    status = "running"


def test_a_scheduler_that_goes_away_is_told_from_an_outcome_that_got_lost():
    engine = DaskEngine(Running(), "scheduler")
    assert engine._answer(Cancelled("unknown")) is None
    for reason in ("scheduler-connection-lost", "broken"):
        with pytest.raises(SchedulerLostError):
            engine._answer(Cancelled(reason))


def test_one_worker_is_this_process():
    with open_engine(ClusterOptions(), 1, 1.0) as (engine, dashboard):
        assert isinstance(engine, SerialEngine)
        assert dashboard == ""


def test_a_scheduler_that_is_not_there_is_one_line():
    options = ClusterOptions(scheduler="tcp://127.0.0.1:1")
    with (
        pytest.raises(ValueError, match=r"tcp://127.0.0.1:1: no Dask scheduler answers"),
        open_engine(options, 1, 0.5),
    ):
        pass


def test_slurm_jobs_have_one_worker_with_its_memory_and_threads(tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text('[slurm]\nqueue = "render"\nwalltime = "02:00:00"\n')
    options = ClusterOptions(slurm=True, cluster_config=config, memory_limit="3GB", dashboard=0)
    with slurm_cluster(options, 4) as cluster:
        script = cluster.job_script()
    assert "#SBATCH -p render\n" in script
    assert "#SBATCH -t 02:00:00\n" in script
    assert "#SBATCH --cpus-per-task=4\n" in script
    assert "#SBATCH --mem=3G\n" in script
    assert "export NUMBA_NUM_THREADS=4\n" in script
    assert script.index("export") < script.index("distributed.cli.dask_worker")
    # The last one holds.
    assert script.rindex("--nthreads") == script.index("--nthreads 1")
    assert "--memory-limit 2.79GiB" in script


@pytest.mark.parametrize(
    ("text", "says"),
    [("[slurm", "not a readable TOML"), ("[other]\n", r"no table \[slurm\]"), (None, "TOML")],
)
def test_configurations_that_cannot_be_read(tmp_path, text, says):
    from calib.capture import CaptureError

    path = tmp_path / "cluster.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CaptureError, match=says):
        slurm_cluster(ClusterOptions(slurm=True, cluster_config=path), 1)


@pytest.mark.parametrize(
    ("missing", "options", "says"),
    [
        ("distributed", {"workers": 2}, r"pip install 'headmvs\[cluster\]'"),
        ("dask_jobqueue", {"slurm": True}, r"pip install 'headmvs\[cluster\]'"),
        ("dask_kubernetes", {"kubernetes": True}, "needs dask-kubernetes"),
    ],
)
def test_missing_libraries_are_named(monkeypatch, missing, options, says):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=says), open_engine(ClusterOptions(**options), 1, 1.0):
        pass
    assert clusters.ClusterOptions().is_serial
