"""From pictures to a coarse cloud: the stages before refinement."""

from __future__ import annotations

import numpy as np

from calib.capture import Capture
from calib.masks import judge_masks
from mvs.errors import ReconstructionError
from mvs.presets import PipelineOptions
from mvs.run import Run
from mvs.stages.embed import EmbeddedViews, Sphere, embed_views
from mvs.stages.export import write_cloud
from mvs.stages.fuse import fuse
from mvs.stages.judge import judge_confidences, judge_views
from mvs.stages.match import match_views
from mvs.stages.notes import histogram, mean_confidences
from mvs.stages.pairs import choose_pairs
from mvs.stages.prior import LEAST_SHARE, MOST_SHIFT, Prior, cloud_of, follow
from mvs.stages.shots import Shots, head_mask
from mvs.stages.sparse import sparse_cloud
from mvs.stages.triangulate import Triangulation, nothing_triangulated, triangulate
from mvs.types import Embedder, PointCloud


def from_points(capture: Capture, run: Run) -> tuple[PointCloud, Shots] | None:
    """A coarse cloud of sparse points, and the views; None where the run is over."""
    with run.stage("embed", len(capture.views)) as step:
        views = []
        for view in capture.views:
            views.append(view.load_pinhole())
            step()
        run.count(views=len(views))
        looks = [view.look for view in views]
        run.warn(judge_masks(capture, looks))
    for stage in ("embed", "pairs", "match"):
        if run.is_over(stage):
            return None
    cameras, images, masks = zip(*((v.camera, v.image, v.mask) for v in views), strict=True)
    with run.stage("triangulate"):
        cloud = run.take(
            "triangulate", lambda: sparse_cloud(cameras, images, masks, capture.points)
        )
        run.count(points=len(cloud))
        run.write("points.ply", lambda path: write_cloud(cloud, path, run.unit))
        run.reach("triangulate")
    if run.is_over("triangulate") or run.is_over("fuse"):
        return None
    names = [view.name for view in capture.views]
    center = np.median(cloud.points, axis=0)
    radius = 1.2 * float(np.quantile(np.linalg.norm(cloud.points - center, axis=1), 0.95))
    has_masks = any(look is not None for look in looks)
    return cloud, Shots(names, cameras, images, masks, (), center, radius, has_masks)


def from_cube_maps(
    capture: Capture, embedder: Embedder, options: PipelineOptions, run: Run
) -> tuple[PointCloud, Shots] | None:
    """A coarse cloud of cube matches, and the views; None where the run is over."""
    with run.stage("embed", 2 * len(capture.views)) as step:
        views = embed_views(capture.views, embedder, options.embed, step)
        _tell(capture, views, views.head, embedder, run)
    if run.is_over("embed"):
        return None
    refined = run.standing("refine")
    if refined is not None:
        return refined.cloud, _shots(capture, views)
    known = run.standing("fuse")
    points = None
    if known is None:
        points = _triangulated(capture, views, options, run)
        if points is None:
            return None
    with run.stage("fuse"):
        cloud = known
        if points is not None:
            cloud = run.take(
                "fuse", lambda: fuse(points, views.cameras, views.images, options.fuse)
            )
        run.count(cloud_points=len(cloud))
        # What an earlier run refined stays until there is better.
        if known is None or options.refine is None or run.is_over("fuse"):
            run.write("cloud.ply", lambda path: write_cloud(cloud, path, run.unit))
            run.reach("fuse")
    if run.is_over("fuse"):
        return None
    return cloud, _shots(capture, views)


def from_prior(
    capture: Capture, embedder: Embedder, prior: Prior, options: PipelineOptions, run: Run
) -> tuple[PointCloud, Shots] | None:
    """A coarse cloud of a surface known before, and the views; None where it is of no use."""
    with run.stage("embed", 2 * len(capture.views)) as step:
        agrees = np.ones(len(capture.views), np.bool_)
        moved = prior
        # Where the head has moved too far for the old crops, a second look at where it is now.
        for _ in range(2):
            head = Sphere(moved.center, moved.radius, agrees)
            views = embed_views(capture.views, embedder, options.embed, step, head)
            shots = _shots(capture, views)
            moved, share, shift = follow(moved, shots)
            if share < LEAST_SHARE or shift < MOST_SHIFT:
                break
        is_taken = share >= LEAST_SHARE and shift < MOST_SHIFT
        run.note(prior={"taken": is_taken, "share": round(share, 4), "shift": round(shift, 4)})
        if not is_taken:
            return None
        _tell(capture, views, Sphere(moved.center, moved.radius, agrees), embedder, run)
    refined = run.standing("refine")
    if refined is not None:
        return refined.cloud, shots
    with run.stage("fuse"):
        cloud = cloud_of(moved.surface, shots)
        run.count(cloud_points=len(cloud))
    return cloud, shots


def _tell(
    capture: Capture, views: EmbeddedViews, head: Sphere, embedder: Embedder, run: Run
) -> None:
    """Count and note what was embedded, and where the head is."""
    run.count(views=len(views.cameras), views_with_head=int(head.agrees.sum()))
    confidences = mean_confidences(views.cube_maps)
    run.note(agrees=head.agrees.tolist(), confidence=confidences)
    run.note(head={"center": head.center.tolist(), "radius": head.radius})
    run.warn(judge_views(capture, views) + judge_confidences(embedder.name, confidences))


def _triangulated(
    capture: Capture, views: EmbeddedViews, options: PipelineOptions, run: Run
) -> Triangulation | None:
    """The points of all views; None where the run is over."""
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
        matches = run.take(
            "match",
            lambda: match_views(views.cube_maps, views.cameras, pairs, options.match, step),
            lasting=False,
        )
        run.count(matches=sum(len(match.reference_index) for match in matches))
    if run.is_over("match"):
        return None
    with run.stage("triangulate"):
        head = (views.head.center, views.head.radius)
        how = options.triangulate
        points = run.take(
            "triangulate",
            lambda: triangulate(views.cube_maps, views.cameras, views.images, matches, how, head),
            lasting=False,
        )
        if not len(points.cloud):
            raise nothing_triangulated()
        run.count(points=len(points.cloud), **points.status_counts)
        run.note(reprojection_px=histogram(points.picture_error_px))
        run.write("points.ply", lambda path: write_cloud(points.cloud, path, run.unit))
        run.reach("triangulate")
    return None if run.is_over("triangulate") else points


def _shots(capture: Capture, views: EmbeddedViews) -> Shots:
    masks = tuple(
        head_mask(mask, cube_map, given=look is not None)
        for look, mask, cube_map in zip(views.looks, views.masks, views.cube_maps, strict=True)
    )
    names = [view.name for view in capture.views]
    head = views.head
    how = (masks, views.cube_maps, head.center, head.radius)
    return Shots(names, views.cameras, views.images, *how)
