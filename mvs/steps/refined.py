"""From a coarse cloud to a refined one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvs.cache import digest
from mvs.errors import ReconstructionError
from mvs.presets import PipelineOptions
from mvs.run import Run
from mvs.stages.confirm import confirm
from mvs.stages.export import write_cloud, write_visibility
from mvs.stages.extend import extend
from mvs.stages.judge import judge_costs, median_costs
from mvs.stages.mesh import MeshOptions, mesh
from mvs.stages.refine import DepthMap, RefineOptions, refine
from mvs.stages.shots import Shots
from mvs.types import Mesh, PointCloud

# What refinement starts from: a mesh of the cube matches, or of sparse points, closed generously;
# from the latter depths are sought all over the object.
_COARSE_MESH = MeshOptions(depth=6, max_distance=6.0)
_SPARSE_MESH = MeshOptions(max_distance=20.0, max_hole=1.0, min_piece=0.0)
_SPARSE_REACH = 0.4


@dataclass(frozen=True)
class Coarse:
    """What refinement starts from."""

    cloud: PointCloud
    surface: Mesh


@dataclass(frozen=True)
class Refined:
    """What refinement gave; ``seen`` is None where the views agree on nothing.

    ``costs`` are the depth maps' median 1 - ZNCC, None where there is no map.
    """

    cloud: PointCloud
    seen: npt.NDArray[np.uint64] | None
    costs: list[float | None]
    warnings: list[str]


def refined_cloud(
    coarse: PointCloud,
    shots: Shots,
    options: PipelineOptions,
    run: Run,
    step: Callable[[], None],
) -> tuple[Refined, list[DepthMap | None]]:
    """The refined cloud, written, and the depth maps, unless the cloud was known."""
    refined, maps = run.standing("refine"), []
    if refined is None:
        # Of use later only where the mesh is made of them.
        lasts = options.mesh.mesher == "tsdf"

        def remember(view: int, compute: Callable[[], DepthMap | None]) -> DepthMap | None:
            key = digest(run.keys["depths"], view)
            return run.store.take("refine", key, compute, lasting=lasts)

        start = run.store.take(
            "refine", run.keys["coarse"], lambda: _start(coarse, shots, options), lasting=lasts
        )
        wanted = wanted_depths(options, has_cube_maps=bool(shots.cube_maps))
        maps = refine(start.surface, shots, wanted, step, remember)
        refined = run.take("refine", lambda: _confirmed(maps, start.cloud, shots, options))
    run.warn(refined.warnings)
    run.note(cost=refined.costs)
    seen, cloud = refined.seen, refined.cloud
    run.count(refined_points=0 if seen is None else len(cloud))
    if seen is not None:
        run.write("cloud.ply", lambda path: write_cloud(cloud, path, run.unit))
        run.write("cloud.ply.vis", lambda path: write_visibility(seen, path))
    elif shots.cube_maps:
        run.write("cloud.ply", lambda path: write_cloud(coarse, path, run.unit))
    run.reach("refine")
    return refined, maps


def _start(cloud: PointCloud, shots: Shots, options: PipelineOptions) -> Coarse:
    """What refinement starts from."""
    if shots.cube_maps:
        cloud = extend(cloud, shots, options.extend)
        cloud = cloud.rows(shots.holds(cloud.points))
    return Coarse(cloud, mesh(cloud, _COARSE_MESH if shots.cube_maps else _SPARSE_MESH, shots))


def _confirmed(
    maps: list[DepthMap | None], coarse: PointCloud, shots: Shots, options: PipelineOptions
) -> Refined:
    """The refined cloud; the coarse one, with a warning, where no views agree."""
    costs = median_costs(maps)
    try:
        cloud, seen = confirm(maps, shots.cameras, shots.images, coarse, options.confirm)
    except ReconstructionError as error:
        reason = f"not refined, millimetres are all there is: {error}"
        return Refined(coarse, None, costs, [reason])
    # A few stray points would stretch Poisson's octree, and its cells with it.
    near = shots.holds(cloud.points)
    return Refined(cloud.rows(near), seen[near], costs, judge_costs(costs, shots.names))


def wanted_depths(options: PipelineOptions, has_cube_maps: bool) -> RefineOptions:
    """How depths are sought: from sparse points, without cube maps, all over the object.

    Raises:
        ValueError: if the options name no refinement.
    """
    if options.refine is None:
        raise ValueError("options.refine is None: there is no refinement")
    if has_cube_maps:
        return options.refine
    return dataclasses.replace(options.refine, cube=0.0, reach=_SPARSE_REACH)
