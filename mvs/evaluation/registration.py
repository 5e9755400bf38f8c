"""How well a wrapped template, or places handed from head to head, agree with the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvs.canonical.register import Registration
from mvs.canonical.surface import Surface, blend
from mvs.canonical.wrapped import spread, template_parts
from mvs.evaluation.truth import PART_NAMES
from mvs.stages.ply import read_properties
from mvs.types import BoolArray, DoubleArray, IntArray

_SKIN = ("face", "head_neck")
_OUTSIDE = (*_SKIN, "eye")
# Places of the cube farther from the truth's surface in it are not places of the truth.
_MAX_OFF = 0.004


class CanonicalTruth:
    """A true head by its cube coordinates."""

    def __init__(self, path: Path) -> None:
        """Read ``gt/mesh.ply``.

        Raises:
            ValueError: if the file has no faces, ``u v w`` or ``part``.
        """
        try:
            vertex, faces = read_properties(path)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; give gt/mesh.ply of a capture") from None
        if faces is None or not {*"xyzuvw", "part"} <= vertex.keys():
            raise ValueError(f"{path}: needs faces, u v w and part; give gt/mesh.ply of a capture")
        self.points, self._coords = (
            np.column_stack([vertex[name] for name in names]).astype(np.float64)
            for names in ("xyz", "uvw")
        )
        parts = vertex["part"][faces]
        skin, outside = (
            faces[np.isin(parts, [PART_NAMES.index(n) for n in names]).all(axis=1)]
            for names in (_SKIN, _OUTSIDE)
        )
        self._in_cube = Surface(self._coords, skin)
        self.surface = Surface(self.points, outside)

    def at(self, coords: DoubleArray) -> tuple[DoubleArray, BoolArray]:
        """True positions (N, 3) of cube coordinates, and which (N,) are places of the truth."""
        face, weights, known = self.find(coords)
        return blend(self.points, self.skin_faces, face, weights), known

    def find(self, coords: DoubleArray) -> tuple[IntArray, DoubleArray, BoolArray]:
        """Rows of ``skin_faces`` (N,), weights (N, 3), and which coordinates are of the truth."""
        finite = np.asarray(np.isfinite(coords).all(axis=1))
        face, weights, places = self._in_cube.closest(np.where(finite[:, None], coords, 0.0))
        known = finite & (np.linalg.norm(places - coords, axis=1) < _MAX_OFF)
        return face, weights, np.asarray(known)

    @property
    def skin_faces(self) -> IntArray:
        """(F, 3) corners of the skin's faces."""
        return self._in_cube.faces

    def coords_of(self, points: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Cube coordinates (N, 3) of the nearest true places, and how far those are, (N,)."""
        face, weights, places = self.surface.closest(points)
        coords = blend(self._coords, self.surface.faces, face, weights)
        return coords, np.linalg.norm(places - points, axis=1)


def registration_figures(
    wrapped: Registration, truth_path: Path, mm: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Compare a wrapped template with the truth.

    Args:
        wrapped: from ``mvs.canonical.register.register``, in the truth's frame.
        truth_path: ``gt/mesh.ply``.
        mm: millimetres per unit.

    Returns:
        ``surface``: middles of the faces that the scan shows to the true surface; ``surface_all``:
        of all; ``place``: the vertices that the scan shows to the true place with their cube
        coordinates; ``place_all``: of all. Each by part.

    Raises:
        ValueError: if the truth cannot be read.
    """
    truth, template = CanonicalTruth(truth_path), wrapped.template
    middles = wrapped.vertices[template.faces].mean(axis=1)
    off = truth.coords_of(middles)[1] * mm
    true, known = truth.at(template.coords.astype(np.float64))
    error = np.linalg.norm(wrapped.vertices - true, axis=1) * mm
    seen, shown = wrapped.visible, wrapped.visible[template.faces].all(axis=1)
    figures: dict[str, dict[str, dict[str, float]]] = {
        name: {} for name in ("surface", "surface_all", "place", "place_all")
    }
    for name, chosen in template_parts(template).items():
        on = chosen[template.faces].all(axis=1)
        figures["surface"][name] = spread(off[on & shown])
        figures["surface_all"][name] = spread(off[on])
        figures["place"][name] = spread(error[chosen & known & seen])
        figures["place_all"][name] = spread(error[chosen & known])
    return figures
