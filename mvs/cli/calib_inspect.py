"""``mvs calib inspect``: what a capture is and what will hurt."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mvs.cli.source import FormatName

if TYPE_CHECKING:
    from calib.inspection.report import Inspection


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a capture's cameras, poses, lenses and pictures; name what will hurt.

    Attributes:
        capture: folder with images/ and a camera file (a COLMAP model in sparse/0), or the file.
        format: of the camera file, if it shall not be found out.
        images: folder of the pictures, if not images/ in the capture.
        masks: folder of the masks (<image name>.png, 0 is ignored), if not masks/ in the capture.
        json: file to write everything to; without a name, everything is printed.
        picture: PNG to draw: cameras, coverage, thumbnails.
        threads: threads to use; the result does not depend on it.
        quiet: print nothing but errors.
    """

    capture: Annotated[Positional[Path], arg(metavar="CAPTURE")]
    format: FormatName | None = None
    images: Path | None = None
    masks: Path | None = None
    json: Path | None = None
    picture: Path | None = None
    threads: int = 2
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    import cv2

    from calib.files import write_json
    from calib.formats import read_capture
    from calib.inspection.compare import InspectOptions
    from calib.inspection.draw import check_picture_path, write_picture
    from calib.inspection.inspect import inspect_capture
    from mvs.cli.show import counter, deliver, plain_json, progress_bars

    if options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    if options.picture is not None:
        check_picture_path(options.picture)
    capture = read_capture(options.capture, options.images, options.masks, options.format)
    cv2.setNumThreads(1)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "inspect", len(capture.views))
        inspection = inspect_capture(capture, InspectOptions(threads=options.threads), step)
    deliver(inspection.as_dict())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.json, plain_json(inspection.as_dict()), indent=1)
    if options.picture is not None:
        cameras = [view.camera for view in capture.views]
        write_picture(options.picture, inspection, cameras)
    if not options.quiet:
        _show(inspection)


def _show(inspection: Inspection) -> None:
    from calib.inspection.tables import capture_lines, lens_lines, view_lines

    for lines in (capture_lines, lens_lines, view_lines):
        sys.stdout.write("\n".join(lines(inspection)) + "\n\n")
    for finding in inspection.findings:
        sys.stdout.write(f"{finding.severity}: {finding} [{finding.code}]\n")
