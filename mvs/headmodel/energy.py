"""The energy of one head in one or more pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.scale import Similarity
from mvs.headmodel.observe import Observation
from mvs.headmodel.options import FitOptions
from mvs.headmodel.outline import Contour, Outline
from mvs.headmodel.places import Places
from mvs.headmodel.pupils import PupilDistance
from mvs.headmodel.solve import Box
from mvs.headmodel.start import cube_from_model
from mvs.headmodel.state import State, columns
from mvs.headmodel.surface_term import Pairs, Reconstruction
from mvs.headmodel.terms import Rows, change, normal_errors, prior, reprojection, to_planes
from mvs.headmodel.types import HeadModel
from mvs.types import DoubleArray

# Slanted surface may count so many times more across than along its slope.
_SLANT = 0.35
# Places whose normal turns away from the camera by more than this are not seen.
_FACING = 0.05


@dataclass(frozen=True, eq=False)
class Sight:
    """An observation as it counts in one stage.

    Attributes:
        seen: the observation.
        roots: (N, 2, 2) square roots of the information of its pixels.
        weight: (N,).
        bound: of robust residuals, standard deviations.
        tilted: those of its places whose normals count, None where none do.
        tilts: which they are.
    """

    seen: Observation
    roots: DoubleArray
    weight: DoubleArray
    bound: float
    tilted: Places | None
    tilts: slice


def look(seen: Observation, state: State, options: FitOptions, bound: float) -> Sight:
    """How an observation counts, judged from where the head is taken to be.

    The noise of the cube coordinates moves a place along the surface; a slanted surface shows that
    motion shortened.

    Args:
        seen: of one picture.
        state: of the head.
        options: weights.
        bound: see ``Sight``.
    """
    similarity, camera = state.world_from_model, seen.camera
    normals, corners = seen.places.normals(state.shape)
    points = np.einsum("nk,nkc->nc", seen.places.shares, corners)
    local = similarity.points(points) @ camera.rotation.T + camera.translation
    across = normals @ (camera.rotation @ similarity.rotation).T
    rays = local / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-12)
    facing = -(across * rays).sum(axis=1)
    focal = 0.5 * (camera.K[0, 0] + camera.K[1, 1]) * np.exp(state.zoom)
    per_cube = focal * similarity.scale / cube_from_model(seen.places.model).scale
    size = per_cube / np.maximum(local[:, 2], 1e-9) * seen.sigma
    slope = across[:, :2]
    length = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    axis = slope / length
    gain = 1 / np.maximum(np.sqrt(np.maximum(1 - length**2, 0)), _SLANT) - 1
    roots = np.eye(2) + gain[..., None] * axis[:, :, None] * axis[:, None]
    kept = 1.0 if seen.reading is None else seen.reading.pixels
    weight = np.where(facing > _FACING, kept * seen.weight, 0.0)
    tilts = slice(None, None, 3)
    tilted = seen.places.rows(tilts) if seen.normals is not None and options.normals > 0 else None
    return Sight(seen, roots / size[:, None, None], weight, bound, tilted, tilts)


class Energy:
    """The terms of one head's energy in some pictures of one moment.

    Attributes:
        sights: how the pictures count.
        pairs: how the reconstruction counts.
        beside: the head in frames beside this one, which it may differ little from.
        beside_sd: see ``change``.
    """

    def __init__(
        self,
        model: HeadModel,
        observations: Sequence[Observation | Outline],
        options: FitOptions,
        *,
        knows_scale: bool,
        knows_focal: bool,
        scan: Reconstruction | None = None,
        n_frames: int = 1,
    ) -> None:
        self._model, self._options, self._n_frames = model, options, n_frames
        self._observations = tuple(o for o in observations if isinstance(o, Observation))
        self._outlines = tuple(o for o in observations if isinstance(o, Outline) and len(o))
        self._contour = Contour(model) if self._outlines else None
        self._scan = scan
        self._pupils = PupilDistance(model, options.pupils_mm) if options.pupils_mm else None
        self.sights: tuple[Sight, ...] = ()
        self.pairs: Pairs | None = None
        self._unit_mm = 0.0
        self.beside: tuple[State, ...] = ()
        self.beside_sd = (1.0, 1.0, 1.0, 1.0)
        low, high = model.expression_bounds.T
        n = len(model.identity_names)
        joints = np.full(3 * len(model.joint_names), np.inf)
        self._low = np.concatenate([np.full(n, -np.inf), low, -joints])
        self._high = np.concatenate([np.full(n, np.inf), high, joints])
        bounded = np.isfinite(low) & np.isfinite(high)
        self._deviations = np.concatenate(
            [
                np.full(n, options.identity_sd * np.sqrt(n_frames)),
                np.where(bounded, options.expression_sd, 1.0),
                np.full(len(joints), options.joint_sd),
                [options.fov_sd * np.sqrt(n_frames)],
            ]
        )
        self._free = np.ones(n + len(low) + len(joints) + 8, np.bool_)
        where = columns(model)
        self._free[where["scale"]] = not knows_scale
        self._free[where["zoom"]] = not knows_focal

    def evidence(self, state: State) -> tuple[DoubleArray, DoubleArray]:
        """Cube coordinates (N, 3) of all that was seen, and how far it agrees with the fit."""
        coords, sure = [np.zeros((0, 3))], [np.zeros(0)]
        for sight in self.sights:
            counts = self._points(sight, state, False).influence() * (sight.weight > 0)
            coords.append(sight.seen.coords)
            sure.append(counts * sight.seen.confidence)
        if self.pairs is not None:
            places = self.pairs.places
            own = self._model.topology.coords[places.corners].astype(np.float64)
            coords.append(np.einsum("nk,nkc->nc", places.shares, own))
            sure.append(self._planes(self.pairs, state, False).influence() * self.pairs.confidence)
        return np.concatenate(coords), np.concatenate(sure)

    def box(self, *fixed: str) -> Box:
        """Bounds of the unknowns; groups of ``columns`` may be fixed besides."""
        free = self._free.copy()
        for group in fixed:
            free[columns(self._model)[group]] = False
        return Box(self._low, self._high, free)

    def look(self, state: State, bound: float) -> None:
        """Judge anew how the pictures count."""
        self.sights = tuple(look(seen, state, self._options, bound) for seen in self._observations)
        if self._contour is not None:
            for outline in self._outlines:
                seen, roots = self._contour.meet(outline, state)
                self.sights += (Sight(seen, roots, seen.weight, bound, None, slice(None)),)
        if self._scan is not None:
            gate = self._scan.options.gate_mm * bound / self._options.bound
            # By the size of the head. It stays while steps are taken, or growth would lower errors.
            self._unit_mm = 1000.0 * self._model.unit_m / state.world_from_model.scale
            self.pairs = self._scan.pair(state, gate, self._unit_mm)

    def forget(self) -> None:
        """Let go of what is kept to be fast, megabytes a picture."""
        for sight in self.sights:
            for places in filter(None, (sight.seen.places, sight.tilted)):
                places.forget()

    def rows(self, state: State, derive: bool) -> list[Rows]:
        """All terms at a state; none where nothing is seen: such a frame is only bridged."""
        if not self.sights and self.pairs is None:
            return []
        terms = []
        for sight in self.sights:
            terms.append(self._points(sight, state, derive))
            if sight.tilted is not None:
                terms.append(self._normals(sight, state, derive))
            reading = sight.seen.reading
            if reading is not None:
                terms.append(Rows(*reading.errors(state, derive, self._n_frames)))
                terms.append(reading.points.rows(state, derive, sight.bound))
        if self.pairs is not None:
            terms.append(self._planes(self.pairs, state, derive))
        for other in self.beside:
            found = change(state, other, self.beside_sd, derive)
            terms.append(Rows(*found, np.ones(len(found[0]))))
        if self._pupils is not None:
            terms.append(Rows(*self._pupils.errors(state, derive), np.full(1, 1 / self._n_frames)))
        means = np.zeros(len(self._deviations))
        found = prior(state, self._deviations, means, derive)
        terms.append(Rows(*found, np.ones(len(means))))
        return terms

    def _points(self, sight: Sight, state: State, derive: bool) -> Rows:
        seen = sight.seen
        found = reprojection(seen.places, state, seen.camera, seen.pixels, sight.roots, derive)
        return Rows(*found, sight.weight, sight.bound)

    def _planes(self, pairs: Pairs, state: State, derive: bool) -> Rows:
        if self._scan is None:
            raise ValueError("there is no reconstruction")
        error, jacobian = to_planes(pairs.places, state, pairs.targets, pairs.normals, derive)
        scale = self._unit_mm / self._scan.options.sigma_mm
        found = (scale * error, None if jacobian is None else scale * jacobian)
        return Rows(*found, pairs.weight, self._options.bound)

    def _normals(self, sight: Sight, state: State, derive: bool) -> Rows:
        seen, options = sight.seen, self._options
        if sight.tilted is None or seen.normals is None:
            raise ValueError("the observation has no normals")
        error, jacobian = normal_errors(sight.tilted, state, seen.normals[sight.tilts], derive)
        scale = 1 / options.normal_sigma
        found = (scale * error, None if jacobian is None else scale * jacobian)
        weight = options.normals * sight.weight[sight.tilts] * (sight.tilts.step or 1)
        return Rows(*found, weight, sight.bound)


def start_state(model: HeadModel, place: Similarity) -> State:
    """The mean head at a place."""
    return State(model.neutral(), place)
