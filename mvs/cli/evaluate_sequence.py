"""``mvs evaluate sequence``: registered frames against the truth of a rendered performance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Options:
    """Error a frame and flicker of the face, from the registered meshes.

    Attributes:
        result: output of mvs batch --register.
        truth: folder of the true meshes, 000000.ply and so on; gt/ of mvs synthesize performance.
        unit: of both.
        smooth: window in frames that vertices are smoothed over first, as mvs batch export does.
        json: file to write the figures to.
        quiet: print nothing but errors.
    """

    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    truth: Path
    unit: Literal["m", "cm", "mm"] = "m"
    smooth: int = 1
    json: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    import numpy as np

    from calib.files import write_json
    from calib.scale import UNIT_MM
    from mvs.batch.points import read_sequence, smooth
    from mvs.canonical.template import load_template
    from mvs.canonical.wrapped import template_parts
    from mvs.cli.show import plain_json, table, warn
    from mvs.evaluation.sequence import evaluate_sequence

    sequence, warnings = read_sequence(options.result)
    sequence = smooth(sequence, options.smooth)
    paths = [options.truth / f"{number:06d}.ply" for number in sequence.numbers]
    template = load_template()
    face = np.ones(len(sequence.coords), np.bool_)
    if np.array_equal(template.faces, sequence.faces):
        face = template_parts(template)["face"]
    coords, mm = sequence.coords.astype(np.float64), UNIT_MM[options.unit]
    found = evaluate_sequence(sequence.numbers, sequence.points, coords, face, paths, mm)
    if options.json is not None:
        write_json(options.json, plain_json(asdict(found)))
    if options.quiet:
        return
    warn(warnings)
    rows = [
        (name, *(f"{frame[what][key]:.3f}" for what in frame for key in ("median", "mean")))
        for name, frame in found.frames.items()
    ]
    table("face, mm", ("frame", "surface median", "mean", "place median", "mean"), rows)
    rows = [
        (name, *(f"{values[key]:.3f}" for key in ("mean", "median", "p90")))
        for name, values in (
            ("not the truth's", found.flicker),
            ("the result's", found.own),
            ("the truth's", found.true),
        )
    ]
    title = f"second difference in time, mm ({found.n_triples} triples of frames)"
    table(title, ("", "mean", "median", "p90"), rows)
    table("", ("jitter of a vertex", "mm"), [("root mean square", f"{found.jitter:.3f}")])
