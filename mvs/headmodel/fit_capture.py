"""A head model fitted to the views of a calibrated capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from calib.camera import Camera
from calib.capture import Capture
from calib.scale import UNIT_MM, Similarity
from mvs.canonical.landmarks3d import Landmarks3dOptions, find_landmarks_3d
from mvs.canonical.layouts import load_layout
from mvs.canonical.mesh_places import SurfaceMesh
from mvs.canonical.pictures import MappedPicture, map_capture
from mvs.errors import ReconstructionError
from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.observe import Observation, Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.stages import solve_stages, vertex_confidence
from mvs.headmodel.start import best_view, place_by_views, place_in_view
from mvs.headmodel.surface_term import Reconstruction, SurfaceOptions
from mvs.headmodel.types import Fit, HeadModel
from mvs.types import CubeMap, Embedder

# Layout whose places are triangulated to place the head.
_LAYOUT = "500"
# Part of a head's skin that its own reconstruction has at least.
_FEW_NEAR = 0.05


def fit_capture(
    capture: Capture,
    embedder: Embedder,
    model: HeadModel,
    options: FitOptions | None = None,
    *,
    reconstruction: SurfaceMesh | None = None,
    surface: SurfaceOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> Fit:
    """Fit a head to all views of a capture together.

    Args:
        capture: its views; where its unit is known the head's size is in that unit.
        embedder: finds the head and embeds it.
        model: what is fitted.
        options: see ``FitOptions``.
        reconstruction: mesh of the capture with cube coordinates, see ``read_surface``.
        surface: how it counts.
        progress: called twice per view, as by ``map_capture``.

    Raises:
        CaptureError: if a picture cannot be read.
        ReconstructionError: if of several views fewer than two agree on a head, or one does not
            tell how large it is.
    """
    warnings: list[str] = []
    pictures = map_capture(capture, embedder, 1, progress, warnings)
    scan = None if reconstruction is None else Reconstruction(reconstruction, model, surface)
    fit = fit_views(*_views(pictures), model, options, unit=capture.unit, scan=scan)
    return replace(
        fit, names=(tuple(p.name for p in pictures),), warnings=(*warnings, *fit.warnings)
    )


def _views(pictures: Sequence[MappedPicture]) -> tuple[list[CubeMap], list[Camera]]:
    return [p.cube_map for p in pictures], [p.camera for p in pictures if p.camera is not None]


def fit_views(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    model: HeadModel,
    options: FitOptions | None = None,
    *,
    unit: str | None = None,
    scan: Reconstruction | None = None,
) -> Fit:
    """Fit a head to cube maps of known cameras.

    Args:
        cube_maps: one per view.
        cameras: one pinhole camera per view.
        model: what is fitted.
        options: see ``FitOptions``.
        unit: of the world, ``m``, ``cm`` or ``mm``; None where the scale is to be found.
        scan: a reconstruction in the same world.

    Raises:
        ReconstructionError: if the views show too little of a head.
    """
    options = options or FitOptions()
    if len(cube_maps) != len(cameras) or not cameras:
        raise ValueError(f"got {len(cube_maps)} cube maps and {len(cameras)} cameras")
    observer = Observer(model, options.observe)
    views = [observer.observe(m, c) for m, c in zip(cube_maps, cameras, strict=True)]
    if options.landmarks > 0:
        views += [
            observer.observe_landmarks(m, c, options.landmarks)
            for m, c in zip(cube_maps, cameras, strict=True)
        ]
    views = [shared(view, len(cameras), options.views_alike) for view in views if len(view)]
    if not views:
        raise ReconstructionError("no view shows a head", "give views of one")
    scale = None if unit is None else model.unit_m * 1000.0 / UNIT_MM[unit]
    state = start_state(model, _place(cube_maps, cameras, views, model, scale))
    energy = Energy(
        model, views, options, knows_scale=scale is not None, knows_focal=True, scan=scan
    )
    state = solve_stages(energy, state, options)
    names = tuple(f"{index}" for index in range(len(cameras)))
    n_near = 0 if energy.pairs is None else len(energy.pairs.targets)
    is_far = scan is not None and n_near < _FEW_NEAR * len(scan)
    warnings = ("the reconstruction is hardly near the head: is it of this capture?",)
    return Fit(
        model,
        state.shape.identity,
        state.shape.expression[None],
        state.shape.joints[None],
        (state.world_from_model,),
        (tuple(cameras),),
        (names,),
        vertex_confidence(energy, state, model)[None],
        warnings if is_far else (),
        unit,
    )


def shared(view: Observation, n_views: int, alike: float) -> Observation:
    """A view among others: what a network is wrong by is partly the same in all of them."""
    weight = view.weight / (1 + alike * (n_views - 1))
    return replace(view, weight=weight)


def _place(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    views: Sequence[Observation],
    model: HeadModel,
    scale: float | None,
) -> Similarity:
    """Where the mean head begins: triangulated, or by the best view where that fails."""
    layout = load_layout(_LAYOUT)
    try:
        found = find_landmarks_3d(cube_maps, cameras, layout, Landmarks3dOptions(support=500))
        points = np.where((found.n_views > 0)[:, None], found.points, np.nan)
        return place_by_views(model, layout.positions.astype(np.float64), points, scale)
    except (ReconstructionError, ValueError):
        if scale is None:
            raise ReconstructionError(
                "one view does not tell how large a head is",
                "give views that overlap, or the unit of the capture",
            ) from None
        return place_in_view(best_view(views), scale)
