"""The qualities, and what each part of refinement is worth: error, time and memory on heads/A.

Needs the captures of ``tests.shared``. Every row is a run of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.heads import heads_folder
from tests.shared import HEADS

VARIANTS = {
    "draft": ("--quality", "draft"),
    "fast": ("--quality", "fast"),
    "balanced": (),
    "best": ("--quality", "best"),
    "balanced, TSDF": ("--mesh.mesher", "tsdf"),
    "balanced, no propagation": ("--refine.coarse-steps", "SSS", "--refine.steps", "SSS"),
    "balanced, with the cube term": ("--refine.cube", "0.02"),
    "balanced, cloud not carried on": ("--extend.gap", "0"),
}


def run(capture, output, options):
    mvs = [sys.executable, "-m", "mvs"]
    subprocess.run(
        [*mvs, "reconstruct", str(capture), "--output", str(output), "--quiet", *options],
        check=True,
    )
    figures = output / "figures.json"
    subprocess.run(
        [
            *(*mvs, "evaluate", "reconstruction", str(capture), str(output / "mesh.ply")),
            *("--quiet", "--json", str(figures)),
        ],
        check=True,
    )
    record = json.loads((output / "run.json").read_text())
    return record, json.loads(figures.read_text())["mesh.ply"]


def main():
    folder = heads_folder()
    if folder is None:
        print(f"{HEADS} is absent: nothing to measure")
        return
    print(f"{'mesh of heads/A':36} F@0.5  F@1    accuracy  completeness  CPU s  wall s  peak MB")
    for name, options in VARIANTS.items():
        with tempfile.TemporaryDirectory() as output:
            record, figures = run(folder / "A", Path(output), options)
        at = {score["threshold_mm"]: score["f"] for score in figures["scores"]}
        print(
            f"{name:36} {at[0.5]:.3f}  {at[1.0]:.3f}  {figures['accuracy']['median']:.3f} mm"
            f"  {figures['completeness']['mean']:.3f} mm     "
            f"{sum(record['cpu_seconds'].values()):5.0f}  {sum(record['seconds'].values()):6.0f}"
            f"  {record['peak_memory_mb']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
