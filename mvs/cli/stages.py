"""The stages' options, which ``mvs reconstruct`` and ``mvs batch`` share."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

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


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """How a reconstruction is made.

    Attributes:
        quality: ``draft`` stops at what the cube maps give, millimetres; the others refine it
            photometrically to tenths: ``fast`` gives every second pixel of every second row a
            depth, ``balanced`` every pixel, ``best`` of larger heads.
            What is given of the options below goes before the preset's.
        pairs: which views are matched.
        match: how.
        triangulate: which points are kept.
        fuse: how they become one cloud.
        extend: where the cloud is carried on before it is refined.
        refine: how it is refined.
        confirm: which refined points are kept.
        mesh: how it becomes a mesh.
    """

    quality: Literal["draft", "fast", "balanced", "best"] = "balanced"
    pairs: PairOptions = field(default_factory=PairOptions)
    match: MatchOptions = field(default_factory=MatchOptions)
    triangulate: TriangulateOptions = field(default_factory=TriangulateOptions)
    fuse: FuseOptions = field(default_factory=FuseOptions)
    extend: ExtendOptions = field(default_factory=ExtendOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)
    confirm: ConfirmOptions = field(default_factory=ConfirmOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)

    def stages(self, threads: int) -> PipelineOptions:
        """The options of the stages; a preset's come in by ``preset_of``."""
        from mvs.pipeline import PRESETS

        preset = PRESETS[self.quality]
        stages = {name: getattr(self, name) for name in _stages(preset)}
        if preset.refine is None:
            stages["refine"] = None
        return replace(preset, embed=replace(preset.embed, threads=threads), **stages)


def preset_of(arguments: list[str]) -> dict[str, Any]:
    """What is not given: the stages' options of the preset that ``arguments`` name."""
    from mvs.pipeline import PRESETS

    quality: str = StageOptions.quality
    for word, value in pairwise([*arguments, ""]):
        name, _, joined = word.partition("=")
        if name == "--quality":
            quality = joined or value
    # What is no preset is named when the words are parsed.
    preset = PRESETS.get(quality, PRESETS[StageOptions.quality])
    stages = {name: getattr(preset, name) for name in _stages(preset)}
    if preset.refine is None:
        del stages["refine"]
    return stages


def _stages(preset: PipelineOptions) -> list[str]:
    """Stages whose options are given by their names."""
    return [f.name for f in fields(preset) if f.name not in ("embed", "cache")]
