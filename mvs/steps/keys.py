"""What each stage's result hangs on, as a hash: the name it is stored under."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from calib.camera import Camera
from calib.capture import Capture
from mvs.cache import code_digest, digest
from mvs.presets import PipelineOptions
from mvs.record import ViewHashes, library_versions
from mvs.run import Milestone
from mvs.stages.prior import Prior
from mvs.stages.refine import DepthMap
from mvs.stages.triangulate import Triangulation
from mvs.steps.refined import Coarse, Refined, wanted_depths
from mvs.types import CubeMap, Embedder, KnownEmbedder, Matches, Mesh, PointCloud, Square

# What entries hold.
KINDS = (
    *(Square, CubeMap, Matches, Triangulation, PointCloud, Mesh, Camera, DepthMap),
    *(Coarse, Refined, Milestone),
)


def identities(capture: Capture, embedder: Embedder | None) -> dict[str, str | None]:
    """What the embedder's answers hang on beside the picture, per view; None where it is not known.

    Empty without an embedder.

    Raises:
        CaptureError: if a precomputed map cannot be read.
    """
    if embedder is None:
        return {}
    if not isinstance(embedder, KnownEmbedder):
        return dict.fromkeys(view.name for view in capture.views)
    return {view.name: embedder.identity(view.name) for view in capture.views}


def picture_keys(
    capture: Capture, hashes: Mapping[str, ViewHashes], told: Mapping[str, str | None]
) -> dict[str, str]:
    """Per view, all that an embedder's answer hangs on: itself, the picture and the lens."""
    keys = {}
    for view in capture.views:
        lens = (view.camera.model, view.camera.width, view.camera.height, view.camera.params)
        keys[view.name] = digest(_code(), told[view.name], hashes[view.name].picture, lens)
    return keys


def stage_keys(
    capture: Capture,
    hashes: Mapping[str, ViewHashes],
    told: Mapping[str, str | None],
    options: PipelineOptions,
    prior: Prior | None = None,
) -> dict[str, str]:
    """The hashes of the stages' results, each made of what came before and the stage's options.

    Whatever else a stage looks at has to go in here. ``coarse`` is what refinement starts from,
    ``depths`` the depth maps.

    Args:
        capture: views with cameras.
        hashes: of ``hash_views``.
        told: of ``identities``; empty without an embedder.
        options: of the stages.
        prior: surface that refinement may start from.
    """
    views = [
        (view.name, hashes[view.name].whole, view.uses_alpha, view.point_ids, told.get(view.name))
        for view in capture.views
    ]
    # The unit is written into the results.
    inputs = (views, capture.points, capture.unit, options.embed.margin)
    key = digest(_code(), inputs)
    keys = {}
    if told:
        keys["match"] = key = digest(key, options.pairs, options.match)
    keys["triangulate"] = key = digest(key, options.triangulate)
    if told:
        keys["fuse"] = key = digest(key, options.fuse)
    if options.refine is not None:
        keys["coarse"] = digest(key, options.extend, prior)
        keys["depths"] = digest(keys["coarse"], wanted_depths(options, bool(told)))
        keys["refine"] = key = digest(keys["depths"], options.confirm)
    keys["mesh"] = digest(key, options.mesh)
    return keys


@functools.cache
def _code() -> str:
    return digest(code_digest(), library_versions())
