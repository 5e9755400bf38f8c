"""``mvs canonical register``: the template wrapped onto a reconstruction."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from mvs.canonical.register import RegisterOptions


@dataclass(frozen=True, kw_only=True)
class Options(RegisterOptions):
    """Write OUTPUT/registered.ply, registered.obj (texture places) and registration.json.

    Attributes:
        scan: PLY of mvs reconstruct: a mesh, or a cloud with normals, with u v w.
        output: folder of the results.
        template: PLY with u v w per vertex, or OBJ, in place of the shipped head.
        template_coords: .npy (V, 3) with the cube coordinates of an OBJ's vertices.
        fit: posed.ply of mvs fit capture, in the scan's frame and unit, to start from.
        unit: of the scan; without it a head counts as large as the neutral one in the report.
        truth: mesh.ply of a ground truth with u v w, to measure against; needs a unit.
        quiet: print nothing but errors.
    """

    scan: Annotated[Positional[Path], arg(metavar="SCAN")]
    output: Path
    template: Path | None = None
    template_coords: Path | None = None
    fit: Path | None = None
    unit: Literal["m", "cm", "mm"] | None = None
    truth: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from calib.scale import UNIT_MM
    from mvs.canonical.fitted import read_fitted, register_fitted
    from mvs.canonical.register import register
    from mvs.canonical.scan import read_scan
    from mvs.canonical.template import load_template, read_template
    from mvs.canonical.wrapped import registration_report, write_registration
    from mvs.cli.show import counter, plain_json, progress_bars
    from mvs.evaluation.registration import registration_figures
    from mvs.record import prepare_output

    if options.template_coords is not None and options.template is None:
        raise ValueError("--template-coords belong to a --template")
    if options.truth is not None and options.unit is None:
        raise ValueError("--truth needs the --unit of the scan")
    if options.fit is not None and options.template is not None:
        raise ValueError("--fit is a template itself: leave out --template")
    head = None if options.fit is None else read_fitted(options.fit)
    template = load_template()
    if options.template is not None:
        template = read_template(options.template, options.template_coords)
    scan = read_scan(options.scan)
    mm = UNIT_MM[options.unit] if options.unit is not None else None
    scan.check_size(options.scan, mm)
    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "register", options.iterations)
        if head is not None:
            wrapped = register_fitted(scan, head, options, step)
        else:
            wrapped = register(scan, template, options, step)
    report = registration_report(wrapped, scan, mm)
    if options.truth is not None and mm is not None:
        report["truth"] = registration_figures(wrapped, options.truth, mm)
    write_registration(options.output, wrapped, plain_json(report))
    if not options.quiet:
        _print(report)


def _print(report: Any) -> None:
    from mvs.cli.show import table

    rows = []
    for name, part in report["parts"].items():
        figures = [part["distance_mm"][key] for key in ("mean", "median", "p90")]
        rows.append((name, f"{part['seen']:.3f}", *(f"{v:.3f}" for v in figures)))
    table("to the scan, mm", ("", "seen", "mean", "median", "p90"), rows)
    for what, parts in report.get("truth", {}).items():
        rows = [(n, *(f"{p[k]:.3f}" for k in ("mean", "median", "p90"))) for n, p in parts.items()]
        table(f"truth: {what}, mm", ("", "mean", "median", "p90"), rows)
    sys.stdout.write(f"folded faces {report['folded_faces']}\n")
