"""``mvs evaluate canonical``: landmarks in space, or points tracked through a rendered sequence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mvs.cli.canonical_source import PictureOptions

if TYPE_CHECKING:
    from calib.capture import Capture


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Measure what the cube's places are worth.

    A capture with gt/landmarks.json: the 68 landmarks in space from all views and from three, and
    in the pictures alone. A folder of mvs synthesize sequence: its points, followed.

    Attributes:
        capture: capture folder, or folder of a rendered sequence (frames/ and truth.json).
        few: names of the views that few views are tried with.
        mesh: look the 68 landmarks up on this mesh of the capture's head, which has u v w, instead.
        json: file to write the figures to; without a name, they are printed.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    few: tuple[str, ...] = ()
    mesh: Path | None = None
    json: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from mvs.cli.show import deliver, plain_json

    is_sequence = (options.capture / "truth.json").is_file()
    figures = _run_sequence(options) if is_sequence else _run_capture(options)
    figures = {"source": str(options.capture), "embedder": options.embedder} | figures
    deliver(figures)
    if options.json is not None:
        write_json(options.json, plain_json(figures))


def _run_capture(options: Options) -> dict[str, Any]:
    from calib.capture import CaptureError
    from mvs.canonical.pictures import map_capture
    from mvs.cli.show import counter, progress_bars, table
    from mvs.evaluation.canonical import evaluate_space
    from mvs.evaluation.landmarks import capture_landmarks

    capture = options.load_capture()
    truth = capture.path / "gt" / "landmarks.json"
    if not truth.is_file():
        raise CaptureError(truth, "no such file", "give a capture with true landmarks")
    if options.mesh is not None:
        return _run_mesh(options, capture, options.mesh)
    names = [view.name for view in capture.views]
    unknown = sorted(set(options.few) - set(names))
    if unknown:
        raise ValueError(f"{options.capture}: no view {unknown[0]!r}")
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 2 * len(names))
        pictures = map_capture(capture, options.load_embedder(), options.threads, step)
    few = [names.index(name) for name in options.few] or list(range(len(names)))[2:5]
    space = [evaluate_space(capture, pictures, rows) for rows in (range(len(names)), few)]
    cameras = [p.camera for p in pictures if p.camera is not None]
    flat = capture_landmarks(capture, cameras, [p.cube_map for p in pictures])
    nme = float("nan") if flat is None else flat.nme
    if not options.quiet:
        rows = [
            [str(len(s.views)), f"{s.mean_mm:.2f}", f"{s.median_mm:.2f}", f"{s.largest_mm:.2f}"]
            for s in space
        ]
        rows.append(["1", f"{100 * nme:.2f} % of the eyes' distance", "", ""])
        table("68 landmarks", ["views", "mean mm", "median mm", "largest mm"], rows)
    return {"kind": "landmarks", "space": [asdict(s) for s in space], "nme": nme}


def _run_mesh(options: Options, capture: Capture, mesh: Path) -> dict[str, Any]:
    from mvs.canonical.mesh_places import read_surface
    from mvs.cli.show import table
    from mvs.evaluation.canonical import evaluate_mesh

    found = evaluate_mesh(capture, read_surface(mesh))
    if not options.quiet:
        row = [mesh.name, *(f"{v:.2f}" for v in (found.mean_mm, found.median_mm, found.largest_mm))]
        table("68 landmarks", ["mesh", "mean mm", "median mm", "largest mm"], [row])
    return {"kind": "landmarks on a mesh", "mesh": str(mesh), "space": [asdict(found)]}


def _run_sequence(options: Options) -> dict[str, Any]:
    from mvs.canonical.track_output import embed_frames
    from mvs.cli.show import counter, progress_bars, table
    from mvs.evaluation.canonical import evaluate_tracks, read_sequence_truth
    from mvs.tracks.pictures import read_pictures

    truth = read_sequence_truth(options.capture / "truth.json")
    frames = read_pictures(options.capture / "frames")
    maps = []
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", len(truth.names))
        for cube_map in embed_frames(frames, options.load_embedder()):
            maps.append(cube_map)
            step()
    if len(maps) != len(truth.names):
        raise ValueError(f"{options.capture}: {len(maps)} frames, the truth has {len(truth.names)}")
    kinds = {"clicked": True, "canonical": False}
    found = {name: evaluate_tracks(truth, maps, None, clicked) for name, clicked in kinds.items()}
    if not options.quiet:
        rows = [
            [
                name,
                str(f.n_points),
                *(f"{v:.2f}" for v in (f.visible, f.hidden, f.jitter)),
                f"{f.seen_as_visible:.3f}",
            ]
            for name, f in found.items()
        ]
        header = ["points", "n", "visible %", "hidden %", "jitter %", "visibility right"]
        table("tracks, in per cent of the eyes' distance", header, rows)
    return {"kind": "tracks", "tracks": {name: asdict(f) for name, f in found.items()}}
