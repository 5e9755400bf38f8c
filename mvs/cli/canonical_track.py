"""``mvs canonical track``: points followed through a video, hidden or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from mvs.cli.canonical_source import PictureOptions

if TYPE_CHECKING:
    from mvs.canonical.layouts import Layout
    from mvs.tracks.pictures import Picture
    from mvs.types import Embedder


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Write OUTPUT/track.csv, track.json and overlay.mp4: where the points are in every frame.

    Points are clicked in one frame (--point, --points), or a layout's places (--layout). What is
    hidden goes with the rest of the head, and is marked as not visible.

    Attributes:
        capture: video, or folder of numbered frames.
        output: folder for the results.
        frame: number of the frame that points are given in, from 0.
        point: x and y in that frame, the first pixel's centre at 0.5 0.5; may be given often.
        points: CSV file with name,x,y or JSON file {"points": [{"name": "m1", "pixel": [x, y]}]}.
        layout: follow a layout's places instead: 68, 5, named, 500 or a JSON file.
        smooth: width in frames of the window that positions are smoothed over; 0 for none.
        every: 1 for all frames, 2 for every second, ...
        fps: of the overlay.
        overlay: draw the points on the frames too.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    frame: int = 0
    point: UseAppendAction[tuple[tuple[float, float], ...]] = ()
    points: Path | None = None
    layout: str | None = None
    smooth: float = 1.0
    every: int = 1
    fps: float = 25.0
    overlay: bool = True


def run(options: Options) -> None:
    """Run the command."""
    import numpy as np

    from mvs.canonical.track import TrackOptions, track_places
    from mvs.canonical.track_output import embed_frames, write_overlay, write_tracks
    from mvs.cli.show import counter, list_files, progress_bars
    from mvs.errors import ReconstructionError
    from mvs.record import prepare_output
    from mvs.tracks.pictures import estimate_length, read_pictures

    if options.every < 1 or options.frame < 0 or not options.fps > 0:
        raise ValueError("--every must be at least 1, --frame 0 and --fps more than 0")
    how = TrackOptions(smooth=options.smooth)
    total = estimate_length(options.capture, options.every)
    prepare_output(options.output)
    embedder = options.load_embedder()
    layout = _layout(options, embedder)
    names: list[str] = []
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "track", total)

        def named() -> Iterator[Picture]:
            for picture in read_pictures(options.capture, options.every):
                names.append(picture.name)
                yield picture
                step()

        tracks = track_places(embed_frames(named(), embedder), layout, how)
    if not np.isfinite(tracks.pixels).any():
        raise ReconstructionError(
            f"{options.capture}: no frame shows a head", "give a video of one"
        )
    write_tracks(options.output, names, layout, tracks)
    if options.overlay:
        frames = read_pictures(options.capture, options.every)
        write_overlay(options.output, frames, tracks, options.fps)
    list_files(options.quiet)


def _layout(options: Options, embedder: Embedder) -> Layout:
    """What is followed."""
    from itertools import islice

    from mvs.canonical.layouts import load_layout
    from mvs.canonical.query import collect_marked, query_layout
    from mvs.canonical.track_output import embed_frames
    from mvs.tracks.pictures import read_pictures

    if options.layout is not None:
        if options.points is not None or options.point:
            raise ValueError("give --layout or points, not both")
        return load_layout(options.layout)
    marked = collect_marked(options.points, options.point)
    frames = read_pictures(options.capture, options.every)
    frame = next(islice(frames, options.frame, None), None)
    if frame is None:
        raise ValueError(f"{options.capture}: has no frame {options.frame}; count from 0")
    cube_map = next(embed_frames([frame], embedder))
    return query_layout(cube_map, marked, frame.name)
