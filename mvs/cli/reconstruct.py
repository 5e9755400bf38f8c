"""``mvs reconstruct``: a capture in, a cloud and a mesh out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from mvs.cache import CacheOptions
from mvs.cli.source import SourceOptions
from mvs.stages.confirm import ConfirmOptions
from mvs.stages.extend import ExtendOptions
from mvs.stages.fuse import FuseOptions
from mvs.stages.match import MatchOptions
from mvs.stages.mesh import MeshOptions
from mvs.stages.pairs import PairOptions
from mvs.stages.refine import RefineOptions
from mvs.stages.triangulate import TriangulateOptions

if TYPE_CHECKING:
    from mvs.pipeline import PipelineOptions
    from mvs.record import Report

# The stages of mvs.pipeline.STAGES, spelt out so that --help need not import them.
StageName = Literal["embed", "pairs", "match", "triangulate", "fuse", "refine", "mesh"]


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Reconstruct a capture: points.ply, cloud.ply, mesh.ply and run.json.

    Attributes:
        until: last stage to run.
        start: first stage to compute anew; what comes before is taken from the last run into the
            same output where it is still there and nothing changed, as is everything without
            this.
        force: compute everything anew, also where the output holds another capture's results.
        keep: of intermediate results once all is done: ``some`` are as large as the results, and
            make a run with another mesh or another quality quick; ``all`` are four times that.
        quality: ``draft`` stops at what the cube maps give, millimetres; the others refine it
            photometrically to tenths: ``fast`` gives every second pixel of every second row a
            depth, ``balanced`` every pixel, ``best`` of larger heads.
            What is given of the options below goes before the preset's.
        texture: colour the mesh too, as ``mvs texture`` does: textured.ply and textured.glb.
        verbose: print what became of every pixel.
        pairs: which views are matched.
        match: how.
        triangulate: which points are kept.
        fuse: how they become one cloud.
        extend: where the cloud is carried on before it is refined.
        refine: how it is refined.
        confirm: which refined points are kept.
        mesh: how it becomes a mesh.
    """

    until: StageName = "mesh"
    start: Annotated[StageName | None, arg(name="from")] = None
    force: bool = False
    keep: Literal["none", "some", "all"] = "some"
    quality: Literal["draft", "fast", "balanced", "best"] = "balanced"
    texture: bool = False
    verbose: bool = False
    pairs: PairOptions = field(default_factory=PairOptions)
    match: MatchOptions = field(default_factory=MatchOptions)
    triangulate: TriangulateOptions = field(default_factory=TriangulateOptions)
    fuse: FuseOptions = field(default_factory=FuseOptions)
    extend: ExtendOptions = field(default_factory=ExtendOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)
    confirm: ConfirmOptions = field(default_factory=ConfirmOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)

    def pipeline(self) -> PipelineOptions:
        """The options of the stages; a preset's come in by ``defaults``."""
        from mvs.pipeline import PRESETS

        preset = PRESETS[self.quality]
        stages = {name: getattr(self, name) for name in _stages(preset)}
        if preset.refine is None:
            stages["refine"] = None
        embed = replace(preset.embed, threads=self.threads)
        cache = CacheOptions(self.force, self.start, self.keep)
        return replace(preset, embed=embed, cache=cache, **stages)


def _stages(preset: PipelineOptions) -> list[str]:
    """Stages whose options are given by their names."""
    return [f.name for f in fields(preset) if f.name not in ("embed", "cache")]


def defaults(arguments: list[str]) -> Options:
    """What is not given: the options of the preset that ``arguments`` name."""
    import tyro

    from mvs.pipeline import PRESETS

    quality: str = Options.quality
    for word, value in pairwise([*arguments, ""]):
        name, _, joined = word.partition("=")
        if name == "--quality":
            quality = joined or value
    # What is no preset is named when the words are parsed.
    preset = PRESETS.get(quality, PRESETS[Options.quality])
    stages = {name: getattr(preset, name) for name in _stages(preset)}
    if preset.refine is None:
        del stages["refine"]
    return Options(capture=tyro.MISSING, output=tyro.MISSING, **stages)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import progress_bars, warn
    from mvs.folder import claimed
    from mvs.pipeline import reconstruct
    from mvs.record import prepare_output
    from mvs.stages.textured import texture_capture

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
    if options.texture:
        with claimed(options.output):
            done = texture_capture(capture, options.output, options.output)
        report.warnings.extend(done.warnings)
        report.files.extend(done.files)
    if not options.quiet:
        warn(report.warnings)
        _print(report, options.verbose)


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
