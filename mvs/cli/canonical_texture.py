"""``mvs canonical texture``: the colours of a head over the template's atlas."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from mvs.canonical.texture import GatherOptions
from mvs.cli.canonical_source import PictureOptions

if TYPE_CHECKING:
    from mvs.canonical.texture import Texture


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Unwrap a head's colours: the same texel is the same place of every head.

    Writes OUTPUT/texture.png, clear where nothing was seen, and coverage.png.

    Attributes:
        capture: a capture, pictures of one person, or a PLY mesh with u v w.
        output: folder for the results.
        mesh: mesh of the capture (mesh.ply of mvs reconstruct), which makes it sharper; no network
            runs then.
        texture: how colours are averaged.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    mesh: Path | None = None
    texture: OmitArgPrefixes[GatherOptions] = field(default_factory=GatherOptions)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.meshes import is_mesh
    from mvs.canonical.texture import texture_of_mesh, write_texture
    from mvs.cli.show import list_files
    from mvs.record import prepare_output

    gathered = options.texture
    if is_mesh(options.capture):
        if options.mesh is not None:
            raise ValueError("--mesh is the mesh of a capture; give the capture, not a mesh")
        texture = texture_of_mesh(options.capture, gathered)
    elif options.mesh is not None:
        texture = _of_views(options, options.mesh, gathered)
    else:
        texture = _of_maps(options, gathered)
    prepare_output(options.output)
    write_texture(options.output, texture)
    list_files(options.quiet)


def _of_views(options: Options, mesh: Path, gathered: GatherOptions) -> Texture:
    from mvs.canonical.texture import texture_of_views
    from mvs.cli.show import counter, progress_bars

    capture = options.load_capture()
    options.use_threads()
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "views", len(capture.views))
        return texture_of_views(capture, mesh, gathered, step)


def _of_maps(options: Options, gathered: GatherOptions) -> Texture:
    from mvs.canonical.texture import texture_of_pictures
    from mvs.cli.show import progress_bars

    with progress_bars(options.quiet) as progress:
        pictures = options.mapped_pictures(progress)
        return texture_of_pictures(((p.image, p.cube_map) for p in pictures), gathered)
