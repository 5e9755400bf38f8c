"""Readings of pictures: the head is placed, its portrait taken and read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.observe import Observation
from mvs.headmodel.options import FitOptions
from mvs.headmodel.portrait import familiar, portrait
from mvs.headmodel.reading_term import FaceBasis, FaceReading
from mvs.headmodel.solve import minimise
from mvs.headmodel.stages import SHAPE
from mvs.headmodel.start import place_in_view, shows_head
from mvs.headmodel.types import HeadModel
from mvs.types import ByteArray

if TYPE_CHECKING:
    from mvs.network.regressor import Regressor


class Reader:
    """Reads pictures for fits of one model."""

    def __init__(self, model: HeadModel, regressor: Regressor, options: FitOptions) -> None:
        self._model, self._regressor, self._options = model, regressor, options
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
        weight = options.reading * familiar(seen.camera, self._model, place)
        if not weight > 0:
            return seen
        reading = self._regressor.read(portrait(image, seen.camera, self._model, place, size))
        return replace(seen, reading=FaceReading(self._basis, reading, weight))
