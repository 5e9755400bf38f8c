"""``mvs batch plan``: what many frames cost on many workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.batch.plan import PlanOptions


@dataclass(frozen=True, kw_only=True)
class Options(PlanOptions):
    """Simulate a batch on workers of one core, from what a few frames of it cost.

    Attributes:
        result: output of mvs batch on a few frames, with --threads 1.
        workers: how many, several for a comparison.
        json: file to write the figures to.
        quiet: print nothing but errors.
    """

    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    workers: tuple[int, ...] = (1, 16, 128)
    json: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from mvs.batch.plan import read_measured, simulate
    from mvs.cli.show import table

    if not options.workers:
        raise ValueError("--workers needs a number, or several")
    measured = read_measured(options.result)
    plans = [simulate(measured, workers, options) for workers in options.workers]
    if options.json is not None:
        write_json(options.json, {**asdict(measured), "plans": [asdict(plan) for plan in plans]})
    if options.quiet:
        return
    n = len(measured.cpu_seconds)
    mean = sum(measured.cpu_seconds) / n
    rows = [
        ("CPU seconds", f"{mean:.1f}"),
        ("peak MB of a worker", f"{measured.peak_mb:.0f}"),
        ("MB read", f"{measured.read_mb:.2f}"),
        ("MB written", f"{measured.written_mb:.2f}"),
        ("beside reconstruction", f"{measured.overhead:.2%}"),
    ]
    table(f"a frame, of {n} measured", ("", ""), rows)
    header = ["workers", "hours", "core hours", "busy", "storage busy", "memory GB"]
    lines = [
        (
            str(plan.workers),
            *(f"{value:.1f}" for value in (plan.hours, plan.core_hours)),
            *(f"{value:.1%}" for value in (plan.busy, plan.storage_busy)),
            f"{plan.memory_gb:.0f}",
        )
        for plan in plans
    ]
    first = plans[0]
    gigabytes = f"{first.read_gb:.0f} GB read, {first.written_gb:.0f} GB written"
    table(f"{options.n_frames} frames, {gigabytes}", header, lines)
