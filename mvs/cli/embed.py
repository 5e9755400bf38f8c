"""``mvs embed``: cube maps of a capture's pictures, as ``--embedder precomputed`` reads them."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.cli.source import SourceOptions


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Write OUTPUT/<image name>.npz: coords, confidence and mask in the picture's own pixels."""


def run(options: Options) -> None:
    """Run the command."""
    from calib.lens import distortion_map
    from calib.masks import judge_masks
    from mvs.cli.show import counter, progress_bars, warn
    from mvs.network.crop import paste_cube_map
    from mvs.network.precomputed import write_cube_map
    from mvs.record import prepare_output
    from mvs.stages.embed import EmbedOptions, embed_views, warp_cube_map

    capture = options.load_capture()
    prepare_output(options.output)
    embedder = options.load_embedder()
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 3 * len(capture.views))
        stage = EmbedOptions(threads=options.threads)
        embedded = embed_views(capture.views, embedder, stage, step)
        masks = judge_masks(capture, embedded.looks)
        for view, cube_map in zip(capture.views, embedded.cube_maps, strict=True):
            whole = paste_cube_map(cube_map, view.camera.height, view.camera.width)
            if not view.camera.is_pinhole:
                whole = warp_cube_map(whole, distortion_map(view.camera))
            write_cube_map(options.output / f"{view.name}.npz", whole)
            step()
    if not options.quiet:
        warn([*capture.warnings, *masks])
