"""``mvs evaluate embedder``: an embedder's maps against whatever is known of the pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mvs.cli.source import EmbedderOptions

if TYPE_CHECKING:
    from calib.capture import Capture
    from mvs.evaluation.embedder import EmbedderEvaluationOptions, SurfaceScene
    from mvs.stages.embed import EmbeddedViews
    from mvs.types import Embedder


@dataclass(frozen=True, kw_only=True)
class Options(EmbedderOptions):
    """Measure an embedder, by whatever is known of the pictures it is given.

    A capture with gt/mesh.ply: true surface points are followed from view to view, and the maps are
    compared with the truth. A capture with poses only: matches against epipolar lines, and sparse
    points followed. A folder of photographs with .pts files of 68 landmarks: the landmarks.

    Attributes:
        capture: capture folder, or folder of photographs with .pts files.
        parts: of the head that true points are taken from: face, head_neck, eye, mouth_interior,
            hair_hat, torso; or finer: face_front, ear, scalp, neck.
        other: capture with ground truth of another person, to find the same places on.
        sheet: picture (.png or .jpg) to draw what the embedder sees to.
        json: file to write the figures to; without a name, they are printed.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    parts: tuple[str, ...] = ("face", "head_neck")
    other: Path | None = None
    sheet: Path | None = None
    json: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from calib.files import write_json
    from mvs.cli.show import deliver, plain_json
    from mvs.evaluation.embedder import EmbedderEvaluationOptions
    from mvs.evaluation.sheet import check_sheet_path

    measured = EmbedderEvaluationOptions(parts=options.parts)
    if options.sheet is not None:
        check_sheet_path(options.sheet)
    if _holds_photos(options.capture):
        figures = _run_photos(options)
    else:
        figures = _run_capture(options, measured)
    figures = {"source": str(options.capture), "embedder": options.embedder} | figures
    deliver(figures)
    if options.json is not None:
        write_json(options.json, plain_json(figures))


def _holds_photos(path: Path) -> bool:
    """Whether a folder holds annotated photographs, and no capture."""
    from calib.capture import CaptureError
    from calib.formats import has_cameras

    if not path.is_dir() or has_cameras(path):
        return False
    if any(path.glob("*.pts")):
        return True
    reason = "holds neither a camera file nor photographs with .pts files"
    raise CaptureError(path, reason, "put a COLMAP model in sparse/0 or landmarks in .pts")


def _run_photos(options: Options) -> dict[str, Any]:
    """Evaluate labelled photographs; print, draw, and return the figures."""
    from mvs.cli.embedder_tables import print_photos
    from mvs.cli.show import counter, progress_bars
    from mvs.evaluation.landmarks import photo_landmarks
    from mvs.evaluation.photos import photo_views
    from mvs.evaluation.sheet import draw_sheet, write_sheet

    if options.other is not None:
        raise ValueError("--other compares captures with ground truth, not photographs")
    embedder = options.load_embedder()
    n_photos = sum(1 for _ in options.capture.glob("*.pts"))
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", n_photos)
        photos = photo_landmarks(options.capture, embedder, step)
    if not options.quiet:
        print_photos(photos)
    if options.sheet is not None:
        write_sheet(options.sheet, draw_sheet(photo_views(options.capture, embedder)))
    return {"kind": "photos", "photos": [asdict(photo) for photo in photos]}


def _run_capture(options: Options, measured: EmbedderEvaluationOptions) -> dict[str, Any]:
    """Evaluate a capture, with truth or without; print, draw, and return the figures."""
    from mvs.cli.embedder_tables import print_landmarks, print_real
    from mvs.cli.show import warn
    from mvs.evaluation.embedder import SurfaceScene
    from mvs.evaluation.landmarks import capture_landmarks
    from mvs.evaluation.real import RealEvaluationOptions, evaluate_real_embedded
    from mvs.evaluation.sheet import draw_sheet, spread_views, write_sheet

    capture = options.load_capture()
    has_truth = (capture.path / "gt" / "mesh.ply").is_file()
    if options.other is not None and not has_truth:
        raise ValueError(f"--other needs ground truth, and {capture.path} has no gt/mesh.ply")
    scene = SurfaceScene.of(capture, measured) if has_truth else None
    other = None if options.other is None else _other_scene(options.other, measured)
    embedder = options.load_embedder()
    embedded = _embed(options, capture, embedder)
    if not options.quiet:
        warn(capture.warnings)
    figures: dict[str, Any] = {"kind": "truth" if has_truth else "real"}
    if scene is not None:
        figures |= _against_truth(options, measured, scene, embedded)
    lines = RealEvaluationOptions()
    real = evaluate_real_embedded(capture, embedded, lines)
    landmarks = capture_landmarks(capture, embedded.cameras, embedded.cube_maps)
    figures |= asdict(real) | {"landmarks": None if landmarks is None else asdict(landmarks)}
    if not options.quiet:
        print_real(real, lines)
        if landmarks is not None:
            print_landmarks(landmarks)
    if scene is not None and other is not None:
        figures |= _across_people(options, (scene, embedded), other, embedder)
    if options.sheet is not None:
        names = [view.name for view in capture.views]
        write_sheet(options.sheet, draw_sheet(spread_views(embedded, names)))
    return figures


def _embed(options: Options, capture: Capture, embedder: Embedder) -> EmbeddedViews:
    from mvs.cli.show import counter, progress_bars
    from mvs.evaluation.follow import embed_unmasked

    with progress_bars(options.quiet) as progress:
        step = counter(progress, f"embed {capture.path.name}", 2 * len(capture.views))
        return embed_unmasked(capture, embedder, step)


def _against_truth(
    options: Options,
    measured: EmbedderEvaluationOptions,
    scene: SurfaceScene,
    embedded: EmbeddedViews,
) -> dict[str, Any]:
    from mvs.cli.embedder_tables import print_truth
    from mvs.evaluation.embedder import evaluate_embedded
    from mvs.evaluation.normals import normal_figures

    truth = evaluate_embedded(scene, embedded, measured)
    normals = normal_figures(scene.truth, scene.capture, embedded, scene.points, scene.seen)
    if not options.quiet:
        print_truth(truth, normals, measured)
    return asdict(truth) | {"normal_error_deg": normals}


def _other_scene(path: Path, measured: EmbedderEvaluationOptions) -> SurfaceScene:
    from calib.formats import read_capture
    from mvs.evaluation.embedder import SurfaceScene

    return SurfaceScene.of(read_capture(path), measured)


def _across_people(
    options: Options,
    first: tuple[SurfaceScene, EmbeddedViews],
    other: SurfaceScene,
    embedder: Embedder,
) -> dict[str, Any]:
    """Follow points from one person to another; print and return the figures."""
    from mvs.cli.embedder_tables import print_identity
    from mvs.evaluation.identity import IdentityOptions, cross_identity

    embedded = _embed(options, other.capture, embedder)
    measured = IdentityOptions()
    people = cross_identity((first[0].truth, first[1]), (other.truth, embedded), measured)
    if not options.quiet:
        print_identity(people, measured)
    return {"other": str(options.other), "identity": [asdict(part) for part in people]}
