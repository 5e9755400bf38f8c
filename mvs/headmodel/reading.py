"""Readings of pictures: the head is placed, its portrait taken and read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from calib.camera import Camera
from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.observe import Observation
from mvs.headmodel.options import FitOptions
from mvs.headmodel.portrait import Portrait, familiar, portrait
from mvs.headmodel.reading_term import FaceBasis, FaceReading, SeenPoints
from mvs.headmodel.solve import minimise
from mvs.headmodel.stages import SHAPE
from mvs.headmodel.start import place_in_view, shows_head
from mvs.headmodel.types import HeadModel
from mvs.types import ByteArray, DoubleArray

if TYPE_CHECKING:
    from mvs.network.regressor import Reading, Regressor

# Points so near to a portrait's border do not count: they may lie beyond it. Pixels.
_MARGIN = 8.0


class Reader:
    """Reads pictures for fits of one model, each so many times."""

    def __init__(
        self, model: HeadModel, regressor: Regressor, options: FitOptions, times: int = 1
    ) -> None:
        self._model, self._regressor, self._options = model, regressor, options
        self._times = times
        self._basis = FaceBasis(model, regressor.network)

    def read(self, image: ByteArray, seen: Observation) -> Observation:
        """An observation with what its picture says besides; as it is where no head shows.

        Args:
            image: (H, W, 3) uint8 RGB, the observation's.
            seen: what its cube map says.
        """
        options = self._options
        if not options.reading > 0 or not shows_head(seen):
            return seen
        state = start_state(self._model, place_in_view(seen, self._model.unit_m))
        energy = Energy(self._model, [seen], options, knows_scale=True, knows_focal=True)
        energy.look(state, options.bound)
        state = minimise(energy.rows, state, energy.box(*SHAPE), options.solve).state
        size = self._regressor.network.config.size
        place = state.world_from_model
        part = familiar(seen.camera, self._model, place)
        if not part > 0:
            return seen
        shown = portrait(image, seen.camera, self._model, place, size)
        reading = self._regressor.read(shown.image, self._times)
        points = self._points(reading, shown, seen.camera, options.points * part)
        kept = 1 - part * (1 - options.pixels_read)
        read = FaceReading(self._basis, reading, points, options.reading * part, kept)
        return replace(seen, reading=read)

    def _points(
        self, reading: Reading, shown: Portrait, camera: Camera, weight: float
    ) -> SeenPoints:
        pixels, by_portrait = through(shown.picture_from_portrait, reading.points)
        roots = np.linalg.inv(by_portrait) / reading.sigma[:, None, None]
        # Beyond the border no place was looked for in training.
        low, high = _MARGIN, len(shown.image) - _MARGIN
        inside = ((reading.points > low) & (reading.points < high)).all(axis=1)
        worth = np.where(inside, weight, 0.0)
        return SeenPoints(self._basis.places, camera, pixels, roots, worth)


def through(homography: DoubleArray, points: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Points (N, 2) through a homography (3, 3), and (N, 2, 2) derivatives by the points."""
    moved = np.einsum("ab,nb->na", homography, np.column_stack([points, np.ones(len(points))]))
    found = moved[:, :2] / moved[:, 2:]
    by_points = homography[:2, :2] - found[:, :, None] * homography[2, :2]
    return found, by_points / moved[:, 2, None, None]
