"""Another model of the same pictures, which has the true scale or the wanted axes."""

from __future__ import annotations

from pathlib import Path

from calib.capture import Capture, CaptureError
from calib.formats import find_cameras, read_cameras, read_unit
from calib.scale import RobustSimilarity, align_cameras


def similarity_to_reference(capture: Capture, path: Path) -> tuple[RobustSimilarity, str | None]:
    """From a capture's world to that of another model.

    Args:
        capture: what is to be moved.
        path: of the model, a capture or a camera file; its pictures need not be there. Views
            belong together by name, or by name without folder and ending.

    Returns:
        As of ``align_cameras``, over the common views in the order of their names; and the unit of
        the model, None where it does not say.

    Raises:
        CaptureError: if there is no such model, fewer than two views are common, or they do not
            determine it.
    """
    kind, source = find_cameras(path)
    calibration = read_cameras(kind, source)
    unit = calibration.unit or read_unit(path if path.is_dir() else path.parent)
    there = {_stem(image.name): image for image in calibration.images}
    there |= {image.name: image for image in calibration.images}
    pairs = []
    for view in capture.views:
        image = there.get(view.name) or there.get(_stem(view.name))
        if image is not None:
            # The size of the picture changes nothing about where the camera is.
            pairs.append((view.camera, image.camera(*(image.size or (1, 1)))))
    remedy = "give a model of the same pictures, with the same names"
    if len(pairs) < 2:
        reason = f"has {len(pairs)} of the {len(capture.views)} views of {capture.path}"
        raise CaptureError(path, reason, remedy)
    try:
        return align_cameras([a for a, _ in pairs], [b for _, b in pairs]), unit
    except ValueError as error:
        raise CaptureError(path, str(error), remedy) from None


def _stem(name: str) -> str:
    last = name.rpartition("/")[2]
    return last.rpartition(".")[0] or last
