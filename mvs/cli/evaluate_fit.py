"""``mvs evaluate fit``: fits of a head model against true heads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from mvs.evaluation.fits import Figures, FitEvaluation

Alignment = Literal["landmarks", "landmarks_scale", "icp", "icp_scale", "none"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure scan to mesh, over the face and by region; see mvs.evaluation.fits.

    Attributes:
        fit: folder of mvs fit, its posed PLY, or a folder with one such folder per item of a set.
        truth: capture with gt/mesh.ply (and gt/neutral.ply), such a PLY, or a folder of mvs
            synthesize fits.
        align: the alignment that is printed first; none for a fit in the truth's own world.
        recall_mm: samples nearer than this are recalled.
        samples: on the truth's skin.
        unit: of the fit, if not what its file says.
        truth_unit: of the truth.
        json: file to write all figures to.
        quiet: print no tables.
    """

    fit: Annotated[Positional[Path], arg(metavar="FIT")]
    truth: Path
    align: Alignment = "landmarks"
    recall_mm: float = 2.5
    samples: int = 20_000
    unit: Literal["m", "cm", "mm"] | None = None
    truth_unit: Literal["m", "cm", "mm"] = "m"
    json: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from mvs.cli.show import counter, plain_json, progress_bars, warn
    from mvs.evaluation.fits import (
        ALIGNMENTS,
        FitEvaluationOptions,
        evaluate_fit,
        evaluate_fits,
        mean_evaluation,
    )

    rest = [name for name in ALIGNMENTS[:4] if name != options.align]
    what = FitEvaluationOptions(
        (options.align, *rest),
        options.recall_mm,
        options.truth_unit,
        options.unit,
        options.samples,
    )
    missing: list[str] = []
    if _is_set(options.truth):
        n = len(list(options.truth.glob("*/gt/mesh.ply")))
        with progress_bars(options.quiet) as progress:
            step = counter(progress, "evaluate", n)
            found, missing = evaluate_fits(options.fit, options.truth, what, step)
    else:
        found = {options.fit.name: evaluate_fit(options.fit, options.truth, what)}
    means = mean_evaluation(list(found.values()))
    if options.json is not None:
        items = {name: _plain(item) for name, item in found.items()}
        document = {"mean": _plain(means), "missing": missing, "items": items}
        write_json(options.json, plain_json(document))
    if missing:
        warn([f"no fit, and not counted, of {len(missing)} items: {', '.join(missing)}"])
    if not options.quiet:
        _print(found, means, options)


def _is_set(truth: Path) -> bool:
    return truth.is_dir() and not (truth / "gt").is_dir()


def _plain(evaluation: FitEvaluation) -> dict[str, Any]:
    return {
        geometry: {name: asdict(one) for name, one in by_alignment.items()}
        for geometry, by_alignment in evaluation.items()
    }


def _print(found: dict[str, FitEvaluation], means: FitEvaluation, options: Options) -> None:
    from mvs.cli.show import table

    header = ("", "L1", "L2", "median", "normals", f"recall {options.recall_mm:g}")
    for geometry, by_alignment in means.items():
        rows = []
        if len(found) > 1:
            rows = [
                (name, *_cells(item[geometry][options.align].face))
                for name, item in found.items()
                if geometry in item
            ]
        rows += [(f"mean, {name}", *_cells(one.face)) for name, one in by_alignment.items()]
        table(f"{geometry}: the true face to the fit, mm", header, rows)
        regions = by_alignment[options.align].regions
        rows = [(name, *_cells(one)) for name, one in regions.items() if one.n]
        table(f"{geometry} by region, {options.align}, mm", header, rows)


def _cells(one: Figures) -> tuple[str, ...]:
    lengths = (f"{value:.2f}" for value in (one.l1, one.l2, one.median))
    return (*lengths, f"{one.normal_cosine:.3f}", f"{one.recall:.3f}")
