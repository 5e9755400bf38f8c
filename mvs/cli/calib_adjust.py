"""``mvs calib adjust``: poses that are slightly off, refined by what the pictures show."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from calib.adjust import AdjustOptions
from mvs.cli.source import SourceOptions
from mvs.stages.features import FeatureOptions

if TYPE_CHECKING:
    from calib.adjust import Adjustment
    from calib.capture import Capture
    from mvs.types import DoubleArray


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Write the capture with adjusted poses to OUTPUT, in its frame and unit, if that helps.

    Features matched where the cube maps allow it become tracks; four fifths of them adjust the
    poses, the rest must then meet better than before. If they do not, nothing is written.

    Attributes:
        tracks: features of the pictures, the points observed in the camera file, or both.
        pictures: copy, link, or leave out pictures and masks.
        adjust: how the cameras are adjusted.
        features: how features become tracks.
    """

    tracks: Literal["features", "observed", "both"] = "features"
    pictures: Literal["copy", "link", "none"] = "copy"
    adjust: AdjustOptions = field(default_factory=AdjustOptions)
    features: FeatureOptions = field(default_factory=FeatureOptions)


def run(options: Options) -> None:
    """Run the command."""
    from calib.adjust import adjust_cameras, adjusted_capture
    from calib.write import check_vacant, write_capture
    from mvs.cli.show import deliver, warn

    check_vacant(options.output, options.pictures)
    capture = options.load_capture()
    tracks = _tracks(options, capture)
    found = adjust_cameras([view.camera for view in capture.views], tracks, options.adjust)
    deliver(_figures(capture, found))
    if not options.quiet:
        warn(capture.warnings)
        _print(capture, found)
    found.check()
    adjusted = adjusted_capture(capture, found)
    write_capture(options.output, adjusted, "colmap", options.pictures, {"from": "adjust"})


def _tracks(options: Options, capture: Capture) -> DoubleArray:
    import numpy as np

    from calib.adjust import observed_tracks
    from mvs.cli.show import counter, progress_bars
    from mvs.stages.embed import EmbedOptions, embed_views
    from mvs.stages.features import feature_tracks

    parts = [observed_tracks(capture)] if options.tracks != "features" else []
    if options.tracks != "observed":
        embedder = options.load_embedder()
        with progress_bars(options.quiet) as progress:
            step = counter(progress, "embed", 2 * len(capture.views))
            stage = EmbedOptions(threads=options.threads)
            views = embed_views(capture.views, embedder, stage, step)
        parts.append(feature_tracks(capture.views, views, options.features))
    return np.concatenate(parts)


def _figures(capture: Capture, found: Adjustment) -> dict[str, Any]:
    names = [view.name for view in capture.views]
    return {
        "helps": found.helps,
        "n_fitted": found.n_fitted,
        "n_held_out": found.n_held_out,
        "before_px": asdict(found.before),
        "after_px": asdict(found.after),
        "adjusted": dict(zip(names, found.adjusted.tolist(), strict=True)),
        "turned_deg": dict(zip(names, found.turned_deg.tolist(), strict=True)),
        "moved": dict(zip(names, found.moved.tolist(), strict=True)),
    }


def _print(capture: Capture, found: Adjustment) -> None:
    from mvs.cli.show import table, warn

    rows = [
        (view.name, f"{turned:.4f}", f"{100 * moved:.3f}")
        for view, turned, moved in zip(capture.views, found.turned_deg, found.moved, strict=True)
    ]
    table("how far each camera went", ("view", "degrees", "% of its distance"), rows)
    left = [v.name for v, yes in zip(capture.views, found.adjusted, strict=True) if not yes]
    if left:
        warn([f"too few tracks to adjust {len(left)} views: {', '.join(left)}"])
    sys.stdout.write(
        f"{found.n_held_out} tracks held out of {found.n_held_out + found.n_fitted}: "
        f"median {found.before.median:.3f} px before, {found.after.median:.3f} after; "
        f"p90 {found.before.p90:.3f} px before, {found.after.p90:.3f} after\n"
    )
