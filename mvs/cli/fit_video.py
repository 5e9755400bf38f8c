"""``mvs fit video``: a head model fitted to every frame of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mvs.cli.fit_source import PictureOptions
from mvs.headmodel.fit_video import VideoOptions

if TYPE_CHECKING:
    from mvs.types import ByteArray

# Frames a second of numbered pictures.
_USUAL_RATE = 25.0


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Write OUTPUT/fit.json, meshes, expressions.csv and overlays of a head fitted to a video.

    One identity for all frames, an expression and a pose for each. The frame is the camera's, in
    metres, as of ``mvs fit image``.

    Attributes:
        video: video, or folder of numbered frames.
        every: 1 for all frames, 2 for every second, ...
        fps: frames a second of the overlay, the animation and the curves; without, those of the
            video, 25 of a folder, divided by ``every``.
        meshes: write the posed mesh of every frame.
        fit: weights.
    """

    video: Annotated[Positional[Path], arg(metavar="VIDEO")]
    every: int = 1
    fps: float | None = None
    meshes: bool = False
    fit: VideoOptions = field(default_factory=VideoOptions)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, progress_bars, warn
    from mvs.headmodel.fit_video import fit_video
    from mvs.headmodel.output import write_fit
    from mvs.headmodel.start import simple_camera
    from mvs.record import prepare_output
    from mvs.tracks.pictures import estimate_length, find_rate, read_pictures

    options.check_focal()
    if options.every < 1:
        raise ValueError(f"--every must be at least 1, got {options.every}")
    if options.fps is not None and not options.fps > 0:
        raise ValueError(f"--fps must be positive, got {options.fps}")
    rate = options.fps or (find_rate(options.video) or _USUAL_RATE) / options.every
    how = options.output_options(rate, options.meshes)
    total = estimate_length(options.video, options.every)
    model = options.load_model()
    prepare_output(options.output)
    embedder = options.load_embedder()
    regressor = options.load_regressor(options.fit.fit.reading)
    frames = read_pictures(options.video, options.every)
    camera = None
    if options.focal_px is not None:
        height, width = next(read_pictures(options.video)).image.shape[:2]
        camera = simple_camera(width, height, options.focal_px)
    with progress_bars(options.quiet) as progress:
        count = counter(progress, "embed", total)
        fit = fit_video(
            _counted(frames, count),
            embedder,
            model,
            options.fit,
            camera=camera,
            regressor=regressor,
            threads=options.threads,
        )
    again = _InOrder(options.video, options.every)
    write_fit(fit, options.output, how, pictures=again.picture)
    if not options.quiet:
        warn(list(fit.warnings))


def _counted(
    frames: Iterable[tuple[str, ByteArray]], count: Callable[[], None]
) -> Iterator[tuple[str, ByteArray]]:
    for frame in frames:
        yield frame
        count()


class _InOrder:
    """Frames of a video by number, asked for one after the other."""

    def __init__(self, video: Path, every: int) -> None:
        from mvs.tracks.pictures import read_pictures

        self._frames = enumerate(read_pictures(video, every))

    def picture(self, frame: int, _view: int) -> ByteArray:
        """Frame (H, W, 3) uint8 RGB; none before the last that was asked for."""
        return next(found.image for number, found in self._frames if number == frame)
