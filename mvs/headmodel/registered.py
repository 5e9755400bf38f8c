"""A fit wrapped onto the reconstruction that it was fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from calib.scale import Similarity
from mvs.canonical.fitted import make_fitted, register_fitted
from mvs.canonical.pose import HeadPose
from mvs.canonical.register import RegisterOptions, Registration
from mvs.canonical.scan import Scan
from mvs.canonical.wrapped import pose_document, write_registration
from mvs.headmodel.output import OutputOptions, fit_model, standard_parts
from mvs.headmodel.types import Fit
from mvs.stages.model import placement
from mvs.types import DoubleArray


def register_fit(
    fit: Fit,
    scan: Scan,
    options: RegisterOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> Registration:
    """Wrap the head of a fit's first frame onto a scan.

    Args:
        fit: of a capture.
        scan: in its frame and unit.
        options: see ``RegisterOptions``.
        progress: called ``options.iterations`` times.

    Raises:
        ValueError: if the scan is no head.
    """
    topology = fit.model.topology
    head = make_fitted(
        fit.vertices(0),
        topology.faces,
        topology.coords.astype(float),
        standard_parts(topology),
        (topology.uv, topology.face_uv),
    )
    return register_fitted(scan, head, options, progress)


def write_registered(
    fit: Fit,
    wrapped: Registration,
    report: dict[str, Any],
    output: Path,
    options: OutputOptions | None = None,
) -> None:
    """Write ``registered.ply``, ``registered.obj`` and ``registration.json``.

    Args:
        fit: that was wrapped.
        wrapped: from ``register_fit``.
        report: of ``registration_report``; its pose is written as the meshes are placed.
        output: folder that exists.
        options: axes and unit of the meshes.
    """
    options = options or OutputOptions()
    model = fit_model(fit, wrapped.vertices, wrapped.confidence)
    to = placement(model, options.up, options.unit)
    moved = _moved(wrapped, to)
    placed = {**report, "world_from_cube": pose_document(moved.pose)}
    write_registration(output, moved, placed)


def _moved(wrapped: Registration, to: Similarity) -> Registration:
    distance: DoubleArray = to.scale * wrapped.distance
    turn, size, middle = wrapped.pose.rotation, wrapped.pose.scale, wrapped.pose.translation
    pose = HeadPose(to.rotation @ turn, to.scale * size, to.points(middle[None])[0])
    return replace(wrapped, vertices=to.points(wrapped.vertices), distance=distance, pose=pose)
