"""The plan against what can be counted by hand."""

import json

import pytest

from calib.capture import CaptureError
from mvs.batch.plan import Measured, PlanOptions, read_measured, simulate

FRAME = Measured((10.0,), 2000.0, 100.0, 50.0, 0.01)
IDEAL = PlanOptions(
    n_frames=64, storage_mb_per_s=1e12, start_seconds=0, handling_ms=0, deaths_per_hour=0
)


def changed(**values):
    import dataclasses

    return dataclasses.replace(IDEAL, **values)


@pytest.mark.parametrize(
    ("workers", "seconds"), [(1, 640), (16, 40), (60, 20), (64, 10), (500, 10)]
)
def test_without_any_loss_frames_are_shared_evenly(workers, seconds):
    plan = simulate(FRAME, workers, IDEAL)
    assert plan.hours * 3600 == pytest.approx(seconds)
    assert plan.core_hours == pytest.approx(workers * plan.hours)
    assert plan.busy == pytest.approx(640 / (workers * seconds))
    assert (plan.read_gb, plan.written_gb, plan.deaths) == (6.4, 3.2, 0)
    assert plan.memory_gb == 2.0 * workers


def test_storage_that_all_share_bounds_the_speed():
    plan = simulate(FRAME, 64, changed(storage_mb_per_s=50.0))
    # 150 MB a frame, three seconds, one after the other.
    assert plan.hours * 3600 >= 64 * 3
    assert plan.hours * 3600 < 64 * 3 + 20
    assert plan.storage_busy > 0.9


def test_start_handling_and_slower_cores_are_counted():
    assert simulate(FRAME, 1, changed(start_seconds=7)).hours * 3600 == pytest.approx(647)
    assert simulate(FRAME, 1, changed(handling_ms=500)).hours * 3600 == pytest.approx(672)
    assert simulate(FRAME, 1, changed(scale=2)).hours * 3600 == pytest.approx(1280)


def test_deaths_cost_what_was_being_done():
    plan = simulate(FRAME, 4, changed(n_frames=500, deaths_per_hour=60.0, start_seconds=5))
    # A life of 60 seconds on average ends before a frame's 10 in 1 - exp(-1/6) of all tries.
    assert 60 < plan.deaths < 125
    assert plan.hours * 3600 > 500 * 10 / 4
    assert simulate(FRAME, 4, changed(deaths_per_hour=60.0)) == simulate(
        FRAME, 4, changed(deaths_per_hour=60.0)
    )
    with pytest.raises(ValueError, match="lower --deaths-per-hour"):
        simulate(FRAME, 4, changed(deaths_per_hour=36000.0))


def test_a_plan_without_workers_is_refused(tmp_path, capfd):
    from mvs.cli.main import run

    assert run(["batch", "plan", str(tmp_path), "--workers"]) == 2
    assert capfd.readouterr().err == "mvs: --workers needs a number, or several\n"


def test_what_is_measured_comes_from_a_batch(tmp_path):
    with pytest.raises(CaptureError, match="mvs batch"):
        read_measured(tmp_path)
    frames = {}
    for number, seconds in enumerate((4.0, 6.0)):
        name = f"{number:06d}"
        folder = tmp_path / "frames" / name
        folder.mkdir(parents=True)
        manifest = {"key": "", "settings": "", "stat": "", "files": {}, "input_bytes": 2_000_000}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "mesh.ply").write_bytes(bytes(1_000_000))
        frames[name] = {"frame": name, "state": "done", "cpu_seconds": seconds, "peak_mb": 900}
        frames[name] |= {"seconds": seconds, "overhead": 0.02 * seconds}
    frames["000002"] = {"state": "failed", "frame": "000002"}
    (tmp_path / "batch.json").write_text(json.dumps({"frames": frames}))
    found = read_measured(tmp_path)
    assert (found.cpu_seconds, found.peak_mb, found.read_mb) == ((4.0, 6.0), 900.0, 2.0)
    assert found.written_mb == pytest.approx(1.0, abs=0.001)
    assert found.overhead == pytest.approx(0.02)
