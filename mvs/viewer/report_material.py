"""All that a report shows, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.capture import Capture, CaptureError, View
from mvs.stages.model import METRES
from mvs.types import IntArray, Mesh
from mvs.viewer.report_coverage import TemplateCoverage, count_views, cover_template
from mvs.viewer.report_mesh import Frame, find_frame, thin_surface
from mvs.viewer.report_pictures import Thumbnail, make_thumbnail, thumbnail_size
from mvs.viewer.report_run import FinishedRun, read_run

MAX_FACES = 60_000


@dataclass(frozen=True)
class Material:
    """What the sections of a report are made of.

    Attributes:
        capture: whose views are those of the run.
        run: as its folder tells it.
        thumbnails: of the inputs.
        frame: of the head; None where the run has no points, as all below.
        surface: thinned.
        seen: (V,) int32 views that see each of its vertices.
        coverage: of the template; None without cube coordinates.
    """

    capture: Capture
    run: FinishedRun
    thumbnails: tuple[Thumbnail, ...]
    frame: Frame | None = None
    surface: Mesh | None = None
    seen: IntArray | None = None
    coverage: TemplateCoverage | None = None

    @property
    def views(self) -> tuple[View, ...]:
        """The capture's."""
        return self.capture.views

    @property
    def spacing_mm(self) -> float | None:
        """Distance between neighbouring points of the cloud if they were spread evenly.

        None where the unit is not known, or there is no mesh.
        """
        unit, cloud = self.run.record.get("unit"), self.run.cloud
        if unit not in METRES or cloud is None or self.surface is None:
            return None
        a, b, c = (self.surface.vertices.points[self.surface.faces[:, k]] for k in range(3))
        area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
        return 1000 * METRES[str(unit)] * float(np.sqrt(area / len(cloud))) if area else None


def gather(capture: Capture, folder: Path, warnings: Sequence[str] = ()) -> Material:
    """Read a run and its inputs, and measure what the report shows.

    Args:
        capture: that was reconstructed.
        folder: of the results.
        warnings: more of them than the run itself noted.

    Raises:
        CaptureError: if ``run.json`` or a picture cannot be read, or the views are not the run's.
    """
    run = read_run(folder, warnings)
    names = [view.name for view in capture.views]
    if names != list(run.record["inputs"]):
        raise CaptureError(
            folder / "run.json",
            f"is a run on {len(run.record['inputs'])} views that are not those of {capture.path}",
            "name the capture that was reconstructed with --capture",
        )
    side = thumbnail_size(len(names))
    thumbnails = tuple(make_thumbnail(view, side) for view in capture.views)
    if run.surface is None or not len(run.surface.vertices):
        return Material(capture, run, thumbnails)
    cameras = [view.camera for view in capture.views]
    frame = find_frame(run.surface.vertices, cameras)
    surface = thin_surface(run.surface, MAX_FACES)
    seen = count_views(surface, cameras, [t.mask for t in thumbnails], frame.radius)
    coverage = cover_template(surface, seen) if frame.is_known else None
    return Material(capture, run, thumbnails, frame, surface, seen, coverage)
