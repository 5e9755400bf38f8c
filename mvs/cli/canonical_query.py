"""``mvs canonical query``: points clicked in one picture, found in all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from mvs.cli.canonical_source import PictureOptions


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Write OUTPUT/query.json and .csv: where the points are in every picture, hidden or not.

    query.json is also a layout: mvs canonical landmarks ... --layout query.json finds the same
    points on other people, in other captures and on meshes.

    Attributes:
        capture: folder of pictures, or capture.
        output: folder for the results.
        image: name of the picture that the points are given in.
        point: x and y in that picture, the first pixel's centre at 0.5 0.5; may be given often.
        points: CSV file with name,x,y or JSON file {"points": [{"name": "m1", "pixel": [x, y]}]}.
        formats: files to write: json, csv, pts (one file per picture).
        overlay: draw the points on the pictures too.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    image: str
    point: UseAppendAction[tuple[tuple[float, float], ...]] = ()
    points: Path | None = None
    formats: tuple[Literal["json", "csv", "pts"], ...] = ("json", "csv")
    overlay: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.mark_output import MarkFiles, mark_pictures, taken_to_pinhole, write_marks
    from mvs.canonical.query import collect_marked, query_layout
    from mvs.cli.show import list_files, progress_bars
    from mvs.record import prepare_output

    marked = collect_marked(options.points, options.point)
    names = options.picture_names()
    if options.image not in names:
        known = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise ValueError(f"{options.capture}: no picture {options.image!r}; there are {known}")
    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        pictures = tuple(options.mapped_pictures(progress))
    clicked = next(p for p in pictures if p.name == options.image)
    marked = marked._replace(pixels=taken_to_pinhole(clicked, marked.pixels))
    layout = query_layout(clicked.cube_map, marked, options.image)
    files = MarkFiles(options.output, options.formats, options.overlay, "query")
    write_marks(files, layout, pictures, mark_pictures(pictures, layout), options.unit())
    list_files(options.quiet)
