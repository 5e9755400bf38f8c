"""A clicked place: what is known of it, and the pictures that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.types import ByteArray, DoubleArray, FloatArray
from mvs.viewer.subject import Shape
from mvs.viewer.surface import Hit, Points, Surface

# Flatter views than this cosine between normal and ray do not show a place.
_MIN_COSINE = 0.1
_CROSS = (255, 0, 160)
_OUTSIDE = 64


@dataclass(frozen=True)
class Place:
    """A place on a shape, with what its points know of it; None is what they do not know.

    Attributes:
        position: (3,) world.
        normal: (3,) unit vector.
        coords: (3,) cube coordinate.
        confidence: in [0, 1].
        n_views: that agree on the nearest point.
        region: name of the head's part.
    """

    position: DoubleArray
    normal: DoubleArray | None = None
    coords: FloatArray | None = None
    confidence: float | None = None
    n_views: int | None = None
    region: str | None = None


@dataclass(frozen=True)
class Sighting:
    """How a view sees a place.

    Attributes:
        view: its number.
        pixel: (2,) float64 where, in the picture as taken.
        depth: of the place in the camera.
        score: how well: grows with pixels per area of the surface.
    """

    view: int
    pixel: DoubleArray
    depth: float
    score: float


def describe(shape: Shape, hit: Hit) -> Place:
    """What is known of the place that a ray meets.

    Args:
        shape: that the ray was cast at.
        hit: where.
    """
    cloud = shape.cloud.rows(hit.rows)
    nearest = int(hit.weights.argmax())

    def mean(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        return np.asarray(hit.weights @ values.astype(np.float64), np.float64)

    normal = None
    if "normal" in shape.known:
        normal = mean(cloud.normals)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
    coords = mean(cloud.coords) if "uvw" in shape.known else None
    known = coords is not None and bool(np.isfinite(coords).all())
    coords = coords if known else None
    return Place(
        mean(cloud.points),
        normal,
        None if coords is None else coords.astype(np.float32),
        float(mean(cloud.confidence)) if "confidence" in shape.known else None,
        int(cloud.n_views[nearest]) if "views" in shape.known else None,
        None if coords is None else region_name(coords.astype(np.float32)),
    )


def region_name(coords: FloatArray) -> str:
    """The name of the head's part at a place (3,) of the cube, left told from right."""
    from mvs.canonical.segments import shipped_regions

    regions = shipped_regions(split=True)
    return regions.names[int(regions.labels(coords[None])[0])].replace("_", " ")


def sightings(
    place: Place, cameras: Sequence[Camera], occluder: Surface | Points | None
) -> list[Sighting]:
    """The views that see a place, the best first.

    Args:
        place: with a normal, away from which no view sees it.
        cameras: of the views as taken.
        occluder: what may lie before the place; None for nothing.
    """
    found = []
    for view, camera in enumerate(cameras):
        pixels, depths = camera.project(place.position[None])
        pixel, depth = pixels[0], float(depths[0])
        if not (np.isfinite(pixel).all() and (pixel >= 0).all()):
            continue
        if not (pixel < (camera.width, camera.height)).all():
            continue
        cosine = 1.0
        if place.normal is not None:
            ray = camera.center - place.position
            cosine = float(place.normal @ ray / np.linalg.norm(ray))
        if cosine < _MIN_COSINE:
            continue
        if occluder is not None and not occluder.sees(camera, place.position):
            continue
        density = float(camera.K[0, 0] * camera.K[1, 1]) / depth**2
        found.append(Sighting(view, pixel, depth, cosine * density))
    return sorted(found, key=lambda sighting: (-sighting.score, sighting.view))


def crop(image: ByteArray, pixel: DoubleArray, width: float, size: int) -> ByteArray:
    """The part of a picture around a pixel, with a cross on it.

    Args:
        image: (H, W, 3) uint8.
        pixel: (2,) the middle, COLMAP pixels; may lie near the picture's border.
        width: of the part, pixels of the picture.
        size: width and height of the result.

    Returns:
        (size, size, 3) uint8; dark grey outside the picture. The cross is where ``pixel`` is,
        half a pixel of the result off its middle at most.
    """
    import cv2

    side = max(round(width), 8)
    x, y = np.rint(pixel - side / 2).astype(int)
    part = np.full((side, side, 3), _OUTSIDE, np.uint8)
    height, wide = image.shape[:2]
    x0, x1 = np.clip([x, x + side], 0, wide)
    y0, y1 = np.clip([y, y + side], 0, height)
    part[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    result = np.asarray(cv2.resize(part, (size, size), interpolation=how), np.uint8)
    return draw_cross(result, (pixel - [x, y]) * size / side, size // 8)


def draw_cross(image: ByteArray, pixel: DoubleArray, arm: int) -> ByteArray:
    """A picture with a cross of open middle at a pixel (2,), COLMAP pixels, drawn into it."""
    import cv2

    drawn = np.ascontiguousarray(image)
    at = np.floor(pixel).astype(int)
    gap = max(arm // 3, 4)
    for color, thickness in ((_CROSS, 3), ((255, 255, 255), 1)):
        for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            first, last = at + np.multiply(step, gap), at + np.multiply(step, arm)
            cv2.line(drawn, first.tolist(), last.tolist(), color, thickness)
    return np.asarray(drawn, np.uint8)
