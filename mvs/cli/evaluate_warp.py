"""``mvs evaluate warp``: dense warps and regions against a capture's ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvs.cli.source import EmbedderOptions

if TYPE_CHECKING:
    from mvs.evaluation.warp import LandmarkQuery, RegionFigures, WarpFigures


@dataclass(frozen=True, kw_only=True)
class Options(EmbedderOptions):
    """Measure warps between views, and regions, by what the true surface says.

    Attributes:
        other: capture with ground truth of another person, on which the first one's landmarks are
            looked up.
        angles: between the views of a pair, degrees.
        json: file to write the figures to; without a name, they are printed.
    """

    other: Path | None = None
    angles: tuple[float, ...] = (15.0, 30.0)
    json: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from calib.formats import read_capture
    from mvs.cli.show import counter, deliver, plain_json, progress_bars
    from mvs.evaluation.follow import embed_unmasked
    from mvs.evaluation.truth import Truth
    from mvs.evaluation.warp import (
        WarpEvaluationOptions,
        landmark_queries,
        region_figures,
        warp_figures,
    )

    measured = WarpEvaluationOptions(angles_deg=options.angles)
    truths = [Truth(options.load_capture())]
    if options.other is not None:
        truths.append(Truth(read_capture(options.other)))
    embedder = options.load_embedder()
    embedded = []
    with progress_bars(options.quiet) as progress:
        for truth in truths:
            step = counter(
                progress, f"embed {truth.capture.path.name}", 2 * len(truth.capture.views)
            )
            embedded.append(embed_unmasked(truth.capture, embedder, step))
    warps = warp_figures(truths[0], embedded[0], measured)
    regions = region_figures(truths[0], embedded[0], measured.n_points)
    figures: dict[str, Any] = {
        "warps": [asdict(row) for row in warps],
        "regions": [asdict(row) for row in regions],
    }
    queries = None
    if options.other is not None:
        queries = landmark_queries((truths[0], embedded[0]), (truths[1], embedded[1]))
        figures["landmarks_of_the_other"] = asdict(queries)
    deliver(figures)
    if options.json is not None:
        write_json(options.json, plain_json(figures))
    if not options.quiet:
        _print(warps, regions, queries)


def _print(
    warps: tuple[WarpFigures, ...],
    regions: tuple[RegionFigures, ...],
    queries: LandmarkQuery | None,
) -> None:
    from mvs.cli.show import table

    header = ("part", "angle", "pairs", "points", "found", "median px", "p90 px", "median mm")
    rows = []
    for w in warps:
        errors = (f"{w.median_px:.2f}", f"{w.p90_px:.2f}", f"{w.median_mm:.2f}")
        counts = (f"{w.angle_deg:g}", str(w.n_pairs), str(w.n), f"{w.found:.1%}")
        rows.append((w.part, *counts, *errors))
    table("warps from view to view, pixels of a picture 512 wide", header, rows)
    shares = [(r.region, str(r.n), f"{r.iou:.3f}") for r in regions]
    table("regions against those of the true places", ("region", "points", "IoU"), shares)
    if queries is not None:
        lines = [("landmarks, views", f"{queries.n}"), ("found", f"{queries.found:.1%}")]
        lines += [("median px", f"{queries.median_px:.2f}"), ("p90 px", f"{queries.p90_px:.2f}")]
        table("the first person's landmarks, found on the other by query", ("", ""), lines)
