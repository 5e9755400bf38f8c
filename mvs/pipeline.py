"""From a capture to a mesh; the body of ``reconstruct`` is the list of stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.capture import Capture, CaptureError
from calib.files import write_json
from mvs.cache import CacheOptions, Store
from mvs.folder import STAGES_FOLDER, claim_for, claimed, clear_unfinished
from mvs.presets import PRESETS as PRESETS
from mvs.presets import PipelineOptions as PipelineOptions
from mvs.record import (
    RESULTS,
    Progress,
    Report,
    hash_views,
    library_versions,
    note_source,
    prepare_output,
)
from mvs.run import Run
from mvs.stages.export import write_mesh
from mvs.stages.judge import judge_lenses
from mvs.stages.mesh import mesh
from mvs.stages.prior import Prior
from mvs.stages.refine import DepthMap
from mvs.stages.remember import RememberingEmbedder
from mvs.steps.coarse import from_cube_maps, from_points, from_prior
from mvs.steps.keys import KINDS, identities, picture_keys, stage_keys
from mvs.steps.refined import refined_cloud
from mvs.types import Embedder

STAGES = ("embed", "pairs", "match", "triangulate", "fuse", "refine", "mesh")
# Holes, in radii of the object, that are closed without masks.
_UNMASKED_HOLE = 0.04


def reconstruct(
    capture: Capture,
    embedder: Embedder | None,
    output: Path,
    options: PipelineOptions | None = None,
    until: str = STAGES[-1],
    progress: Progress | None = None,
    prior: Prior | None = None,
) -> Report:
    """Reconstruct a capture into a folder.

    Writes ``points.ply`` (triangulated), ``cloud.ply`` (fused), ``mesh.ply`` and ``run.json``, each
    as soon as it is known; all in the frame and unit of the calibration. Results of an earlier run
    stay until there are new ones, and go then. What stages gave is kept in ``.stages`` under the
    hash of all that it hangs on: a run that ended early goes on where it was, to the same bytes,
    and one with other options computes what they change.

    Args:
        capture: views with cameras.
        embedder: gives pixels their cube coordinates; None starts from sparse points instead,
            and wants refinement. One that is no ``KnownEmbedder`` is always asked again.
        output: folder, made where absent.
        options: of the stages.
        until: last stage to run.
        progress: called with stage, steps done and steps in all.
        prior: the head's surface a moment ago. Where the pictures agree with it, refinement starts
            from it; else the result is that without. ``notes`` of the report say which. Where one
            that was taken ends in a ReconstructionError, none may not.

    Returns:
        Times, counts, warnings and the files written.

    Raises:
        ValueError: if ``until`` is no stage, or there is neither embedder nor refinement, or TSDF
            or a prior without refinement.
        CaptureError: if a picture or mask cannot be read, or ``output`` cannot be written, belongs
            to another capture or to a run in progress.
        ReconstructionError: if a stage has nothing to go on with.
    """
    options = options or PipelineOptions()
    _check(embedder, options, until)
    if prior is not None and not (embedder and options.refine and until in ("refine", "mesh")):
        raise ValueError("a prior is for runs that refine what an embedder gives")
    prepare_output(output)
    with claimed(output):
        try:
            report = _run(capture, embedder, output, options, until, progress, prior)
        except OSError as error:
            raise CaptureError(
                output, error.strerror or str(error), "choose another --output, or free some space"
            ) from None
    report.files.append(output / "run.json")
    return report


def _run(
    capture: Capture,
    embedder: Embedder | None,
    output: Path,
    options: PipelineOptions,
    until: str,
    progress: Progress | None,
    prior: Prior | None,
) -> Report:
    """Go on from what lies in a folder that is claimed."""
    report = Report(warnings=[*capture.warnings, *judge_lenses(capture)])
    hashes, told = hash_views(capture), identities(capture, embedder)
    inputs = {name: hashed.whole for name, hashed in hashes.items()}
    claim_for(output, capture, inputs, options.cache.force)
    clear_unfinished(output, RESULTS)
    # The answers of an embedder that does not say what they hang on are of no use to another run.
    keeps = options.cache.is_used and None not in told.values()
    store = Store(output / STAGES_FOLDER, KINDS, _skipped(options.cache) if keeps else None)
    if embedder is not None and not embedder.wants_distorted:
        embedder = RememberingEmbedder(embedder, store, picture_keys(capture, hashes, told))
    run = Run(report, output, store, progress, until, capture.unit)
    keys = stage_keys(capture, hashes, told, options, prior)
    run.resume(keys, _resumable(options, until, prior))
    _stages(capture, embedder, options, run, prior)
    run.finish(STAGES)
    record = _record(capture, embedder, options, until, report)
    record |= {"embedder_identity": _in_short(told), "inputs": inputs}
    write_json(output / "run.json", record)
    # Where earlier results stay for want of new ones, so does what they were made of.
    if report.files or options.cache.keep == "none":
        store.clean(options.cache.keep)
    return report


def _stages(
    capture: Capture,
    embedder: Embedder | None,
    options: PipelineOptions,
    run: Run,
    prior: Prior | None,
) -> None:
    """The stages in order; each result is on disk before the next stage starts."""
    if run.is_complete:
        return
    if embedder is None:
        coarse = from_points(capture, run)
    else:
        coarse = None if prior is None else from_prior(capture, embedder, prior, options, run)
        coarse = coarse or from_cube_maps(capture, embedder, options, run)
    if coarse is None:
        return
    cloud, shots = coarse
    how = options.mesh
    maps: list[DepthMap | None] = []
    if options.refine is not None:
        with run.stage("refine", len(shots)) as step:
            refined, maps = refined_cloud(cloud, shots, options, run, step)
            cloud = refined.cloud
            if refined.seen is None:
                how = dataclasses.replace(how, mesher="poisson")
            if how.mesher == "poisson":
                maps = []
    if run.is_over("refine"):
        return
    with run.stage("mesh"):
        if not shots.has_masks:
            # Without masks nothing tells the surface from what Poisson closes it with.
            how = dataclasses.replace(how, max_hole=min(how.max_hole, _UNMASKED_HOLE))
        surface = mesh(cloud, how, shots if options.refine else None, maps)
        run.count(vertices=len(surface.vertices), faces=len(surface.faces))
        run.write("mesh.ply", lambda path: write_mesh(surface, path, run.unit))
        run.reach("mesh")


def _check(embedder: Embedder | None, options: PipelineOptions, until: str) -> None:
    """Refuse options that do not fit together."""
    for name, stage in (("until", until), ("from", options.cache.start or STAGES[0])):
        if stage not in STAGES:
            raise ValueError(f"{name} must be one of {', '.join(STAGES)}, got {stage}")
    if embedder is None and options.refine is None:
        raise ValueError("without an embedder there is nothing but refinement: take a --quality")
    if options.mesh.mesher == "tsdf" and options.refine is None:
        raise ValueError("--mesh.mesher tsdf fuses refined depths: take a --quality that refines")


def _skipped(options: CacheOptions) -> tuple[str, ...]:
    """Stages whose earlier results are not taken."""
    if options.force:
        return STAGES
    return STAGES[STAGES.index(options.start) :] if options.start else ()


def _resumable(options: PipelineOptions, until: str, prior: Prior | None) -> list[str]:
    """Stages after whose results a run can go on, or which are all that is asked for."""
    # Fusion wants what was matched, TSDF the depth maps, not only their cloud.
    without = {"triangulate", "refine"} if options.mesh.mesher == "tsdf" else {"triangulate"}
    # A prior goes before what was fused without.
    without |= set() if prior is None else {"fuse"}
    return [stage for stage in STAGES if stage == until or stage not in without]


def _record(
    capture: Capture,
    embedder: Embedder | None,
    options: PipelineOptions,
    until: str,
    report: Report,
) -> dict[str, Any]:
    """What ``run.json`` holds."""
    return {
        **note_source(capture),
        "unit": capture.unit,
        "embedder": "none" if embedder is None else embedder.name,
        "until": until,
        "options": dataclasses.asdict(options),
        "versions": library_versions(),
        "seconds": {name: round(value, 3) for name, value in report.seconds.items()},
        "cpu_seconds": {name: round(value, 3) for name, value in report.cpu_seconds.items()},
        "stage_peak_mb": {name: round(value, 1) for name, value in report.stage_peak_mb.items()},
        "cached": report.cached,
        "counts": report.counts,
        "notes": report.notes,
        "peak_memory_mb": round(report.peak_mb, 1),
        "warnings": report.warnings,
        "files": [path.name for path in report.files],
    }


def _in_short(told: Mapping[str, str | None]) -> str | Mapping[str, str | None] | None:
    """One identity where all views have the same, as of a network."""
    values = set(told.values())
    return next(iter(values), None) if len(values) <= 1 else told
