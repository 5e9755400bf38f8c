"""An inspection as lines and rows of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calib.inspection.geometry import BANDS_DEG, SECTOR_DEG
from calib.inspection.report import Inspection

_MOST_LENSES = 5


def capture_lines(inspection: Inspection) -> list[str]:
    """What the capture is, a line each."""
    around, unit = inspection.arrangement, inspection.unit or "units"
    near, far = around.distances.min(), around.distances.max()
    fine, coarse = around.pixels_per_unit.max(), around.pixels_per_unit.min()
    center = " ".join(f"{value:.4g}" for value in around.center)
    lines = [
        f"capture    {inspection.path}: {len(inspection.names)} views, {inspection.n_points}"
        f" points, format {inspection.format}, unit {inspection.unit or 'unknown'}",
        f"center     {center}, from {around.center_from}; {near:.4g} to {far:.4g} {unit} away;"
        f" {coarse:.4g} to {fine:.4g} pixels per {unit.rstrip('s')}",
        f"coverage   {_coverage(inspection)}",
    ]
    if inspection.pairs:
        lines.append(
            f"matches    {sum(pair.n_matches for pair in inspection.pairs)} in"
            f" {len(inspection.pairs)} pairs, {inspection.pair_error_px:.2f} px from their epipolar"
            f" lines (median), worst pair {max(p.error_px for p in inspection.pairs):.2f} px"
        )
    error = inspection.lens_error
    if error is not None:
        lines.append(f"lens       {_lens_words(inspection)}, from {error.n_points} points")
    return lines


def lens_lines(inspection: Inspection) -> list[str]:
    """A table of the different lenses; the last line says how many are left out."""
    rows = [("lens", "views", "size", "focal px", "field", "35 mm", "center px", "distortion")]
    rows += [
        (
            lens.model,
            str(len(lens.views)),
            f"{lens.size[0]}x{lens.size[1]}",
            f"{lens.focal_px[0]:.1f} {lens.focal_px[1]:.1f}",
            f"{lens.field_deg[0]:.1f}x{lens.field_deg[1]:.1f}",
            f"{lens.film_mm:.0f} mm",
            f"{lens.center_offset_px[0]:+.1f} {lens.center_offset_px[1]:+.1f}",
            f"{lens.distortion_px:.1f} px",
        )
        for lens in inspection.lenses[:_MOST_LENSES]
    ]
    n_left = len(inspection.lenses) - _MOST_LENSES
    return _aligned(rows) + ([f"and {n_left} more lenses"] if n_left > 0 else [])


def view_lines(inspection: Inspection) -> list[str]:
    """A table of the views."""
    around = inspection.arrangement
    rows = [
        (
            *("view", "distance", "azim", "elev", "next", "pairs", "epi px", "shift px", "reproj"),
            *("bright", "sharp", "stops", "mask"),
        )
    ]
    for k, name in enumerate(inspection.names):
        error, picture = inspection.view_errors[k], inspection.pictures[k]
        levels = inspection.relative_levels[k]
        share = picture.mask_share
        rows.append(
            (
                name,
                f"{around.distances[k]:.4g}",
                f"{around.azimuths_deg[k]:.0f}",
                f"{around.elevations_deg[k]:.0f}",
                f"{np.delete(around.angles_deg[k], k).min():.0f}",
                str(error.n_pairs),
                _number(error.error_px),
                " ".join(_number(value, "+.2f") for value in error.shift_px).replace("- -", "-"),
                _number(float(inspection.reprojection_px[k])),
                "-" if picture.levels is None else f"{picture.levels.brightness:.0f}",
                _number(float(np.exp(levels[3]))),
                _number(float(levels[:3].mean() / np.log(2)), "+.2f"),
                "-" if share is None else f"{100 * share:.0f} %",
            )
        )
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            word.rjust(width) if column else word.ljust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _number(value: float, form: str = ".2f") -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _coverage(inspection: Inspection) -> str:
    """Sectors of azimuth with a view in any band, and bands of elevation with a view."""
    coverage = inspection.arrangement.coverage
    per_sector, per_band = coverage.sum(axis=0), coverage.sum(axis=1)
    counts = [int((per_sector == 0).sum()), int((per_sector == 1).sum())]
    bands = [
        f"{low} to {high}"
        for low, high, n in zip(BANDS_DEG, BANDS_DEG[1:], per_band, strict=False)
        if n
    ]
    return (
        f"of {len(per_sector)} sectors of {SECTOR_DEG} degrees {counts[0]} without a view,"
        f" {counts[1]} with one, {len(per_sector) - sum(counts)} with more; elevations"
        f" {', '.join(bands)}"
    )


def _lens_words(inspection: Inspection) -> str:
    error = inspection.lens_error
    if error is None:
        return ""
    x, y = (-value for value in error.shift_px)
    words = {
        "shift": f"principal point {x:+.2f} +- {error.shift_error_px[0]:.2f},"
        f" {y:+.2f} +- {error.shift_error_px[1]:.2f} px",
        "scale": f"focal length {100 * error.scale_share:+.2f} %",
        "bend": f"distortion {-error.bend_px:+.2f} +- {error.bend_error_px:.2f} px at the edge",
    }
    if error.causes:
        return "common correction asked for: " + ", ".join(words[c] for c in error.causes)
    return f"no common correction is sure; {words['shift']}"
