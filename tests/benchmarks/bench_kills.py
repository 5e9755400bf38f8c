"""Kills `mvs reconstruct` at random moments, again and again, until it ends; compares the bytes.

    python -m tests.benchmarks.bench_kills [--kills 50] [--seed 0] [--quality draft fast]

Runs are processes forked from one that has loaded the libraries. After the last kill a run is left
alone. Prints how often runs were killed, after which stage's results, and what that cost; ends with
1 where a byte differs.
"""

import argparse
import hashlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2  # noqa: F401
import open3d  # noqa: F401
import torch  # noqa: F401

import mvs.cli.reconstruct
import mvs.network.compact
import mvs.pipeline  # noqa: F401
from mvs.cli import main as command

RESULTS = ("points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply")
SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"


def start(capture, output, quality):
    """The process of a run."""
    process = os.fork()
    if process == 0:
        words = ["reconstruct", str(capture), "--output", str(output), "--quality", quality]
        os._exit(command.run([*words, "--quiet"]))
    return process


def finish(process):
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != 0:
        raise SystemExit(f"a run ended with exit code {code}")


def digests(output):
    paths = [output / name for name in RESULTS if (output / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def children_seconds():
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def reached(output):
    """The last stage that had left something."""
    entries = list((output / ".stages").glob("*.stage"))
    if not entries:
        return "nothing yet"
    return max(entries, key=lambda path: path.stat().st_mtime_ns).name.partition("-")[0]


def cpu_of(pid):
    """CPU seconds of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def kill_after(process, cpu_seconds):
    """Kill a run once it has used so much time; False where it ended before."""
    while cpu_of(process) < cpu_seconds:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"a run ended with exit code {os.waitstatus_to_exitcode(status)}")
            return False
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def survive_once(capture, output, quality, n_kills, latest, rng):
    """Kill a run until it ends, or ``n_kills`` times; after which stages it was."""
    places = []
    for _ in range(n_kills):
        if not kill_after(start(capture, output, quality), rng.uniform(0.2, rng.choice(latest))):
            return places
        places.append(reached(output))
    finish(start(capture, output, quality))
    return places


def survive(capture, quality, n_kills, rng):
    """Kill a quality's runs ``n_kills`` times, in as many folders as that takes."""
    with tempfile.TemporaryDirectory() as scratch:
        whole, before = Path(scratch) / "whole", children_seconds()
        finish(start(capture, whole, quality))
        alone = children_seconds() - before
        print(f"{quality}: {alone:.0f} CPU seconds uninterrupted", flush=True)
        # From before anything is there to after a few views or stages.
        latest = (3.0, 3.0 + 0.1 * alone, 3.0 + 0.3 * alone)
        places, n_runs, differing = Counter(), 0, 0
        while (left := n_kills - sum(places.values())) > 0:
            output, before = Path(scratch) / f"killed{n_runs}", children_seconds()
            found = survive_once(capture, output, quality, left, latest, rng)
            places.update(found)
            n_runs += 1
            is_same = digests(output) == digests(whole)
            differing += not is_same
            over = [path.name for path in output.rglob(".*") if path.name != ".stages"]
            told = "the same bytes" if is_same else "OTHER BYTES"
            spent = children_seconds() - before
            print(
                f"  killed {len(found)} times, {spent:.0f} CPU seconds, {told}, "
                f"{len(over)} files left over",
                flush=True,
            )
        where = ", ".join(f"{n} after {stage}" for stage, n in places.most_common())
        print(f"{quality}: {sum(places.values())} kills ({where}); {differing} of {n_runs} differ")
        return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", nargs="+", default=["draft", "fast"])
    parser.add_argument("--capture", type=Path, default=SAMPLE)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    n_kills = -(-options.kills // len(options.quality))
    differing = [survive(options.capture, q, n_kills, rng) for q in options.quality]
    return 1 if any(differing) else 0


if __name__ == "__main__":
    sys.exit(main())
