"""``mvs fit capture``: a head model fitted to all views of a capture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvs.cli.fit_source import ModelOptions
from mvs.cli.source import EmbedderOptions
from mvs.headmodel.options import FitOptions
from mvs.headmodel.surface_term import SurfaceOptions

if TYPE_CHECKING:
    from calib.capture import Capture
    from mvs.canonical.scan import Scan
    from mvs.headmodel.types import Fit
    from mvs.types import Embedder


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, EmbedderOptions):
    """Write OUTPUT/fit.json, meshes and overlays of a head fitted to a capture.

    Everything is in the frame and unit of the capture. Where that unit is known, the head's size is
    fitted as it is; else the scale is solved for besides.

    Attributes:
        reconstruction: mesh.ply of mvs reconstruct, to be fitted to as well.
        reconstruct: without one, the quality it is made with first, in OUTPUT/reconstruction; none
            fits to the cube maps alone, which is less exact.
        register: wrap the fit onto the reconstruction too: registered.ply, registered.obj (the
            model's faces and texture places, the reconstruction's shape) and registration.json.
        views: names of the views, with or without their ending; all if none are given.
        fit: weights.
        surface: how the reconstruction counts.
    """

    reconstruction: Path | None = None
    reconstruct: Literal["none", "draft", "fast", "balanced", "best"] = "fast"
    register: bool = False
    views: tuple[str, ...] = ()
    fit: FitOptions = field(default_factory=FitOptions)
    surface: SurfaceOptions = field(default_factory=SurfaceOptions)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.mesh_places import read_surface
    from mvs.cli.show import counter, progress_bars, warn
    from mvs.headmodel.fit_capture import fit_capture
    from mvs.headmodel.output import write_fit
    from mvs.record import prepare_output

    model = options.load_model()
    capture = choose_views(options.load_capture(), options.views)
    if options.unit is not None and capture.unit is None:
        raise ValueError(
            f"{capture.path}: its unit is not known, so --unit cannot change it; say it in "
            "capture.json, or find it by mvs calib scale"
        )
    if options.register and _has_no_mesh(options, capture):
        raise ValueError(
            "--register needs a reconstruction: give --reconstruction mesh.ply, or two views or "
            "more and --reconstruct fast"
        )
    given = options.reconstruction
    scan = None if given is None or not options.register else _read_scan(given, capture)
    mesh = None if given is None else read_surface(given)
    prepare_output(options.output)
    embedder = options.load_embedder()
    if mesh is None:
        path = _reconstruct(options, capture, embedder)
        mesh = None if path is None else read_surface(path)
        scan = None if path is None or not options.register else _read_scan(path, capture)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 2 * len(capture.views))
        fit = fit_capture(
            capture,
            embedder,
            model,
            options.fit,
            reconstruction=mesh,
            surface=options.surface,
            progress=step,
        )
    write_fit(
        fit,
        options.output,
        options.output_options(),
        lambda _frame, view: capture.views[view].load_pinhole().image,
    )
    if scan is not None:
        _register(options, fit, scan)
    if not options.quiet:
        warn(list(fit.warnings))


def choose_views(capture: Capture, names: tuple[str, ...]) -> Capture:
    """The capture with the views named alone.

    Raises:
        ValueError: if it has no such view.
    """
    if not names:
        return capture
    chosen = []
    for name in names:
        found = [v for v in capture.views if name in (v.name, Path(v.name).stem)]
        if not found:
            raise ValueError(f"{capture.path}: has no view {name}")
        chosen += [view for view in found if view not in chosen]
    return replace(capture, views=tuple(chosen))


def _has_no_mesh(options: Options, capture: Capture) -> bool:
    if options.reconstruction is not None:
        return False
    return options.reconstruct == "none" or len(capture.views) < 2


def _read_scan(path: Path, capture: Capture) -> Scan:
    from calib.scale import UNIT_MM
    from mvs.canonical.scan import read_scan

    scan = read_scan(path)
    scan.check_size(path, None if capture.unit is None else UNIT_MM[capture.unit])
    return scan


def _register(options: Options, fit: Fit, scan: Scan) -> None:
    from calib.scale import UNIT_MM
    from mvs.canonical.register import RegisterOptions
    from mvs.canonical.wrapped import registration_report
    from mvs.cli.show import counter, deliver, plain_json, progress_bars
    from mvs.headmodel.registered import register_fit, write_registered

    how = RegisterOptions()
    with progress_bars(options.quiet) as progress:
        wrapped = register_fit(fit, scan, how, counter(progress, "register", how.iterations))
    mm = None if fit.unit is None else UNIT_MM[fit.unit]
    report = registration_report(wrapped, scan, mm)
    write_registered(fit, wrapped, plain_json(report), options.output, options.output_options())
    deliver(report)


def _reconstruct(options: Options, capture: Capture, embedder: Embedder) -> Path | None:
    """The mesh of the capture, made; None where none is wanted, or one view is all there is."""
    from mvs.cli.show import progress_bars
    from mvs.pipeline import PRESETS, reconstruct

    if _has_no_mesh(options, capture):
        return None
    output = options.output / "reconstruction"
    with progress_bars(options.quiet) as progress:
        reconstruct(capture, embedder, output, PRESETS[options.reconstruct], progress=progress)
    return output / "mesh.ply"
