"""``mvs canonical decal``: texture put onto heads in pictures, or onto meshes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mvs.canonical.decal import PaintOptions
from mvs.cli.canonical_source import PictureOptions

if TYPE_CHECKING:
    from mvs.canonical.decal import AtlasTexture, Decal

_REMEDY = "the place is not seen, or the texture is clear"


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Put a picture onto heads at a place of the cube, or a texture over the whole atlas.

    Writes OUTPUT/<name>.png per picture, with the picture's light kept; of a mesh, decal.ply.

    Attributes:
        capture: a picture, a folder of pictures, a capture, or a PLY mesh with u v w.
        output: folder for the results.
        texture: picture to put at a place; opacity is respected.
        at: the place: a name (nose_tip, cheek_left, ...; a landmark of layout 68), or U V W.
        size: its width, in the cube; 0.1 is about 37 mm.
        rotate: degrees counter-clockwise, as seen from outside.
        atlas: texture over the template's atlas, instead.
        paint: how it is put on.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    texture: Path | None = None
    at: tuple[str, ...] = ("cheek_left",)
    size: float = 0.1
    rotate: float = 0.0
    atlas: Path | None = None
    paint: PaintOptions = field(default_factory=PaintOptions)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.decal import paint_as_taken, paint_vertices
    from mvs.canonical.draw import write_picture
    from mvs.canonical.meshes import is_mesh, read_cube_mesh
    from mvs.cli.show import list_files, progress_bars, warn
    from mvs.record import prepare_output

    texture = _texture(options)
    mesh = read_cube_mesh(options.capture) if is_mesh(options.capture) else None
    if mesh is not None:
        colors = paint_vertices(mesh.colors, mesh.coords, mesh.faces, texture, options.paint)
        if (colors == mesh.colors).all():
            raise ValueError(f"{options.capture}: nothing of the mesh is painted; {_REMEDY}")
        prepare_output(options.output)
        mesh.write(options.output / "decal.ply", colors)
        list_files(options.quiet)
        return
    prepare_output(options.output)
    plain = []
    with progress_bars(options.quiet) as progress:
        for picture in options.mapped_pictures(progress):
            painted = paint_as_taken(picture, texture, options.paint)
            write_picture(options.output / f"{picture.name}.png", painted)
            if (painted == picture.as_taken()[0]).all():
                plain.append(picture.name)
    if plain and not options.quiet:
        some = ", ".join(plain[:5]) + (" ..." if len(plain) > 5 else "")
        warn([f"{options.capture}: nothing is painted in {some}; {_REMEDY}"])
    list_files(options.quiet)


def _texture(options: Options) -> Decal | AtlasTexture:
    from mvs.canonical.decal import AtlasTexture, Decal, decal_place, read_texture

    if options.atlas is not None and options.texture is None:
        return AtlasTexture(read_texture(options.atlas))
    if options.texture is None or options.atlas is not None:
        raise ValueError("give --texture with a place (--at), or --atlas, and not both")
    place = decal_place(options.at)
    return Decal(read_texture(options.texture), place, options.size, options.rotate)
