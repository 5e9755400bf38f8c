"""What a user should know of a capture and of what the stages made of it, one line each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calib.capture import Capture
from calib.lens import shown_share
from calib.masks import judge_masks
from mvs.errors import ReconstructionError
from mvs.stages.embed import EmbeddedViews
from mvs.stages.refine import DepthMap

# Views are odd whose median 1 - ZNCC is above this, and above that of most views.
_ODD_COST = 0.5
# Views are narrow whose pinhole picture shows less than this share of the distorted one.
_NARROW = 0.6
# By its name, a network is at a loss where most views' mean confidence is below this; of the
# compact one, 0.25 to 0.5 is usual.
_AT_A_LOSS = {"compact": 0.08}


def judge_lenses(capture: Capture) -> list[str]:
    """Names lenses whose pinhole pictures show little of what was taken."""
    shares = {view.name: shown_share(view.camera) for view in capture.views}
    narrow = [name for name, share in shares.items() if share < _NARROW]
    if not narrow:
        return []
    return [
        f"without distortion {len(narrow)} views show {min(shares.values()):.0%} and more of "
        f"their pictures, around the axis: {_some(narrow)}; where the head is cut off, "
        "undistort them yourself to a shorter focal length"
    ]


def judge_views(capture: Capture, views: EmbeddedViews) -> list[str]:
    """Names views without a head, masks that look wrong, and those that leave nothing of the head.

    Raises:
        CaptureError: if nearly all masks look wrong.
        ReconstructionError: if all masks but one leave nothing.
    """
    agrees = views.head.agrees.tolist()
    lost = [view.name for view, agree in zip(capture.views, agrees, strict=True) if not agree]
    warnings = []
    if lost:
        warnings.append(
            f"the head was not found in {len(lost)} views, which take its place from the others: "
            f"{_some(lost)}"
        )
    warnings += judge_masks(capture, views.looks)
    trios = list(zip(capture.views, views.cube_maps, views.looks, strict=True))
    empty = [view.name for view, found, look in trios if look and not found.mask.any()]
    if len(capture.views) - len(empty) < 2:
        raise ReconstructionError(
            f"the masks leave nothing of the head in {len(empty)} of {len(capture.views)} views: "
            f"{_some(empty)}",
            "0 is what they leave out; check them, or take the masks folder away",
        )
    # Empty masks are named already.
    empty = [v.name for v, m, look in trios if look and look.kept and not m.mask.any()]
    if empty:
        warnings.append(
            f"masks leave nothing of the head in {len(empty)} of {len(capture.views)} views: "
            f"{_some(empty)}"
        )
    return warnings


def judge_confidences(embedder: str, confidences: Sequence[float | None]) -> list[str]:
    """Says so where an embedder of that name hardly knows what it sees in most views."""
    known = [value for value in confidences if value is not None]
    if not known or float(np.median(known)) >= _AT_A_LOSS.get(embedder, 0.0):
        return []
    return [
        f"the network hardly knows what it sees: its confidence is {np.median(known):.2f} in the "
        "median view, 0.25 to 0.5 is usual; hair, cloth or light may be beyond it: look at the "
        "mesh before you use it"
    ]


def median_costs(maps: Sequence[DepthMap | None]) -> list[float | None]:
    """Each depth map's median 1 - ZNCC; None where there is no map or nothing in it."""
    return [
        None if found is None or not found.mask.any() else float(np.median(found.cost[found.mask]))
        for found in maps
    ]


def judge_costs(costs: Sequence[float | None], names: Sequence[str]) -> list[str]:
    """Names views whose patches look like no other view's, unlike most views' patches."""
    known = {name: cost for name, cost in zip(names, costs, strict=True) if cost is not None}
    bound = max(_ODD_COST, 1.5 * float(np.median(list(known.values())))) if known else _ODD_COST
    odd = [name for name, cost in known.items() if cost > bound]
    if not odd:
        return []
    return [
        f"{len(odd)} views look like no other view in most places: {_some(odd)}; "
        "check their poses, focus and exposure"
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
