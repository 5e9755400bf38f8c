"""Options of all stages together, and the qualities that name them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mvs.cache import CacheOptions
from mvs.stages.confirm import ConfirmOptions
from mvs.stages.embed import EmbedOptions
from mvs.stages.extend import ExtendOptions
from mvs.stages.fuse import FuseOptions
from mvs.stages.match import MatchOptions
from mvs.stages.mesh import MeshOptions
from mvs.stages.pairs import PairOptions
from mvs.stages.refine import RefineOptions
from mvs.stages.triangulate import TriangulateOptions


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
    cache: CacheOptions = field(default_factory=CacheOptions)


# How good and how slow: draft leaves out refinement; the others sharpen depths to tenths.
PRESETS = {
    "draft": PipelineOptions(),
    "fast": PipelineOptions(
        match=MatchOptions(coarser=2.5),
        # As wide on the head as with the others' lattice.
        fuse=FuseOptions(radius_voxels=(4.0, 8.0)),
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
