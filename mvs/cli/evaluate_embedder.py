"""``mvs evaluate embedder``: an embedder's maps against a capture's ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvs.cli.source import EmbedderOptions

if TYPE_CHECKING:
    from mvs.evaluation.embedder import EmbedderEvaluation, EmbedderEvaluationOptions


@dataclass(frozen=True, kw_only=True)
class Options(EmbedderOptions):
    """Follow true surface points from view to view by an embedder's maps alone.

    Attributes:
        parts: of the head that points are taken from.
        json: file to write the figures to.
    """

    parts: tuple[str, ...] = ("face", "head_neck")
    json: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, plain_json, progress_bars, warn
    from mvs.evaluation.embedder import EmbedderEvaluationOptions, evaluate_embedder
    from mvs.pipeline import write_json

    measured = EmbedderEvaluationOptions(parts=options.parts)
    capture = options.load_capture()
    embedder = options.load_embedder()
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 2 * len(capture.views))
        result = evaluate_embedder(capture, embedder, measured, step)
    if options.json is not None:
        write_json(options.json, plain_json(asdict(result)))
    if not options.quiet:
        warn(capture.warnings)
        _print(result, measured)


def _print(result: EmbedderEvaluation, options: EmbedderEvaluationOptions) -> None:
    from mvs.cli.show import table

    rows = [
        (
            f"{pair.part}, {pair.angle_deg[0]:g} to {pair.angle_deg[1]:g} deg",
            f"{pair.n:,}",
            f"{pair.found:.3f}",
            f"{pair.epe_median:.2f}",
            *(f"{share:.3f}" for share in pair.pck),
        )
        for pair in result.pairs
    ]
    header = ("views apart by", "points", "found", "EPE median, px")
    table("from view to view", (*header, *(f"PCK@{bound:g}" for bound in options.pck)), rows)
    others = [
        (f"{part}: cube coordinates median, mm", f"{value:.2f}")
        for part, value in result.cube_error_mm.items()
    ]
    others.append(("sparsification error (AUSE)", f"{result.sparsification:.3f}"))
    others.append(("mask IoU", f"{result.mask_iou:.3f}"))
    table("", ("against the truth", ""), others)
