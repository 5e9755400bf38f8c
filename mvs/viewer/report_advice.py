"""What to look at in a run, and what to do about it: its own warnings, and what its figures say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from calib.calibration import some_names
from mvs.viewer.report_material import Material


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        text: what and where.
        advice: what to do; may be empty where the text says it.
        is_note: worth knowing, but nothing is wrong.
    """

    text: str
    advice: str
    is_note: bool = False


# What is to be done about a warning of the tool in which the expression is found; the first counts.
ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"the head was not found in",
        "Look at these views below. Where they show no head, leave them out; where the head is cut "
        "off or turned away, they may stay. An upside-down head needs its picture turned before "
        "the calibration.",
    ),
    (
        r"without distortion \d+ views show",
        "If the head lies in the middle of these pictures, nothing is lost. If it is cut off, "
        "undistort the pictures to a shorter focal length and calibrate those.",
    ),
    (
        r"look like no other view",
        "Most often the pose is wrong, two pictures are exchanged, or the head moved: "
        "mvs calib inspect says which, mvs calib adjust refines poses that are slightly off.",
    ),
    (
        r"not refined",
        "The surface is only as good as the cube matches, millimetres. Check the poses with "
        "mvs calib inspect, and whether the pictures are sharp.",
    ),
    (
        r"show the picture itself",
        "Save real masks for these views: 0 is left out, anything else is kept.",
    ),
    (r"look inverted", "Invert these masks: 0 is what a mask leaves out."),
    (
        r"masks? leave nothing (of the head )?in",
        "These views add nothing. Make their masks again, or take them away: the head is found "
        "without masks, too.",
    ),
    (
        r"masks leave nothing out",
        "A mask that keeps everything is as good as none. Check that the right files were saved.",
    ),
    (
        r"mostly neither black nor white",
        "Check the outlines below. If they are off, save these masks as black and white.",
    ),
    (
        r"have no alpha to mask them",
        "Cut these pictures out like the others, or give masks for all views in masks/.",
    ),
    (
        r"have no mask",
        "Views without a mask count as a whole, background included. Add their masks, or take "
        "the views out.",
    ),
    (r"match no picture", "Rename these masks after their pictures: IMAGE.jpg.png or IMAGE.png."),
    (
        r"picture missing",
        "Restore the pictures, or name their folder with --images. The other views were used.",
    ),
    (
        r"without a pose|not aligned|are not registered",
        "These pictures were not placed by the calibration. If their side of the head is thin "
        "below, take more pictures between them and their neighbours and calibrate again.",
    ),
    (r"disabled", "Enable them in Metashape before the export if they shall count."),
    (
        r"has k4, which is fitted",
        "Below half a pixel this does no harm. To be rid of it, fix k4 to 0 in Metashape, align "
        "again and export.",
    ),
    (r"chunk", "Export the chunk that is wanted alone, if it is another one."),
    (
        r"changed since the run",
        "The pictures below are not those that were reconstructed. Reconstruct again.",
    ),
    (r"which way is up is not known", "Export with mvs export --source-up y, or z, or -y."),
    (
        r"the unit is not known",
        "Bring the capture to a true unit with mvs calib scale, or export with --source-unit.",
    ),
    (r"PLY has no place for the texture", "Export GLB, OBJ or USD to keep the texture."),
)
_FALLBACK = "mvs calib inspect says more about the capture."
_FEW_VIEWS = 6
# Shares of the face that two views see, and of matched pixels that become points.
_FACE_SEEN, _BECOME_POINTS = 0.9, 0.5
# Share of what lies under the hair that a whole head holds.
_BACK_THERE = 0.9
# Mean confidence of a view.
_SURE = 0.1
# Of the usual number of points that a view confirms.
_FEW_POINTS = 0.1
# Median reprojection error of cube matches, as a part of the pictures' diagonal.
_REPROJECTION = 0.006


def advise(warning: str) -> str:
    """What to do about one of the tool's warnings."""
    return next((advice for key, advice in ADVICE if re.search(key, warning)), _FALLBACK)


def find_findings(material: Material) -> list[Finding]:
    """All that is to be looked at: the run's warnings, then what its figures say, then notes."""
    found = [Finding(str(text), advise(str(text))) for text in material.run.record["warnings"]]
    found += [finding for check in CHECKS for finding in check(material)]
    return sorted(found, key=lambda finding: finding.is_note)


def check_files(material: Material) -> Iterator[Finding]:
    """Results that are gone."""
    if material.run.missing:
        yield Finding(
            f"no longer there, or damaged: {', '.join(material.run.missing)}",
            "The report shows what is left. Reconstruct again for the rest.",
        )


def check_views(material: Material) -> Iterator[Finding]:
    """Too few views, and views that add little."""
    n = len(material.views)
    if n < _FEW_VIEWS:
        yield Finding(
            f"only {n} views",
            "Eight to forty views, 10 to 40 degrees apart, cover a head.",
        )
    found = material.run.points_of_view
    if found is not None and len(found) > 2:
        usual = float(np.median(found))
        few = [
            v.name for v, k in zip(material.views, found, strict=True) if k < _FEW_POINTS * usual
        ]
        if few:
            yield Finding(
                f"{len(few)} views add almost no points: {some_names(few)}",
                "Look at them below: a wrong pose, blur, or a side that no other view shares. "
                "mvs calib inspect tells these apart.",
            )
    unsure = [
        view.name
        for view, mean in zip(material.views, material.run.of_views("confidence"), strict=True)
        if isinstance(mean, float) and mean < _SURE
    ]
    if len(unsure) > n / 2:
        yield Finding(
            f"the network is unsure of most of the head in {len(unsure)} of {n} views: "
            f"{some_names(unsure)}",
            "Small, blurred, dark or strongly tilted heads do that, and views from behind. "
            "Views of the face help most.",
        )


def check_coverage(material: Material) -> Iterator[Finding]:
    """Parts of the head that hardly any view sees."""
    if material.coverage is None or material.surface is None or not len(material.surface.faces):
        return
    face, _, back, *_ = material.coverage.parts
    if back.reconstructed < _BACK_THERE:
        yield Finding(
            f"{1 - back.reconstructed:.0%} of the scalp and the back of the head is not there",
            "If it shall be, add views from above and behind; dark hair needs more of them.",
            True,
        )
    if face.by_two < _FACE_SEEN:
        yield Finding(
            f"{1 - face.by_two:.0%} of the face is seen by fewer than two views",
            "Add views of that side, 10 to 40 degrees from the others; the map under Coverage "
            "shows where.",
        )


def check_matches(material: Material) -> Iterator[Finding]:
    """Matches that do not fit the poses."""
    found = material.run.notes.get("reprojection_px")
    median = found.get("median") if isinstance(found, dict) else None
    diagonal = float(np.median([np.hypot(v.camera.width, v.camera.height) for v in material.views]))
    if isinstance(median, float) and median > _REPROJECTION * diagonal:
        yield Finding(
            f"matched places lie {median:.1f} pixels (median) from where their points project to",
            "The poses or the lens may be off: run mvs calib inspect, then mvs calib adjust.",
        )
    counts = material.run.record["counts"]
    tried = sum(counts.get(name, 0) for name in STATUSES)
    if tried and counts.get("ok", 0) < _BECOME_POINTS * tried:
        yield Finding(
            f"only {counts.get('ok', 0) / tried:.0%} of the matched pixels became points",
            "The counts below say why the others did not. Large errors speak of poses, small "
            "angles of views too close together.",
        )


def check_notes(material: Material) -> Iterator[Finding]:
    """What is not wrong, but good to know."""
    record = material.run.record
    if record.get("unit") is None:
        yield Finding(
            "the unit of the capture is not known, so nothing here is in millimetres",
            'Say it in capture.json, {"unit": "m"}, or measure it with mvs calib scale.',
            True,
        )
    if record["options"].get("refine") is None and "mesh.ply" in record["files"]:
        yield Finding(
            "a draft: the surface is that of the cube matches, good to millimetres",
            "--quality fast, balanced or best sharpens it to tenths.",
            True,
        )
    if all(thumbnail.mask is None for thumbnail in material.thumbnails):
        yield Finding(
            "no view has a mask",
            "Masks make hair and outlines cleaner."
            if record.get("embedder") != "none"
            else "Masks tell the object from what is around it.",
            True,
        )
    until = record.get("until")
    if until != "mesh":
        yield Finding(f"the run was to stop after {until}", "Leave out --until for a mesh.", True)


# What becomes of a matched pixel.
STATUSES = (
    *("ok", "too_few_views", "degenerate", "behind_camera"),
    *("large_error", "small_angle", "far_from_head"),
)
CHECKS: tuple[Callable[[Material], Iterator[Finding]], ...] = (
    check_files,
    check_views,
    check_coverage,
    check_matches,
    check_notes,
)
