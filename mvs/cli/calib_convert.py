"""``mvs calib convert``: a capture's cameras in another program's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mvs.cli.source import FormatName


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a capture anew, with its cameras in another format.

    Attributes:
        capture: folder with images/ and a camera file, or the file.
        output: folder for the new capture.
        to: format of its camera file.
        format: of the given camera file, if it shall not be found out.
        images: folder of the pictures, if not images/ in the capture.
        masks: folder of the masks, if not masks/ in the capture.
        pictures: copy or link (symbolic links) pictures and masks, or none of them.
        undistort: write pictures and masks without distortion, for formats that know none.
        quiet: print nothing but errors.
    """

    capture: Annotated[Positional[Path], arg(metavar="CAPTURE")]
    output: Path
    to: FormatName
    format: FormatName | None = None
    images: Path | None = None
    masks: Path | None = None
    pictures: Literal["copy", "link", "none"] = "copy"
    undistort: bool = False
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command.

    Raises:
        ValueError: if the format cannot hold what the capture holds.
        CaptureError: if the capture cannot be read, or the output holds one or cannot be written.
    """
    from calib.formats import read_capture
    from calib.write import filling, undistort_capture, write_capture
    from mvs.cli.show import counter, deliver, progress_bars, warn

    capture = read_capture(options.capture, options.images, options.masks, options.format)
    found, pictures = capture, "copy" if options.undistort else options.pictures
    with progress_bars(options.quiet) as progress, filling(options.output, pictures):
        if options.undistort:
            step = counter(progress, "undistort", len(capture.views))
            found, pictures = undistort_capture(options.output, capture, step), "none"
        file = write_capture(options.output, found, options.to, pictures)
    cameras = {"file": file, "cameras": len(found.views)}
    deliver(cameras | {"from": capture.source, "from_format": capture.format})
    if not options.quiet:
        warn(capture.warnings)
        print(f"{file}: {len(found.views)} cameras, from {capture.source} ({capture.format})")
