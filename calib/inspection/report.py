"""What an inspection says, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.inspection.epipolar import PairError, ViewError
from calib.inspection.geometry import BANDS_DEG, SECTOR_DEG, Arrangement
from calib.inspection.lens_error import LensError
from calib.inspection.lenses import LensGroup
from calib.inspection.misplaced import Misplaced
from calib.inspection.pictures import PictureLevels


@dataclass(frozen=True)
class Finding:
    """Something that hurts.

    Attributes:
        code: stable, a key of ``calib.inspection.findings.CODES``.
        severity: "serious", "warning" or "note".
        views: names of the views concerned; none where it is the capture.
        text: what and where.
        remedy: what to do.
    """

    code: str
    severity: str
    views: tuple[str, ...]
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


@dataclass(frozen=True, eq=False)
class Picture:
    """A view's picture and mask on disk.

    Attributes:
        size: width and height, None where it cannot be read.
        problem: why it cannot be used, None where it can.
        digest: of the file's bytes, "" where there is none.
        mask_share: of the picture that the mask keeps; None without a mask.
        levels: None where it cannot be used.
    """

    size: tuple[int, int] | None
    problem: str | None
    digest: str
    mask_share: float | None
    levels: PictureLevels | None


@dataclass(frozen=True)
class Partner:
    """A view to match with.

    Attributes:
        view: its index.
        angle_deg: between the two, seen from the centre.
        n_matches: verified; 0 where they were not compared.
    """

    view: int
    angle_deg: float
    n_matches: int


@dataclass(frozen=True, eq=False)
class Inspection:
    """All that is known of a capture; tuples and first axes of arrays are per view.

    Attributes:
        path: the capture.
        format: that was read.
        source: the camera file.
        other_sources: camera files of other formats in the same folder, by format.
        unit: of the world, None where nobody said.
        n_points: sparse points.
        names: of the views.
        sizes: width and height that the cameras have.
        lenses: the different ones.
        arrangement: of the cameras.
        same_pose: pairs of views that stand in one place and look one way.
        same_picture: pairs of views whose pictures are the same file.
        pictures: on disk.
        relative_levels: (V, 4) log of red, green, blue and sharpness against the others.
        reprojection_px: (V,) median error of the sparse points seen, NaN without.
        pairs: epipolar errors of all compared pairs with verified matches.
        view_errors: epipolar errors.
        misplaced: views that contradict the others.
        lens_error: common to all views; None where it cannot be told.
        partners: the best to match each view with.
        findings: what hurts, the worst first.
    """

    path: Path
    format: str
    source: Path | None
    other_sources: dict[str, Path]
    unit: str | None
    n_points: int
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    lenses: tuple[LensGroup, ...]
    arrangement: Arrangement
    same_pose: tuple[tuple[int, int], ...]
    same_picture: tuple[tuple[int, int], ...]
    pictures: tuple[Picture, ...]
    relative_levels: npt.NDArray[np.float64]
    reprojection_px: npt.NDArray[np.float64]
    pairs: tuple[PairError, ...]
    view_errors: tuple[ViewError, ...]
    misplaced: Misplaced
    lens_error: LensError | None
    partners: tuple[tuple[Partner, ...], ...]
    findings: tuple[Finding, ...] = ()

    @property
    def pair_error_px(self) -> float:
        """Median of the pairs' epipolar errors, NaN without pairs."""
        return float(np.median([p.error_px for p in self.pairs])) if self.pairs else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Everything, of plain values; infinite and NaN where nothing is known."""
        around = self.arrangement
        return {
            "capture": str(self.path),
            "format": self.format,
            "camera_file": None if self.source is None else str(self.source),
            "other_camera_files": {k: str(v) for k, v in self.other_sources.items()},
            "unit": self.unit,
            "n_views": len(self.names),
            "n_points": self.n_points,
            "findings": [asdict(finding) for finding in self.findings],
            "lenses": [
                asdict(lens) | {"views": [self.names[k] for k in lens.views]}
                for lens in self.lenses
            ],
            "center": around.center.tolist(),
            "center_from": around.center_from,
            "up": around.up.tolist(),
            "front": around.front.tolist(),
            "coverage": {
                "elevation_bands_deg": list(BANDS_DEG),
                "azimuth_sector_deg": SECTOR_DEG,
                "n_views": around.coverage.tolist(),
            },
            "same_pose": [self._named(pair) for pair in self.same_pose],
            "same_picture": [self._named(pair) for pair in self.same_picture],
            "pair_error_px": self.pair_error_px,
            "bad_pair_px": self.misplaced.limit_px,
            "lens_error": None if self.lens_error is None else asdict(self.lens_error),
            "pairs": [asdict(pair) | {"views": self._named(pair.views)} for pair in self.pairs],
            "views": {name: self._view_dict(k) for k, name in enumerate(self.names)},
        }

    def _named(self, views: tuple[int, ...]) -> list[str]:
        return [self.names[view] for view in views]

    def _view_dict(self, k: int) -> dict[str, Any]:
        around, picture = self.arrangement, self.pictures[k]
        levels = picture.levels
        nearest = sorted(set(range(len(self.names))) - {k}, key=lambda j: around.angles_deg[k, j])
        return {
            "size": self.sizes[k],
            "picture_size": picture.size,
            "problem": picture.problem,
            "mask_share": picture.mask_share,
            "distance": float(around.distances[k]),
            "azimuth_deg": float(around.azimuths_deg[k]),
            "elevation_deg": float(around.elevations_deg[k]),
            "off_axis_deg": float(around.off_axis_deg[k]),
            "is_center_seen": bool(around.is_center_seen[k]),
            "pixels_per_unit": float(around.pixels_per_unit[k]),
            "nearest": [
                {
                    "view": self.names[j],
                    "angle_deg": float(around.angles_deg[k, j]),
                    "baseline": float(around.baselines[k, j]),
                }
                for j in nearest[:3]
            ],
            "reprojection_px": float(self.reprojection_px[k]),
            "epipolar": asdict(self.view_errors[k]),
            "partners": [
                asdict(partner) | {"view": self.names[partner.view]} for partner in self.partners[k]
            ],
            "picture": None
            if levels is None
            else {
                "brightness": levels.brightness,
                "dark_share": levels.dark_share,
                "bright_share": levels.bright_share,
                "noise": levels.noise,
                "sharpness": levels.sharpness,
                "gain_red_green_blue": np.exp(self.relative_levels[k, :3]).tolist(),
                "relative_sharpness": float(np.exp(self.relative_levels[k, 3])),
            },
        }
