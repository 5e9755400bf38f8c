"""Batches: workers against one process, chains of frames, workers and schedulers that are killed.

Two sequences: a tiny one with exact cube maps for what happens to processes, and a rendered
performance by 8 cameras (from the ICT-FaceKit head of ``tests.shared``) for what a frame costs. Of
a folder given as an argument the latter alone is measured.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mvs.batch.work import RUN
from tests.batch.sequences import arguments, results, write_sequence
from tests.shared import ICT

N_TINY, N_KILLS, PORT = 60, 10, 18786
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def start(*words):
    return subprocess.Popen([sys.executable, "-m", *map(str, words)], env=ENVIRONMENT)


def mvs(*words):
    begin = time.perf_counter()
    code = start("mvs", *words, "--quiet").wait()
    return code, time.perf_counter() - begin


def summary(output):
    return json.loads((output / "batch.json").read_text())


def children(pid):
    """Processes below a process, whichever of its threads started them."""
    found, todo = [], [pid]
    while todo:
        for path in Path(f"/proc/{todo[0]}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                todo += [int(word) for word in path.read_text().split()]
        found.append(todo.pop(0))
    return found[1:]


def compare(name, found, expected):
    same = results(found) == results(expected)
    print(f"  {name}: {'identical bytes' if same else 'DIFFERENT'}, {len(results(found))} files")


def workers_of(process):
    """Worker processes of a batch's local cluster: those that were spawned to work."""
    for pid in children(process.pid):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield pid


def kill_at_random(folder, expected):
    """Ten workers are killed -9 at random moments."""
    output, dice, n = folder / "killed", random.Random(1), 0
    words = arguments(folder, output, "--workers", 2, "--dashboard", 0)
    # All ten might hit one frame.
    process = start("mvs", *words, "--quiet", "--allowed-failures", N_KILLS)
    seen = 0
    while process.poll() is None:
        time.sleep(dice.uniform(0.0, 2.0))
        pool = list(workers_of(process))
        n_done = len(list(output.glob("frames/[0-9]*")))
        # Something must have been done since the last, or starting is all they do.
        if n < N_KILLS and pool and n_done > seen:
            os.kill(dice.choice(pool), signal.SIGKILL)
            n, seen = n + 1, n_done
    print(f"kill -9 at random: {n} killed, exit code {process.returncode}")
    print(f"  {summary(output)['counts']}")
    compare("against one process", output, expected)


def beyond_memory(folder, expected):
    """One frame unpacks to more than a worker may hold."""
    bomb = np.zeros((6500, 6500, 3))
    place = folder / "maps" / "000003"
    kept = place.with_name("kept")
    place.rename(kept)
    place.mkdir()
    for path in kept.iterdir():
        np.savez_compressed(place / path.name, coords=bomb)
    output = folder / "memory"
    words = arguments(folder, output, "--frames", "0:8", "--workers", 2, "--dashboard", 0)
    code, _ = mvs(*words, "--memory-limit", "800MB", "--allowed-failures", 1)
    document = summary(output)
    print(f"a worker over its memory limit: exit code {code}, {document['counts']}")
    failed = [f for f in document["frames"].values() if f["state"] == "failed"]
    print(f"  {[(f['frame'], f['reason']) for f in failed]}")
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    kept.rename(place)
    code, _ = mvs(*words, "--memory-limit", "800MB", "--retry")
    print(f"  mended and --retry: exit code {code}, {summary(output)['counts']}")
    chosen = {k: v for k, v in results(expected).items() if k < "frames/000008"}
    print(f"  identical bytes: {results(output) == chosen}")


def restart_scheduler(folder, expected):
    """Scheduler and workers are killed in the middle and started again."""
    output = folder / "restarted"
    address = f"tcp://127.0.0.1:{PORT}"

    def cluster():
        scheduler = start(
            "distributed.cli.dask_scheduler", "--port", PORT, "--dashboard-address", ":0"
        )
        time.sleep(5)
        worker = ("distributed.cli.dask_worker", address, "--nthreads", 1, "--nworkers", 2)
        return [scheduler, start(*worker, "--death-timeout", 60)]

    def stop(processes):
        for process in processes:
            for pid in [process.pid, *children(process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    processes = cluster()
    batch = start("mvs", *arguments(folder, output, "--scheduler", address), "--quiet")
    while len(list(output.glob("frames/[0-9]*"))) < N_TINY // 4:
        time.sleep(0.2)
    stop(processes)
    before = len(list(output.glob("frames/[0-9]*")))
    processes = cluster()
    code = batch.wait()
    stop(processes)
    print(f"scheduler killed after {before} frames and started again: exit code {code}")
    print(f"  {summary(output)['counts']}")
    compare("against one process", output, expected)


def tiny(folder):
    write_sequence(folder, N_TINY)
    mvs(*arguments(folder, folder / "serial"))
    for check in (kill_at_random, beyond_memory, restart_scheduler):
        check(folder, folder / "serial")


def performance(folder, shot, options):
    """One process against two workers, every frame alone and in chains; what a frame costs."""
    words = ["batch", shot, "--images", f"{shot}/images/{{camera}}/{{frame:06d}}.jpg"]
    words += ["--masks", f"{shot}/masks/{{camera}}/{{frame:06d}}.png"]
    words += ["--quality", options.quality, "--threads", 1]
    # Kernels are compiled, files are in memory.
    mvs(*words, "--frames", 0, "--output", folder / "first")
    words += ["--frames", f"0:{options.frames}"]
    two = ("--workers", 2, "--dashboard", 0)
    means = {}
    for name, more in (("alone", ()), ("in chains", ("--chain", options.chain))):
        serial, workers = folder / name, folder / f"{name}, two"
        took, means[name] = measure(f"{name}, one process", serial, [*words, *more])
        took_two, _ = measure(f"{name}, two workers", workers, [*words, *more, *two])
        print(f"  speed-up {took / took_two:.2f}, load {os.getloadavg()[0]:.1f}")
        compare("two workers against one process", workers, serial)
        if options.quality == "draft":
            return
    ratio = means["alone"] / means["in chains"]
    print(f"chains of {options.chain}: {ratio:.2f} times as many frames in a CPU second")


def measure(name, output, words):
    """Seconds of a batch, and CPU seconds a frame."""
    code, took = mvs(*words, "--output", output)
    frames = summary(output)["frames"].values()
    n = len(frames)
    cpu, seconds, beside = (
        sum(f[key] for f in frames) for key in ("cpu_seconds", "seconds", "overhead")
    )
    inner = sum(
        sum(json.loads((output / "frames" / f["frame"] / RUN).read_text())["seconds"].values())
        for f in frames
    )
    print(f"{name}: {took:.1f} s, exit code {code}, {n} frames")
    print(f"  a frame: {cpu / n:.2f} CPU seconds, {seconds / n:.2f} s")
    for start in ("anew", "frame"):
        part = [f["cpu_seconds"] for f in frames if f["start"].startswith(start)]
        if 0 < len(part) < n:
            which = "begun anew" if start == "anew" else "from the frame before"
            print(f"  {len(part)} {which}: {sum(part) / len(part):.2f} CPU seconds a frame")
    print(f"  beside reconstruction in the worker: {beside / seconds:.2%}")
    if "--workers" not in words:
        share, each = (took - inner) / took, (took - inner) / n
        print(f"  beside the stages, process start and all: {share:.2%}, {each:.2f} s a frame")
    return took, cpu / n


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shot", nargs="?", type=Path, help="of mvs synthesize performance")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--chain", type=int, default=4)
    parser.add_argument("--quality", default="fast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.shot is None:
            (folder / "tiny").mkdir()
            tiny(folder / "tiny")
            if not ICT.is_file():
                print(f"{ICT} is absent: no performance to measure")
                return
            n = ("--n-frames", options.frames)
            mvs("synthesize", "performance", "--head", ICT, "--output", folder / "shot", *n)
        performance(folder, options.shot or folder / "shot", options)


if __name__ == "__main__":
    main()
