"""``mvs reconstruct``: a capture in, a cloud and a mesh out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from mvs.cache import CacheOptions
from mvs.cli.source import SourceOptions
from mvs.cli.stages import StageOptions, preset_of

if TYPE_CHECKING:
    from calib.capture import Capture
    from mvs.pipeline import PipelineOptions
    from mvs.record import Report

# The stages of mvs.pipeline.STAGES, spelt out so that --help need not import them.
StageName = Literal["embed", "pairs", "match", "triangulate", "fuse", "refine", "mesh"]


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions, StageOptions):
    """Reconstruct a capture: points.ply, cloud.ply, mesh.ply, run.json and report.html.

    Attributes:
        until: last stage to run.
        start: first stage to compute anew; what comes before is taken from the last run into the
            same output where it is still there and nothing changed, as is everything without
            this.
        force: compute everything anew, also where the output holds another capture's results.
        keep: of intermediate results once all is done: ``some`` are as large as the results, and
            make a run with another mesh or another quality quick; ``all`` are four times that.
        texture: colour the mesh too, as ``mvs texture`` does: textured.ply and textured.glb.
        report: write report.html: what came of the run, for a browser.
        verbose: print what became of every pixel.
    """

    until: StageName = "mesh"
    start: Annotated[StageName | None, arg(name="from")] = None
    force: bool = False
    keep: Literal["none", "some", "all"] = "some"
    texture: bool = False
    report: bool = True
    verbose: bool = False

    def pipeline(self) -> PipelineOptions:
        """The options of the stages; a preset's come in by ``defaults``."""
        cache = CacheOptions(self.force, self.start, self.keep)
        return replace(self.stages(self.threads), cache=cache)


def defaults(arguments: list[str]) -> Options:
    """What is not given: the options of the preset that ``arguments`` name."""
    import tyro

    return Options(capture=tyro.MISSING, output=tyro.MISSING, **preset_of(arguments))


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import deliver, progress_bars, warn
    from mvs.folder import claimed
    from mvs.pipeline import reconstruct
    from mvs.record import prepare_output

    if options.texture and options.until != "mesh":
        raise ValueError("--texture colours the mesh: leave out --until")
    capture = options.load_capture()
    prepare_output(options.output)
    embedder = None
    if options.embedder == "none":
        if options.weights is not None or options.cube_maps is not None:
            raise ValueError("--embedder none uses no --weights and no --cube-maps: leave them out")
        options.use_threads()
    else:
        embedder = options.load_embedder()
    with progress_bars(options.quiet) as progress:
        report = reconstruct(
            capture, embedder, options.output, options.pipeline(), options.until, progress
        )
    if options.texture or options.report:
        with claimed(options.output):
            _finish(options, capture, report)
    counted = ("seconds", "cpu_seconds", "stage_peak_mb", "peak_mb", "counts")
    deliver({name: getattr(report, name) for name in counted})
    if not options.quiet:
        warn(report.warnings)
        _print(report, options.verbose)


def _finish(options: Options, capture: Capture, report: Report) -> None:
    """What is made of the results, into their folder, which no other run may have meanwhile."""
    from mvs.stages.textured import texture_capture
    from mvs.viewer.report import write_report

    warnings: tuple[str, ...] = ()
    if options.texture:
        done = texture_capture(capture, options.output, options.output)
        report.files.extend(done.files)
        warnings = done.warnings
    if options.report:
        report.files.append(write_report(capture, options.output, warnings))
    report.warnings.extend(warnings)


def _print(report: Report, verbose: bool) -> None:
    from mvs.cli.show import table

    made = {
        "embed": "views_with_head",
        "pairs": "pairs",
        "match": "matches",
        "triangulate": "points",
        "fuse": "cloud_points",
        "refine": "refined_points",
        "mesh": "faces",
    }
    rows = []
    for stage, seconds in report.seconds.items():
        what = made[stage] if made[stage] in report.counts else "views"
        told = f"{report.counts[what]:,} {what}".replace("_", " ")
        cached = report.cached.get(stage)
        told += f" ({'' if cached == 'all' else cached + ' '}from an earlier run)" if cached else ""
        rows.append((stage, f"{seconds:.1f} s", told))
    rows.append(("total", f"{sum(report.seconds.values()):.1f} s", f"peak {report.peak_mb:.0f} MB"))
    table("", ("stage", "time", "result"), rows)
    if verbose:
        counts = [(name.replace("_", " "), f"{n:,}") for name, n in report.counts.items()]
        table("counts", ("what", "number"), counts)
    table(
        "", ("file", "size"), [(str(p), f"{p.stat().st_size / 1e6:.1f} MB") for p in report.files]
    )
