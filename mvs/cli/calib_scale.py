"""``mvs calib scale``: a capture in metres, centimetres or millimetres."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mvs.cli.source import SourceOptions

if TYPE_CHECKING:
    from calib.capture import Capture
    from calib.scale import Similarity


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Write a capture in a true unit to OUTPUT, from one thing that is known.

    Attributes:
        unit: of the new capture, and of --distance and --side; by default that of --marks or
            --reference, else m.
        marks: JSON file of places marked in the pictures, pairs of them with their distance.
        distance: between the two places of --between.
        between: two places of the capture's own world, x y z x y z.
        aruco: dictionary of markers in the pictures, such as 4X4_50 or APRILTAG_36H11.
        side: of the markers' black square.
        ipd: distance between the person's pupils in mm; approximate, by what the network sees.
        reference: another capture of the same pictures, or its camera file, with the true scale.
        align: turn and move the capture as well, to the world of --reference or of the points in
            --marks.
        pictures: copy, link, or leave out pictures and masks.
        max_error_px: how far a mark may be from where its place appears.
    """

    unit: Literal["m", "cm", "mm"] | None = None
    marks: Path | None = None
    distance: float | None = None
    between: tuple[float, float, float, float, float, float] | None = None
    aruco: str | None = None
    side: float | None = None
    ipd: float | None = None
    reference: Path | None = None
    align: bool = False
    pictures: Literal["copy", "link", "none"] = "copy"
    max_error_px: float = 3.0


class _Found(NamedTuple):
    """A similarity, the unit it leads to, lines to print, and what ``capture.json`` shall say."""

    similarity: Similarity
    unit: str
    lines: list[str]
    notes: dict[str, Any]


def run(options: Options) -> None:
    """Run the command."""
    from calib.scale import UNIT_MM, Similarity
    from calib.write import check_vacant, write_capture
    from mvs.cli.show import deliver, warn

    method = _method(options)
    check_vacant(options.output, options.pictures)
    capture = options.load_capture()
    found = _METHODS[method](options, capture)
    unit = options.unit or found.unit
    fit = found.similarity if options.align else Similarity.of_scale(found.similarity.scale)
    to_unit = Similarity.of_scale(UNIT_MM[found.unit] / UNIT_MM[unit]).compose(fit)
    notes = {"from": method, "scale": to_unit.scale} | found.notes
    scaled = to_unit.capture(capture, unit)
    write_capture(options.output, scaled, "colmap", options.pictures, notes)
    deliver(notes | {"unit": unit, "unit_before": capture.unit, "notes": found.lines})
    if not options.quiet:
        warn(capture.warnings)
        was = "" if capture.unit is None else f" (it said {capture.unit})"
        last = f"scale {to_unit.scale:.9g}, to {unit}{was}"
        sys.stdout.write("".join(f"{line}\n" for line in [*found.lines, last]))


def _method(options: Options) -> str:
    """The one that was asked for."""
    given = [name for name in _METHODS if getattr(options, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give one of {', '.join(f'--{name}' for name in _METHODS)}")
    for name, other in (("distance", "between"), ("aruco", "side")):
        if (getattr(options, name) is None) != (getattr(options, other) is None):
            raise ValueError(f"--{name} and --{other} need each other")
    if options.align and given[0] not in ("marks", "reference"):
        raise ValueError(f"--{given[0]} gives no axes to --align with")
    return given[0]


def _from_marks(options: Options, capture: Capture) -> _Found:
    from calib.marks import read_marks, scale_from_marks

    marks = read_marks(options.marks or Path())
    if options.align and not marks.points:
        raise ValueError("--align needs points with positions in --marks, not pairs")
    fit = scale_from_marks(capture, marks, options.max_error_px)
    off = [f"{r:+.3%}" if fit.is_relative else f"{r:.4g} {marks.unit}" for r in fit.residuals]
    lines = [f"{name}: off by {by}" for name, by in zip(fit.names, off, strict=True)]
    return _Found(fit.similarity, marks.unit, [*lines, *fit.warnings], {})


def _from_distance(options: Options, capture: Capture) -> _Found:  # noqa: ARG001
    from calib.marks import scale_from_distance

    fit = scale_from_distance(options.between or (), options.distance or 0.0)
    return _Found(fit, options.unit or "m", [], {})


def _from_markers(options: Options, capture: Capture) -> _Found:
    from calib.markers import scale_from_markers
    from mvs.cli.show import counter, progress_bars

    with progress_bars(options.quiet) as progress:
        step = counter(progress, "markers", len(capture.views))
        fit = scale_from_markers(capture, options.aruco or "", options.side or 0.0, step)
    lines = [
        f"marker {marker.number}: {marker.n_views} views, {marker.error_px:.2f} px, "
        f"off by {residual:+.3%}"
        for marker, residual in zip(fit.markers, fit.residuals, strict=True)
    ]
    return _Found(fit.similarity, options.unit or "m", [*lines, *fit.warnings], {})


def _from_pupils(options: Options, capture: Capture) -> _Found:
    from calib.scale import Similarity
    from mvs.canonical.eyes import find_pupils
    from mvs.cli.show import counter, progress_bars
    from mvs.stages.embed import EmbedOptions, embed_views

    if not (options.ipd or 0) > 0:
        raise ValueError(f"--ipd must be positive, got {options.ipd}")
    embedder = options.load_embedder()
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 2 * len(capture.views))
        views = embed_views(capture.views, embedder, EmbedOptions(threads=options.threads), step)
    pupils = find_pupils(views.cameras, views.cube_maps)
    line = (
        f"pupils: {pupils.n_views[0]} and {pupils.n_views[1]} views, {pupils.error_px:.1f} px; "
        "approximate, to some per cent"
    )
    fit = Similarity.of_scale((options.ipd or 0) / 1000 / pupils.distance)
    return _Found(fit, "m", [line], {"approximate": True, "ipd_mm": options.ipd})


def _from_reference(options: Options, capture: Capture) -> _Found:
    from calib.reference import similarity_to_reference

    fit, said = similarity_to_reference(capture, options.reference or Path())
    unit = said or options.unit
    if unit is None:
        raise ValueError(f"{options.reference}: does not say its unit; say it with --unit")
    off = float(sorted(fit.errors)[len(fit.errors) // 2])
    line = f"{int(fit.inliers.sum())} of {len(fit.errors)} common views agree, to {off:.3g} {unit}"
    return _Found(fit.similarity, unit, [line], {})


_METHODS = {
    "marks": _from_marks,
    "distance": _from_distance,
    "aruco": _from_markers,
    "ipd": _from_pupils,
    "reference": _from_reference,
}
