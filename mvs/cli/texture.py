"""``mvs texture``: a mesh coloured with a capture's pictures."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from mvs.cli.source import EmbedderOptions, FormatName
from mvs.stages.texture import TextureOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write OUTPUT/textured.ply (with .npz and .png, the atlas) and OUTPUT/textured.glb.

    Attributes:
        capture: folder with images/ and a camera file, or the file.
        mesh: mesh.ply of a run on that capture, or the run's folder.
        output: folder for the results.
        format: of the camera file, if it shall not be found out.
        images: folder of the pictures, if not images/ in the capture.
        masks: folder of the masks, if not masks/ in the capture.
        threads: threads to use; the result does not depend on it.
        texture: how pictures colour the mesh.
        quiet: print nothing but errors.
    """

    capture: Annotated[Positional[Path], arg(metavar="CAPTURE")]
    mesh: Annotated[Positional[Path], arg(metavar="MESH")]
    output: Path
    format: FormatName | None = None
    images: Path | None = None
    masks: Path | None = None
    threads: int = EmbedderOptions.threads
    texture: OmitArgPrefixes[TextureOptions] = field(default_factory=TextureOptions)
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command.

    Raises:
        CaptureError: if the capture or the mesh cannot be read, or the output not be written, as
            when a run is at work there.
        ValueError: if an option is out of range or no view sees the mesh.
        ReconstructionError: if the mesh cannot be laid flat.
    """
    from calib.formats import read_capture
    from mvs.cli.show import counter, progress_bars, warn
    from mvs.cli.source import set_threads
    from mvs.folder import claimed
    from mvs.record import prepare_output
    from mvs.stages.textured import texture_capture

    set_threads(options.threads)
    capture = read_capture(options.capture, options.images, options.masks, options.format)
    prepare_output(options.output)
    how = options.texture
    is_run = (options.output / "run.json").is_file()
    claim = claimed(options.output) if is_run else contextlib.nullcontext()
    with claim, progress_bars(options.quiet) as progress:
        step = counter(progress, "texture", len(capture.views) + 1)
        done = texture_capture(capture, options.mesh, options.output, how, step)
    if not options.quiet:
        warn([*capture.warnings, *done.warnings])
        print("\n".join(str(file) for file in done.files))
