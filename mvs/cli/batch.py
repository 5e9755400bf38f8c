"""``mvs batch``: many frames of one calibration, on one machine or many."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from mvs.batch.clusters import ClusterOptions
from mvs.batch.frames import (
    Pattern,
    find_by_folder,
    find_by_pattern,
    find_in_list,
    in_chains,
    with_cube_maps,
)
from mvs.cli.source import FormatName, NetworkOptions
from mvs.cli.stages import StageOptions, preset_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mvs.batch.frames import Found
    from mvs.batch.jobs import EmbedderChoice
    from mvs.batch.rig import Rig
    from mvs.batch.run import Batch


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions, StageOptions):
    """Reconstruct every frame of a sequence: OUTPUT/frames/000123/mesh.ply and so on, batch.json.

    What is done is skipped, so the same command goes on after any crash. --threads is per worker.

    Attributes:
        calibration: folder with a camera file, or the file; its pictures need not be there.
        output: folder for the results.
        images: pattern of the pictures, as 'shot/{camera}/{frame:06d}.jpg', or a folder that holds
            a folder a frame (frame_0001/images). Cameras are called like the calibration's
            pictures, without ending, or like their folders.
        masks: pattern of the masks; masks/ in the folders of frames.
        videos: pattern of a video a camera, as 'shot/{camera}.mp4', instead of pictures: decoded
            from the first frame to the last into OUTPUT/pictures.
        captures: text file of captures with cameras of their own, a folder a line, instead of a
            calibration and pictures.
        cube_maps: for the precomputed embedder, pattern of the folder of a frame's maps, as
            'maps/{frame:06d}'; in it <calibration's picture name>.npz.
        format: of the camera file, if it shall not be found out.
        frames: which, as 0:100:2 (the end left out), 7 or 3,5,10:20; all if not given.
        register: wrap the template onto every mesh too: registered.ply, the same topology in all.
        chain: frames to a chain: each starts from the surface of the one before where its pictures
            agree with that, those whose number is a multiple of this anew; 1 starts all anew.
        min_views: frames with fewer usable pictures fail.
        device: where the network computes, as PyTorch names it, the same for all workers.
        retry: do again what failed of the same pictures and options.
        force: do again what is done.
        maps_mb: of undistortion maps that a worker keeps; eight bytes a pixel of each camera with
            a distorting lens.
        cluster: where frames are worked on.
    """

    calibration: Annotated[Positional[Path | None], arg(metavar="CALIBRATION")] = None
    output: Path
    images: str | None = None
    masks: str | None = None
    videos: str | None = None
    captures: Path | None = None
    format: FormatName | None = None
    frames: str | None = None
    register: bool = False
    chain: int = 1
    min_views: int = 2
    device: str = "cpu"
    retry: bool = False
    force: bool = False
    maps_mb: float = 1000.0
    cluster: OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)


def defaults(arguments: list[str]) -> Options:
    """What is not given: the preset's options, and a worker's share of the threads."""
    import tyro

    workers = 1
    for word, value in pairwise([*arguments, ""]):
        name, _, joined = word.partition("=")
        if name == "--workers" and (joined or value).isdecimal():
            workers = max(int(joined or value), 1)
    threads = max(Options.threads // workers, 1)
    return Options(output=tyro.MISSING, threads=threads, **preset_of(arguments))


def run(options: Options) -> int:
    """Run the command; 1 where a frame failed."""
    from mvs.batch.jobs import Job
    from mvs.batch.run import run_batch
    from mvs.cli.show import progress_bars, warn

    _check(options)
    rig = None
    with progress_bars(options.quiet) as progress:
        if options.captures is None:
            rig, found = _find(options, progress)
        else:
            found = find_in_list(options.captures.absolute(), options.frames)
        if options.cube_maps is not None:
            maps = Pattern(str(options.cube_maps), ("frame",))
            found = replace(found, frames=with_cube_maps(found.frames, maps))
        frames = in_chains(found.frames, options.chain)
        job = Job(
            output=options.output.absolute(),
            rig=rig,
            pipeline=options.stages(options.threads),
            embedder=_choice(options),
            threads=options.threads,
            register=options.register,
            min_views=options.min_views,
            cameras=frozenset(name for frame in found.frames for name in frame.pictures),
            force=options.force,
            maps_mb=options.maps_mb,
        )
        if not options.quiet:
            warn(found.warnings)
        show = _Show(options, progress)
        batch = run_batch(job, frames, options.cluster, options.retry, show)
    if not options.quiet:
        _print(batch, options)
    for outcome in batch.failed:
        sys.stderr.write(f"failed: frame {outcome.frame}: {outcome.reason}\n")
    return 1 if batch.failed else 0


class _Show:
    """The progress, and the dashboard's address once there is one."""

    def __init__(self, options: Options, progress: Callable[[str, int, int], None]) -> None:
        self._quiet, self._progress, self._dashboard = options.quiet, progress, ""

    def __call__(self, batch: Batch) -> None:
        """Something is known."""
        if batch.dashboard != self._dashboard and not self._quiet:
            self._dashboard = batch.dashboard
            sys.stderr.write(f"dashboard: {batch.dashboard}\n")
        self._progress("frames", len(batch.outcomes), batch.n_frames)


def _check(options: Options) -> None:
    """Complain about options that do not fit together."""
    given = [options.images is not None, options.videos is not None, options.captures is not None]
    if sum(given) != 1:
        raise ValueError("give one of --images, --videos and --captures")
    if (options.calibration is None) != (options.captures is not None):
        raise ValueError("give a CALIBRATION with --images or --videos, none with --captures")
    if options.masks is not None and options.captures is not None:
        raise ValueError("--masks: captures have their own; leave it out")
    if options.embedder == "precomputed" and options.cube_maps is None:
        raise ValueError("--embedder precomputed needs --cube-maps with {frame:06d}")
    if options.embedder != "precomputed" and options.cube_maps is not None:
        raise ValueError("--cube-maps are for --embedder precomputed")
    if options.embedder == "none" and (options.register or options.quality == "draft"):
        raise ValueError("--embedder none has no --register and no --quality draft")
    if options.chain > 1 and (options.embedder == "none" or options.quality == "draft"):
        raise ValueError("--chain is for what is refined: not for --embedder none, --quality draft")
    if options.embedder == "none" and options.weights is not None:
        raise ValueError("--embedder none uses no --weights: leave them out")


def _find(options: Options, progress: Any) -> tuple[Rig, Found]:
    """The cameras and the frames."""
    from mvs.batch.rig import read_rig
    from mvs.batch.videos import decode_videos
    from mvs.folder import claimed
    from mvs.record import prepare_output

    rig = read_rig(options.calibration or Path(), options.format)
    masks = None if options.masks is None else Pattern(options.masks)
    if options.videos is not None:
        prepare_output(options.output)
        folder = options.output.absolute() / "pictures"
        videos = Pattern(options.videos, ("camera",))
        with claimed(options.output):
            images = decode_videos(videos, folder, options.frames, options.threads, progress)
        return rig, find_by_pattern(rig, images, masks, options.frames)
    if Path(str(options.images)).is_dir():
        if masks is not None:
            raise ValueError(
                "--masks: those of folders of frames lie in their masks/; leave it out"
            )
        return rig, find_by_folder(rig, Path(str(options.images)).absolute(), options.frames)
    return rig, find_by_pattern(rig, Pattern(str(options.images)), masks, options.frames)


def _choice(options: Options) -> EmbedderChoice:
    """What workers load; weights that are not there are complained about here."""
    import hashlib

    from mvs.batch.jobs import EmbedderChoice

    if options.embedder == "none":
        return EmbedderChoice(None)
    weights = None if options.weights is None else options.weights.absolute()
    digest = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    return EmbedderChoice(options.embedder, weights, digest, options.device)


def _print(batch: Batch, options: Options) -> None:
    """Time and memory a frame, warnings, and what can come next."""
    from mvs.cli.show import table, warn

    for outcome in batch.outcomes.values():
        warn([f"frame {outcome.frame}: {line}" for line in outcome.warnings])
    made = [o for o in batch.outcomes.values() if o.state == "done"]
    n_kept = sum(o.state == "kept" for o in batch.outcomes.values())
    rows = [("frames", str(batch.n_frames))]
    rows += [("done before", str(n_kept)), ("failed", str(len(batch.failed)))]
    if options.chain > 1:
        n_followed = sum(o.start.startswith("frame") for o in batch.outcomes.values())
        rows.append(("from the frame before", str(n_followed)))
    if made:
        n = len(made)
        rows += [
            ("done", str(n)),
            ("seconds a frame", f"{sum(o.seconds for o in made) / n:.1f}"),
            ("CPU seconds a frame", f"{sum(o.cpu_seconds for o in made) / n:.1f}"),
            ("beside reconstruction", f"{sum(o.overhead for o in made) / n:.2f} s"),
            ("peak MB of a worker", f"{max(o.peak_mb for o in made):.0f}"),
        ]
    rows.append(("seconds in all", f"{batch.seconds:.1f}"))
    table("", ("what", ""), rows)
    if options.register and len(batch.outcomes) > len(batch.failed):
        command = (
            f"mvs batch export {shlex.quote(str(options.output))} --output head.usdc --smooth 5"
        )
        sys.stdout.write(f"one moving mesh of them, smoothed in time: {command}\n")
