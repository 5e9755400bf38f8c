"""``mvs evaluate reconstruction``: a result against a capture's ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mvs.evaluation.reconstruction import EvaluationOptions

if TYPE_CHECKING:
    from mvs.evaluation.reconstruction import Evaluation

_RESULTS = ("points.ply", "cloud.ply", "mesh.ply")


@dataclass(frozen=True)
class Options:
    """Measure accuracy and completeness; nothing is aligned.

    Attributes:
        capture: folder with gt/mesh.ply.
        result: folder of mvs reconstruct, or one PLY file in the capture's frame.
        thresholds: for precision, recall and F, millimetres.
        parts: of the truth that are asked for.
        unit: of the capture's world; what the capture says if not given, else m.
        json: file to write the figures to; without a name, they are printed.
        images: folder of the pictures, if not images/ in the capture.
        masks: folder of the masks, if not masks/ in the capture.
        quiet: print no table.
    """

    capture: Annotated[Positional[Path], arg(metavar="CAPTURE")]
    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    thresholds: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 5.0)
    parts: tuple[str, ...] = ("face", "head_neck")
    unit: Literal["m", "cm", "mm"] | None = None
    json: Path | None = None
    images: Path | None = None
    masks: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from calib.formats import read_capture
    from mvs.cli.show import deliver, plain_json, warn
    from mvs.evaluation.reconstruction import evaluate

    results = _results(options.result)
    capture = read_capture(options.capture, options.images, options.masks)
    unit = options.unit or capture.unit or "m"
    measured = EvaluationOptions(options.parts, options.thresholds, unit)
    evaluations = evaluate(capture, results, measured)
    figures = {name: asdict(e) for name, e in evaluations.items()}
    deliver(figures)
    if options.json is not None:
        write_json(options.json, plain_json(figures))
    if not options.quiet:
        warn(capture.warnings)
        _print(evaluations)


def _results(path: Path) -> list[Path]:
    from calib.capture import CaptureError

    if path.is_file():
        return [path]
    found = [path / name for name in _RESULTS if (path / name).is_file()]
    if not found:
        raise CaptureError(
            path, "no result here", "give a folder of mvs reconstruct, or a PLY file"
        )
    return found


def _print(evaluations: dict[str, Evaluation]) -> None:
    from mvs.cli.show import table

    names = list(evaluations)
    rows = []
    for what in ("accuracy", "completeness"):
        for figure in ("median", "mean", "p90"):
            values = [getattr(getattr(e, what), figure) for e in evaluations.values()]
            rows.append((f"{what} {figure}, mm", *(f"{v:.3f}" for v in values)))
    first = evaluations[names[0]]
    for index, score in enumerate(first.scores):
        for figure in ("precision", "recall", "f"):
            values = [getattr(e.scores[index], figure) for e in evaluations.values()]
            rows.append((f"{figure} at {score.threshold_mm:g} mm", *(f"{v:.3f}" for v in values)))
    for part in first.by_part:
        for index, what in enumerate(("accuracy", "completeness")):
            values = [e.by_part[part][index].median for e in evaluations.values()]
            rows.append((f"{part}: {what} median, mm", *(f"{v:.3f}" for v in values)))
    errors = [e.cube_error_mm for e in evaluations.values()]
    rows.append(("cube coordinates median, mm", *(f"{v:.2f}" for v in errors)))
    table("against the truth", ("", *names), rows)
