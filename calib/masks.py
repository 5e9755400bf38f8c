"""Masks: what a file or an alpha channel keeps, and the usual mistakes in a set of them.

A mask is a picture of its view's size. 0 is ignored and the rest kept, as COLMAP has it; of more
than 16 grey levels (soft edges), and in a JPEG, what is at least half of white is kept. Of colours
the brightest channel counts. Alpha carries the mask where it varies and the colour does not, or is
a photo (a cut-out). An alpha channel of the picture itself is a mask too, where it varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calib.errors import CaptureError
from calib.image_files import Pixels, read_pixels, to_bytes

if TYPE_CHECKING:
    from calib.capture import Capture

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

# With more grey levels a mask is soft; JPEG leaves its own everywhere.
_MAX_LEVELS = 16
# A mask looks inverted that keeps so much of the picture's edge and so little of its middle.
_EDGE, _MIDDLE = 0.6, 0.5
# Nearly all: with so large a share of the masks wrong in one way nothing is computed.
_NEARLY_ALL = 0.8
# A photo is neither black nor white in so large a share of its pixels,
_GREY = 0.2
# and a mask is its view's picture if it differs from it by fewer levels than this.
_SAME_PICTURE = 8.0
_SAMPLES = 64
_N_NAMED = 5


@dataclass(frozen=True)
class MaskLook:
    """What a view's mask looks like; shares are of all pixels, or of those in a place.

    Attributes:
        kept: share that is kept.
        edge: the same of a frame of a twentieth of the picture.
        middle: the same of the middle third.
        grey: share that is neither black nor white in the file.
        is_picture: whether the file shows what the picture shows.
    """

    kept: float
    edge: float
    middle: float
    grey: float = 0.0
    is_picture: bool = False

    @property
    def looks_inverted(self) -> bool:
        """Whether it keeps the edge and leaves out the middle."""
        return self.edge >= _EDGE and self.middle <= _MIDDLE and self.kept < 1


@dataclass(frozen=True, eq=False)
class Mask:
    """What counts of a picture.

    Attributes:
        kept: (H, W) bool.
        look: of it.
    """

    kept: BoolArray
    look: MaskLook


def read_mask(
    path: Path | None,
    size: tuple[int, int],
    alpha: npt.NDArray[Any] | None,
    picture: Callable[[], ByteArray],
) -> Mask | None:
    """The mask of a view: of a file, of the picture's alpha, or what both keep.

    Args:
        path: the file, if there is one.
        size: width and height of the picture.
        alpha: (H, W) of the picture, if it has it.
        picture: gives the picture, (H, W, 3) uint8; called only where the file may show it.

    Returns:
        The mask, None where there is neither file nor an alpha that varies.

    Raises:
        CaptureError: if the file is unreadable or not of the picture's size.
    """
    from_alpha = None if alpha is None else _from_alpha(alpha)
    if path is None:
        return None if from_alpha is None else Mask(from_alpha, _look(from_alpha))
    pixels = read_pixels(path, size, keep_gray=True)
    carrier = _carrier(pixels)
    kept, grey = _threshold(carrier, pixels.kind == "JPEG")
    is_picture = grey > _GREY and _shows(to_bytes(pixels.color, path), picture())
    if from_alpha is not None:
        kept &= from_alpha
    return Mask(kept, _look(kept, grey, is_picture))


def check_masks(capture: Capture) -> list[str]:
    """Read every mask of a capture and say what is probably wrong with them.

    Args:
        capture: with or without masks; one view's are in memory at a time.

    Returns:
        Warnings, one line each.

    Raises:
        CaptureError: if a mask is unreadable or of another size than its picture, or as
            ``judge_masks``.
    """
    return judge_masks(capture, [view.examine_mask() for view in capture.views])


def judge_masks(capture: Capture, looks: Sequence[MaskLook | None]) -> list[str]:
    """What is probably wrong with a capture's masks.

    Args:
        capture: whose masks these are.
        looks: one per view, None where it has no mask.

    Returns:
        Warnings, one line each.

    Raises:
        CaptureError: if nearly all masks look inverted or are pictures, or if all but one leave
            nothing.
    """
    named = [(v.name, look) for v, look in zip(capture.views, looks, strict=True) if look]
    n, warnings = len(looks), []
    empty = [name for name, look in named if look.kept == 0]
    if empty and n - len(empty) < 2:
        raise CaptureError(
            _where(capture),
            f"masks leave nothing in {len(empty)} of {n} views: {_some(empty)}",
            "0 (or alpha 0) is what a mask leaves out; check them, or take them away",
        )
    pictures = [name for name, look in named if look.is_picture]
    inverted = [name for name, look in named if look.looks_inverted and not look.is_picture]
    for wrong, what, remedy in (
        (pictures, "show the picture itself", "save masks: 0 is left out, the rest kept"),
        (inverted, "look inverted, they keep the edge and leave out the middle", _INVERT),
    ):
        if len(wrong) >= max(2, _NEARLY_ALL * len(named)):
            found = f"{len(wrong)} of {len(named)} masks {what}: {_some(wrong)}"
            raise CaptureError(_where(capture), found, remedy)
        if wrong:
            warnings.append(f"{len(wrong)} of {len(named)} masks {what}: {_some(wrong)}; {remedy}")
    if empty:
        warnings.append(f"masks leave nothing in {len(empty)} of {n} views: {_some(empty)}")
    full = [name for name, look in named if look.kept == 1]
    if full:
        warnings.append(f"masks leave nothing out in {len(full)} of {n} views: {_some(full)}")
    grey = [name for name, look in named if look.grey > _GREY and not look.is_picture]
    if grey:
        warnings.append(
            f"{len(grey)} of {len(named)} masks are mostly neither black nor white: {_some(grey)}; "
            "what is at least half of white is kept"
        )
    bare = [v.name for v, look in zip(capture.views, looks, strict=True) if look is None]
    if bare and named and not any(view.mask_path for view in capture.views):
        warnings.append(f"{len(bare)} of {n} views have no alpha to mask them: {_some(bare)}")
    return warnings


_INVERT = "0 is what a mask leaves out: invert them, or leave them away"


def _where(capture: Capture) -> Path:
    """The folder to name for a mistake in many masks."""
    for view in capture.views:
        if view.mask_path is not None:
            return view.mask_path.parent
    return capture.views[0].image_path.parent


def _from_alpha(alpha: npt.NDArray[Any]) -> BoolArray | None:
    """What an alpha channel keeps, None where it is the same all over and not 0."""
    low, high = alpha.min(), alpha.max()
    return None if low == high != 0 else _threshold(alpha, False)[0]


def _carrier(pixels: Pixels) -> npt.NDArray[Any]:
    """The (H, W) values of a mask's file that tell what is kept."""
    color, alpha = pixels.color, pixels.alpha
    if alpha is not None and alpha.min() != alpha.max():
        flat = color.reshape(-1, color.shape[-1])
        is_constant = all(channel.min() == channel.max() for channel in flat.T)
        if is_constant or _is_colorful(color):
            return alpha
    return color if color.ndim == 2 else np.asarray(color.max(axis=2))


def _is_colorful(color: npt.NDArray[Any]) -> bool:
    """Whether a hundredth of an (H, W, 3) picture is of other colours than grey."""
    part = _sample(color).astype(np.float64)
    return bool((np.ptp(part, axis=2) > np.iinfo(color.dtype).max / 16).mean() > 0.01)


def _threshold(values: npt.NDArray[Any], is_lossy: bool) -> tuple[BoolArray, float]:
    """What (H, W) values keep, and the share of them that is neither black nor white."""
    import cv2

    white = int(np.iinfo(values.dtype).max)
    counts = cv2.calcHist([np.ascontiguousarray(values)], [0], None, [white + 1], [0, white + 1])
    is_soft = np.count_nonzero(counts) > _MAX_LEVELS
    margin = (white + 1) // 16
    grey = float(counts[margin:-margin].sum() / values.size) if is_soft else 0.0
    least = (white + 1) // 2 if is_soft or is_lossy else 1
    return np.asarray(values >= least), grey


def _look(kept: BoolArray, grey: float = 0.0, is_picture: bool = False) -> MaskLook:
    height, width = kept.shape
    frame = max(1, min(height, width) // 20)
    inner, n = kept[frame:-frame, frame:-frame], np.count_nonzero(kept)
    at_edge = (n - np.count_nonzero(inner)) / max(kept.size - inner.size, 1)
    middle = kept[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None]
    share = np.count_nonzero(middle) / middle.size
    return MaskLook(n / kept.size, at_edge, share, grey, is_picture)


def _shows(mask: ByteArray, picture: ByteArray) -> bool:
    """Whether a mask's file, (H, W) or (H, W, 3), is the picture, in colour or gray."""
    found, expected = _sample(mask).astype(np.float64), _sample(picture).astype(np.float64)
    if found.ndim == 2:
        expected = expected @ [0.299, 0.587, 0.114]
    return bool(np.abs(found - expected).mean() < _SAME_PICTURE)


def _sample(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some pixels of a picture, evenly spread."""
    steps = [max(1, side // _SAMPLES) for side in image.shape[:2]]
    return image[:: steps[0], :: steps[1]]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_N_NAMED])
    return f"{shown} and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else shown
