"""Kills `mvs reconstruct` at random moments, again and again, until it ends; compares the bytes.

    python -m tests.benchmarks.bench_kills [--kills 50] [--seed 0] [--quality draft fast]

After so many kills of a quality, runs are left alone. Prints how often it was killed, where, and
what that cost; ends with 1 where a byte differs.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RESULTS = ("points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply")
SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"


def start(capture, output, quality):
    command = [sys.executable, "-m", "mvs", "reconstruct", capture, "--output", output]
    return subprocess.Popen(
        [*map(str, command), "--quality", quality, "--quiet"], stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, complaint = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"exit code {process.returncode}: {complaint}")


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
    while process.poll() is None:
        if cpu_of(process.pid) >= cpu_seconds:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(0.005)
    finish(process)
    return False


def survive(capture, quality, n_kills, rng):
    """Kill a quality's run ``n_kills`` times, in as many folders as that takes."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        before = children_seconds()
        finish(start(capture, whole, quality))
        alone = children_seconds() - before
        truth = digests(whole)
        start_up = alone - sum(json.loads((whole / "run.json").read_text())["cpu_seconds"].values())
        places, n_folders, total, differing = Counter(), 0, 0, 0
        while total < n_kills:
            output, before = Path(scratch) / f"killed{n_folders}", children_seconds()
            n_folders += 1
            killed_here = 0
            while True:
                # From before it has loaded to after a few views or stages.
                latest = start_up + rng.choice((0.05, 0.3)) * (alone - start_up)
                process = start(capture, output, quality)
                if not kill_after(process, rng.uniform(0.3 * start_up, latest)):
                    break
                total += 1
                killed_here += 1
                places[reached(output)] += 1
                if total >= n_kills:
                    finish(start(capture, output, quality))
                    break
            is_same = digests(output) == truth
            differing += not is_same
            left = [path.name for path in output.rglob(".*") if path.name != ".stages"]
            spent = children_seconds() - before
            print(
                f"  {quality}: killed {killed_here} times, {spent:.0f} CPU seconds "
                f"({alone:.0f} uninterrupted, {start_up:.1f} of them to load), bytes "
                f"{'the same' if is_same else 'DIFFER'}, {len(left)} files left over",
                flush=True,
            )
        where = ", ".join(f"{n} after {stage}" for stage, n in places.most_common())
        print(f"{quality}: {total} kills in {n_folders} runs ({where}); {differing} differ")
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
