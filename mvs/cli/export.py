"""``mvs export``: a run's result in another format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mvs.cli.source import FormatName, load_noted
from mvs.stages.model import Axis, Unit


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a result as .glb, .obj, .ply, .stl, .usd(a, c, z), or depths for other programs.

    Attributes:
        source: folder of a run (its textured mesh, else its mesh, else its cloud), or a .ply file.
        output: the file, whose ending says the format; with --colmap-dense or --depths a folder.
        up: axis that shall point up; y in .glb, y or z in .usd, else as it is.
        unit: m in .glb, else as it is.
        source_up: axis that points up, if not what the cube coordinates say.
        source_unit: unit of the source, if not what the capture says.
        picture: format of the texture; jpg in .glb, else png.
        max_faces: a mesh without texture is simplified to so many; 0 leaves it as it is.
        max_error: if not 0, it is simplified instead as far as all but a thousandth of its vertices
            stay this close to it, in parts of the diagonal of the box around it.
        colmap_dense: write a dense workspace that COLMAP and OpenMVS go on from.
        depths: write the mesh's depths and normals in every view, <image name>.npz.
        capture: of the run, if it is not where it was; for --colmap-dense and --depths.
        format: of its camera file, if it shall not be found out.
        quiet: print nothing but errors.
    """

    source: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    up: Literal["y", "z"] | None = None
    unit: Unit | None = None
    source_up: Axis | None = None
    source_unit: Unit | None = None
    picture: Literal["png", "jpg"] | None = None
    max_faces: int = 0
    max_error: float = 0.0
    colmap_dense: bool = False
    depths: bool = False
    capture: Path | None = None
    format: FormatName | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command.

    Raises:
        CaptureError: if the source cannot be read, or the output not be written.
        ValueError: if the format cannot hold what is asked for.
    """
    if options.colmap_dense or options.depths:
        files, warnings = _write_depths(options)
    else:
        files, warnings = _write_file(options)
    if not options.quiet:
        from mvs.cli.show import warn

        warn(warnings)
        print("\n".join(str(file) for file in files))


def _write_file(options: Options) -> tuple[list[Path], list[str]]:
    from mvs.stages.decimate import decimated_model
    from mvs.stages.export import exporter, suited, write_model
    from mvs.stages.textured import read_model

    # Before a large mesh is read.
    exporter(options.output)
    model = read_model(options.source)
    if options.max_faces or options.max_error:
        model = decimated_model(model, options.max_faces, options.max_error)
    model = replace(
        model,
        up=options.source_up or model.up,
        unit=options.source_unit or model.unit,
        picture=options.picture,
    )
    model, warnings = suited(model, options.output, options.up, options.unit)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    return write_model(model, options.output), warnings


def _write_depths(options: Options) -> tuple[list[Path], list[str]]:
    from mvs.cli.show import counter, progress_bars
    from mvs.record import prepare_output
    from mvs.stages.dense import write_depths, write_workspace
    from mvs.stages.export import read_cloud, read_mesh

    if options.colmap_dense and options.depths:
        raise ValueError("--colmap-dense or --depths, not both: each fills a folder")
    if options.max_faces or options.max_error:
        raise ValueError("--max-faces and --max-error are for files of meshes: leave them out")
    folder = options.source if options.source.is_dir() else options.source.parent
    path = folder / "mesh.ply" if options.source.is_dir() else options.source
    mesh = read_mesh(path)
    capture = load_noted(folder, options.capture, format=options.format)
    with progress_bars(options.quiet) as progress:
        if options.depths:
            prepare_output(options.output)
            step = counter(progress, "depths", len(capture.views))
            return write_depths(options.output, mesh, capture.views, step), []
        cloud_path = folder / "cloud.ply"
        cloud = read_cloud(cloud_path) if cloud_path.is_file() else mesh.vertices
        step = counter(progress, "workspace", 2 * len(capture.views))
        return write_workspace(options.output, capture, mesh, cloud, step), []
