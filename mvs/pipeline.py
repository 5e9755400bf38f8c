"""From a capture to a mesh; the body of ``reconstruct`` is the list of stages."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calib.capture import Capture, CaptureError
from calib.lens import shown_share
from calib.masks import judge_masks
from mvs.errors import ReconstructionError
from mvs.record import (
    Progress,
    Report,
    Run,
    hash_inputs,
    library_versions,
    prepare_output,
    write_json,
)
from mvs.stages.confirm import ConfirmOptions, confirm
from mvs.stages.embed import EmbeddedViews, EmbedOptions, embed_views
from mvs.stages.export import write_cloud, write_mesh, write_visibility
from mvs.stages.extend import ExtendOptions, extend
from mvs.stages.fuse import FuseOptions, fuse
from mvs.stages.match import MatchOptions, match_views
from mvs.stages.mesh import MeshOptions, mesh
from mvs.stages.notes import histogram, mean_confidences
from mvs.stages.pairs import PairOptions, choose_pairs
from mvs.stages.refine import DepthMap, RefineOptions, refine
from mvs.stages.shots import Shots, head_mask
from mvs.stages.sparse import sparse_cloud
from mvs.stages.triangulate import TriangulateOptions, nothing_triangulated, triangulate
from mvs.types import Embedder, PointCloud

STAGES = ("embed", "pairs", "match", "triangulate", "fuse", "refine", "mesh")
# Holes, in radii of the object, that are closed without masks.
_UNMASKED_HOLE = 0.04
# Views are odd whose median 1 - ZNCC is above this, and above that of most views.
_ODD_COST = 0.5
# Views are narrow whose pinhole picture shows less than this share of the distorted one.
_NARROW = 0.6


@dataclass(frozen=True)
class PipelineOptions:
    """Options of every stage, each documented beside its stage; no refinement where it is None."""

    embed: EmbedOptions = field(default_factory=EmbedOptions)
    pairs: PairOptions = field(default_factory=PairOptions)
    match: MatchOptions = field(default_factory=MatchOptions)
    triangulate: TriangulateOptions = field(default_factory=TriangulateOptions)
    fuse: FuseOptions = field(default_factory=FuseOptions)
    extend: ExtendOptions = field(default_factory=ExtendOptions)
    refine: RefineOptions | None = None
    confirm: ConfirmOptions = field(default_factory=ConfirmOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)


# How good and how slow: draft leaves out refinement; the others sharpen depths to tenths.
PRESETS = {
    "draft": PipelineOptions(),
    "fast": PipelineOptions(
        extend=ExtendOptions(stride=2),
        refine=RefineOptions(every=2, n_sources=3, coarse_steps="SPS", steps="SPS"),
        mesh=MeshOptions(depth=8),
    ),
    "balanced": PipelineOptions(refine=RefineOptions(), mesh=MeshOptions(depth=8)),
    "best": PipelineOptions(
        refine=RefineOptions(max_size=2400, n_sources=6, n_candidates=12),
        confirm=ConfirmOptions(voxel=1.0),
        mesh=MeshOptions(depth=9, max_distance=6.0),
    ),
}
# What refinement starts from: a mesh of the cube matches, or of sparse points, closed generously;
# from the latter depths are sought all over the object.
_COARSE_MESH = MeshOptions(depth=6, max_distance=6.0)
_SPARSE_MESH = MeshOptions(max_distance=20.0, max_hole=1.0, min_piece=0.0)
_SPARSE_REACH = 0.4


def reconstruct(
    capture: Capture,
    embedder: Embedder | None,
    output: Path,
    options: PipelineOptions | None = None,
    until: str = STAGES[-1],
    progress: Progress | None = None,
) -> Report:
    """Reconstruct a capture into a folder.

    Writes ``points.ply`` (triangulated), ``cloud.ply`` (fused), ``mesh.ply`` and ``run.json``, each
    as soon as it is known; all in the frame and unit of the calibration. Results of an earlier run
    stay until there are new points, and go then.

    Args:
        capture: views with cameras.
        embedder: gives pixels their cube coordinates; None starts from sparse points instead,
            and wants refinement.
        output: folder, made where absent.
        options: of the stages.
        until: last stage to run.
        progress: called with stage, steps done and steps in all.

    Returns:
        Times, counts, warnings and the files written.

    Raises:
        ValueError: if ``until`` is no stage, or there is neither embedder nor refinement, or TSDF
            without refinement.
        CaptureError: if a picture or mask cannot be read, or ``output`` cannot be written.
        ReconstructionError: if a stage has nothing to go on with.
    """
    if until not in STAGES:
        raise ValueError(f"until must be one of {', '.join(STAGES)}, got {until}")
    options = options or PipelineOptions()
    if embedder is None and options.refine is None:
        raise ValueError("without an embedder there is nothing but refinement: take a --quality")
    if options.mesh.mesher == "tsdf" and options.refine is None:
        raise ValueError("--mesh.mesher tsdf fuses refined depths: take a --quality that refines")
    prepare_output(output)
    report = Report(warnings=list(capture.warnings))
    _warn_of_narrow_views(capture, report)
    run = Run(report, progress, until, capture.unit)
    try:
        _stages(capture, embedder, output, options, run)
    except OSError as error:
        raise CaptureError(
            output, error.strerror or str(error), "choose another --output, or free some space"
        ) from None
    path = output / "run.json"
    write_json(path, _record(capture, embedder, options, until, report))
    report.files.append(path)
    return report


def _stages(
    capture: Capture,
    embedder: Embedder | None,
    output: Path,
    options: PipelineOptions,
    run: Run,
) -> None:
    """The stages in order; each result is on disk before the next stage starts."""
    if embedder is None:
        coarse = _from_points(capture, output, run)
    else:
        coarse = _from_cube_maps(capture, embedder, output, options, run)
    if coarse is None:
        return
    cloud, shots = coarse
    how, maps = options.mesh, []
    if options.refine is not None:
        with run.stage("refine", len(shots)) as step:
            wanted = options.refine
            if embedder is None:
                wanted = dataclasses.replace(wanted, cube=0.0, reach=_SPARSE_REACH)
            else:
                cloud = extend(cloud, shots, options.extend)
                cloud = cloud.rows(shots.holds(cloud.points))
            surface = mesh(cloud, _COARSE_MESH if embedder else _SPARSE_MESH, shots)
            maps = refine(surface, shots, wanted, step)
            refined = _confirmed(maps, cloud, shots, options, output, run)
            if refined is None:
                how = dataclasses.replace(how, mesher="poisson")
            cloud = cloud if refined is None else refined
            if how.mesher == "poisson":
                maps = []
            del surface
    if run.is_over("refine"):
        return
    with run.stage("mesh"):
        if not shots.has_masks:
            # Without masks nothing tells the surface from what Poisson closes it with.
            how = dataclasses.replace(how, max_hole=min(how.max_hole, _UNMASKED_HOLE))
        surface = mesh(cloud, how, shots if options.refine else None, maps)
        run.count(vertices=len(surface.vertices), faces=len(surface.faces))
        run.write(output / "mesh.ply", lambda path: write_mesh(surface, path, run.unit))


def _confirmed(
    maps: list[DepthMap | None],
    coarse: PointCloud,
    shots: Shots,
    options: PipelineOptions,
    output: Path,
    run: Run,
) -> PointCloud | None:
    """The refined cloud, written; none, with a warning, where no views agree."""
    try:
        cloud, seen = confirm(maps, shots.cameras, shots.images, coarse, options.confirm)
    except ReconstructionError as error:
        run.report.warnings.append(f"not refined, millimetres are all there is: {error}")
        run.count(refined_points=0)
        return None
    # A few stray points would stretch Poisson's octree, and its cells with it.
    near = shots.holds(cloud.points)
    cloud, seen = cloud.rows(near), seen[near]
    run.count(refined_points=len(cloud))
    _warn_of_odd_views(maps, shots, run)
    run.write(output / "cloud.ply", lambda path: write_cloud(cloud, path, run.unit))
    run.write(output / "cloud.ply.vis", lambda path: write_visibility(seen, path))
    return cloud


def _from_points(capture: Capture, output: Path, run: Run) -> tuple[PointCloud, Shots] | None:
    """A coarse cloud of sparse points, and the views; None where the run is over."""
    with run.stage("embed", len(capture.views)) as step:
        views = []
        for view in capture.views:
            views.append(view.load_pinhole())
            step()
        run.count(views=len(views))
        looks = [view.look for view in views]
        run.report.warnings += judge_masks(capture, looks)
    for stage in ("embed", "pairs", "match"):
        if run.is_over(stage):
            return None
    cameras, images, masks = zip(*((v.camera, v.image, v.mask) for v in views), strict=True)
    with run.stage("triangulate"):
        cloud = sparse_cloud(cameras, images, masks, capture.points)
        run.count(points=len(cloud))
        run.write(output / "points.ply", lambda path: write_cloud(cloud, path, run.unit))
    if run.is_over("triangulate") or run.is_over("fuse"):
        return None
    names = [view.name for view in capture.views]
    center = np.median(cloud.points, axis=0)
    radius = 1.2 * float(np.quantile(np.linalg.norm(cloud.points - center, axis=1), 0.95))
    has_masks = any(look is not None for look in looks)
    return cloud, Shots(names, cameras, images, masks, (), center, radius, has_masks)


def _from_cube_maps(
    capture: Capture, embedder: Embedder, output: Path, options: PipelineOptions, run: Run
) -> tuple[PointCloud, Shots] | None:
    """A coarse cloud of cube matches, and the views; None where the run is over."""
    with run.stage("embed", 2 * len(capture.views)) as step:
        views = embed_views(capture.views, embedder, options.embed, step)
        run.count(views=len(views.cameras), views_with_head=int(views.head.agrees.sum()))
        run.note(agrees=views.head.agrees.tolist(), confidence=mean_confidences(views.cube_maps))
        _warn_of_lost_views(capture, views.head.agrees.tolist(), run.report)
        _check_masks(capture, views, run.report)
    if run.is_over("embed"):
        return None
    with run.stage("pairs"):
        ids = [view.point_ids for view in capture.views]
        pairs = choose_pairs(views.cameras, views.head.center, capture.points, ids, options.pairs)
        n_pairs = sum(len(sources) for _, sources in pairs)
        run.count(pairs=n_pairs)
        if not n_pairs:
            raise ReconstructionError(
                "no two views see the head from directions that differ enough, yet not too much",
                "add views 10 to 40 degrees apart",
            )
    if run.is_over("pairs"):
        return None
    with run.stage("match", n_pairs) as step:
        matches = match_views(views.cube_maps, views.cameras, pairs, options.match, step)
        run.count(matches=sum(len(match.reference_index) for match in matches))
    if run.is_over("match"):
        return None
    with run.stage("triangulate"):
        head = (views.head.center, views.head.radius)
        points = triangulate(
            views.cube_maps, views.cameras, views.images, matches, options.triangulate, head
        )
        if not len(points.cloud):
            raise nothing_triangulated()
        run.count(points=len(points.cloud), **points.status_counts)
        run.note(reprojection_px=histogram(points.picture_error_px))
        run.write(output / "points.ply", lambda path: write_cloud(points.cloud, path, run.unit))
    if run.is_over("triangulate"):
        return None
    with run.stage("fuse"):
        cloud = fuse(points, views.cameras, views.images, options.fuse)
        run.count(cloud_points=len(cloud))
        run.write(output / "cloud.ply", lambda path: write_cloud(cloud, path, run.unit))
    if run.is_over("fuse"):
        return None
    masks = tuple(
        head_mask(mask, cube_map, given=look is not None)
        for look, mask, cube_map in zip(views.looks, views.masks, views.cube_maps, strict=True)
    )
    center, radius = head
    names = [view.name for view in capture.views]
    return cloud, Shots(names, views.cameras, views.images, masks, views.cube_maps, center, radius)


def _warn_of_lost_views(capture: Capture, agrees: list[bool], report: Report) -> None:
    lost = [view.name for view, agree in zip(capture.views, agrees, strict=True) if not agree]
    if lost:
        report.warnings.append(
            f"the head was not found in {len(lost)} views, which take its place from the others: "
            f"{_some(lost)}"
        )


def _warn_of_narrow_views(capture: Capture, report: Report) -> None:
    """Warn of lenses whose pinhole pictures show little of what was taken."""
    shares = {view.name: shown_share(view.camera) for view in capture.views}
    narrow = [name for name, share in shares.items() if share < _NARROW]
    if narrow:
        report.warnings.append(
            f"without distortion {len(narrow)} views show {min(shares.values()):.0%} and more of "
            f"their pictures, around the axis: {_some(narrow)}; where the head is cut off, "
            "undistort them yourself to a shorter focal length"
        )


def _warn_of_odd_views(maps: list[DepthMap | None], shots: Shots, run: Run) -> None:
    """Warn of views whose patches look like no other view's, unlike most views' patches."""
    costs = [
        float("nan") if found is None else float(np.median(found.cost[found.mask]))
        for found in maps
    ]
    run.note(cost=[None if np.isnan(cost) else round(cost, 4) for cost in costs])
    bound = max(_ODD_COST, 1.5 * float(np.nanmedian(costs)))
    odd = [name for name, cost in zip(shots.names, costs, strict=True) if cost > bound]
    if odd:
        run.report.warnings.append(
            f"{len(odd)} views look like no other view in most places: {_some(odd)}; "
            "check their poses, focus and exposure"
        )


def _check_masks(capture: Capture, views: EmbeddedViews, report: Report) -> None:
    """Warn of masks that look wrong, and of views whose mask leaves nothing of the head.

    Raises:
        CaptureError: if nearly all look wrong.
        ReconstructionError: if all but one leave nothing.
    """
    report.warnings += judge_masks(capture, views.looks)
    trios = list(zip(capture.views, views.cube_maps, views.looks, strict=True))
    empty = [view.name for view, found, look in trios if look and not found.mask.any()]
    if len(capture.views) - len(empty) < 2:
        raise ReconstructionError(
            f"the masks leave nothing of the head in {len(empty)} of {len(capture.views)} views: "
            f"{_some(empty)}",
            "0 is what they leave out; check them, or take the masks folder away",
        )
    # Empty masks are named already.
    empty = [v.name for v, m, look in trios if look and look.kept and not m.mask.any()]
    if empty:
        report.warnings.append(
            f"masks leave nothing of the head in {len(empty)} of {len(capture.views)} views: "
            f"{_some(empty)}"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _record(
    capture: Capture,
    embedder: Embedder | None,
    options: PipelineOptions,
    until: str,
    report: Report,
) -> dict[str, Any]:
    """What ``run.json`` holds."""
    return {
        "capture": str(capture.path),
        "unit": capture.unit,
        "embedder": "none" if embedder is None else embedder.name,
        "until": until,
        "options": dataclasses.asdict(options),
        "versions": library_versions(),
        "inputs": hash_inputs(capture),
        "seconds": {name: round(value, 3) for name, value in report.seconds.items()},
        "cpu_seconds": {name: round(value, 3) for name, value in report.cpu_seconds.items()},
        "stage_peak_mb": {name: round(value, 1) for name, value in report.stage_peak_mb.items()},
        "counts": report.counts,
        "notes": report.notes,
        "peak_memory_mb": round(report.peak_mb, 1),
        "warnings": report.warnings,
        "files": [path.name for path in report.files],
    }
