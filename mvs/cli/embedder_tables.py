"""The tables of ``mvs evaluate embedder``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mvs.cli.show import table

if TYPE_CHECKING:
    from mvs.evaluation.embedder import EmbedderEvaluation, EmbedderEvaluationOptions, PairFigures
    from mvs.evaluation.identity import IdentityFigures, IdentityOptions
    from mvs.evaluation.landmarks import LandmarkFigures, PhotoFigures
    from mvs.evaluation.real import RealEvaluation, RealEvaluationOptions


def print_truth(
    result: EmbedderEvaluation, normals: Mapping[str, float], options: EmbedderEvaluationOptions
) -> None:
    """Print the figures against ground truth."""
    header = ("views apart by", "points", "found", "EPE median, px")
    rows = [_pair_row(pair) for pair in (*result.pairs, result.summary)]
    table("true points from view to view", (*header, *_pck_names(options.pck)), rows)
    others = [
        (f"{part}: cube coordinates median, mm", f"{value:.2f}")
        for part, value in result.cube_error_mm.items()
    ]
    others += [(f"{part}: normals median, deg", f"{value:.2f}") for part, value in normals.items()]
    others.append(("sparsification error (AUSE)", f"{result.sparsification:.3f}"))
    others.append(("mask IoU", f"{result.mask_iou:.3f}"))
    table("against the truth", ("", ""), others)


def print_real(result: RealEvaluation, options: RealEvaluationOptions) -> None:
    """Print the figures that need no ground truth."""
    within = [f"<= {bound:g} px" for bound in options.within_px]
    rows = []
    for lines in result.epipolar:
        of_pixels = _share(lines.matches / max(lines.pixels, 1))
        counts = (f"{lines.pairs:,}", f"{lines.matches:,}", of_pixels)
        for shares, counted_in in (
            (lines.within_crop, "crop"),
            (lines.within_picture, "picture"),
            (lines.chance_crop, "crop, by chance"),
        ):
            name = f"{_degrees(lines.angle_deg)}, {counted_in}"
            rows.append((name, *counts, *(_share(share) for share in shares)))
            counts = ("", "", "")
    quantile = f"{options.confidence_quantile:.0%}"
    title = f"confident mutual matches (from the {quantile} quantile) to the line, px of 512"
    table(title, ("views apart by", "pairs", "matches", "of pixels", *within), rows)
    rows = []
    for tracks in result.tracks:
        pck = [_share(share) for share in tracks.pck]
        for epe, shares, counted_in in (
            (tracks.epe_median_crop, tracks.within_crop, "crop"),
            (tracks.epe_median_picture, tracks.within_picture, "picture"),
        ):
            name = f"{_degrees(tracks.angle_deg)}, {counted_in}"
            shown = (f"{tracks.points:,}", f"{epe:.2f}", *(_share(share) for share in shares))
            rows.append((name, *shown, *pck))
            pck = [""] * len(pck)
    if rows:
        header = ("views apart by", "points", "EPE median, px", *within)
        table(
            "sparse points from view to view, px of 512", (*header, *_pck_names(options.pck)), rows
        )
    others = [
        ("head found", f"{result.views_with_head} of {result.views} views"),
        ("head's square, share of the picture", f"{result.head_share:.2f}"),
    ]
    table("the pictures", ("", ""), others)


def print_landmarks(figures: LandmarkFigures) -> None:
    """Print landmarks against true ones."""
    rows = [
        (
            f"{view.name}, {view.yaw_deg:.0f} deg",
            f"{view.n_visible}",
            _share(view.found),
            f"{100 * view.nme:.2f}",
            _share(view.seen_as_visible),
        )
        for view in figures.views
    ]
    rows.append(("mean up to 45 deg", "", "", f"{100 * figures.nme:.2f}", ""))
    header = ("view, yaw", "visible", "found", "NME, %", "visibility right")
    table("68 landmarks, error in parts of the eyes' distance", header, rows)


def print_photos(photos: Sequence[PhotoFigures]) -> None:
    """Print landmarks against labels."""
    rows = [
        (photo.name, _percent(photo.nme), _percent(photo.nme_inner), "yes" if photo.found else "no")
        for photo in photos
    ]
    known = [photo for photo in photos if photo.found]
    whole, inner = (
        sum(values) / len(values) if values else float("nan")
        for values in ([p.nme for p in known], [p.nme_inner for p in known])
    )
    rows.append(("mean of those found", _percent(whole), _percent(inner), f"{len(known)}"))
    header = ("photograph", "NME of 68, %", "NME of inner 51, %", "found")
    table("landmarks against labels, error in parts of the eyes' distance", header, rows)


def print_identity(parts: Sequence[IdentityFigures], options: IdentityOptions) -> None:
    """Print how points are followed from person to person."""
    rows = [
        (
            part.part,
            f"{part.n_pairs:,}",
            f"{part.n:,}",
            _share(part.found),
            f"{part.epe_median:.2f}",
            *(_share(share) for share in part.pck),
        )
        for part in parts
    ]
    header = ("part", "pairs", "points", "found", "EPE median, px")
    title = f"true points from person to person, views up to {options.max_angle_deg:g} deg apart"
    table(title, (*header, *_pck_names(options.pck)), rows)


def _pair_row(pair: PairFigures) -> tuple[str, ...]:
    return (
        f"{pair.part}, {_degrees(pair.angle_deg)}",
        f"{pair.n:,}",
        _share(pair.found),
        f"{pair.epe_median:.2f}",
        *(_share(share) for share in pair.pck),
    )


def _degrees(angle_deg: tuple[float, float]) -> str:
    return f"{angle_deg[0]:g} to {angle_deg[1]:g} deg"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _pck_names(bounds: Sequence[float]) -> list[str]:
    return [f"PCK@{bound:g}" for bound in bounds]
