"""A head model fitted to a video: one identity, an expression and a pose per frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from calib.camera import Camera
from calib.scale import Similarity
from mvs.errors import ReconstructionError
from mvs.headmodel.arrow import minimise_frames
from mvs.headmodel.chain import Deviations, minimise_chain
from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.fit_image import USUAL_FOCAL, check_size, zoomed
from mvs.headmodel.observe import Observation, ObserveOptions, Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.reading import Reader
from mvs.headmodel.solve import SolveOptions, minimise
from mvs.headmodel.stages import SHAPE, vertex_confidence
from mvs.headmodel.start import place_in_view, shows_head, simple_camera
from mvs.headmodel.state import State, columns, rotation_of, vector_of
from mvs.headmodel.terms import change
from mvs.headmodel.types import Fit, HeadModel
from mvs.network.crop import empty_cube_map
from mvs.types import ByteArray, CubeMap, Embedder, FloatArray, Square

if TYPE_CHECKING:
    from mvs.network.regressor import Regressor

_LARGER = "give a video with a face in it, large and sharp"
# Side of the square that the network looks at, in sides of the head's box of the frame before.
_MARGIN = 1.25
# A head of fewer pixels than this is lost.
_FEW = 50
# A frame that only the one before it holds may move this much more from it.
_LOOSER = 3.0
# Frames that are looked at in the same place.
_AT_ONCE = 4


@dataclass(frozen=True)
class VideoOptions:
    """How a video is fitted.

    Attributes:
        keyframes: frames that identity and focal length are found from, at most.
        expression_change: standard deviation of an expression's change from frame to frame.
        turn_change: of the head's and the joints' rotation, radians.
        move_change: of the head's position, metres.
        joint: when the steps stop that move all frames together, once each was fitted after the one
            before it.
        fit: weights, as of a single picture.
    """

    keyframes: int = 8
    expression_change: float = 0.15
    turn_change: float = 0.03
    move_change: float = 0.006
    joint: SolveOptions = field(default_factory=lambda: SolveOptions(steps=2, tolerance=1e-3))
    fit: FitOptions = field(
        default_factory=lambda: FitOptions(
            observe=ObserveOptions(blocks=600), solve=SolveOptions(steps=4, tolerance=1e-3)
        )
    )

    def __post_init__(self) -> None:
        if self.keyframes < 1:
            raise ValueError("keyframes must be at least 1")
        if not min(self.expression_change, self.turn_change, self.move_change) > 0:
            raise ValueError(f"changes must be positive, got {self}")


def fit_video(
    frames: Iterable[tuple[str, ByteArray]],
    embedder: Embedder,
    model: HeadModel,
    options: VideoOptions | None = None,
    *,
    camera: Camera | None = None,
    regressor: Regressor | None = None,
    threads: int = 1,
) -> Fit:
    """Fit a head to a video.

    Args:
        frames: names and pictures (H, W, 3) uint8 RGB, all of one size.
        embedder: finds the head and embeds it.
        model: what is fitted.
        options: see ``VideoOptions``.
        camera: pinhole, of all frames; without, one focal length is solved for.
        regressor: reads off every frame who is shown and what the face does, see ``fit_image``.
        threads: frames embedded at a time; does not change the result.

    Raises:
        ReconstructionError: if no frame shows a head.
        ValueError: if the camera is not that of the frames.
    """
    options, taken = options or VideoOptions(), camera
    observer = Observer(model, options.fit.observe)
    reader = None if regressor is None else Reader(model, regressor, options.fit)
    names: list[str] = []
    seen: list[Observation] = []
    for name, image, cube_map in embed_video(frames, embedder, threads):
        height, width = image.shape[:2]
        taken = taken or simple_camera(width, height, USUAL_FOCAL * max(height, width))
        check_size(taken, image, name)
        names.append(name)
        # Maps are not kept: a video is long.
        view = observer.observe(cube_map, taken)
        seen.append(view if reader is None else reader.read(image, view))
    if taken is None:
        raise ReconstructionError("the video has no frames", _LARGER)
    fit = _fit_seen(seen, taken, model, options, camera is not None)
    return replace(fit, names=tuple((name,) for name in names))


def embed_video(
    frames: Iterable[tuple[str, ByteArray]], embedder: Embedder, threads: int = 1
) -> Iterator[tuple[str, ByteArray, CubeMap]]:
    """Embed frames, looking where the head was shortly before.

    Frames are taken four at a time whatever the number of threads: all four look where the head was
    in the last frame of the four before.

    Yields:
        Name, picture and cube map, with an empty mask where no head is seen.
    """
    square: Square | None = None
    rest = iter(frames)
    with ThreadPoolExecutor(threads) as pool:
        for part in iter(lambda: tuple(islice(rest, _AT_ONCE)), ()):
            if square is None:
                square = embedder.find_head(part[0][1], part[0][0])
            looked = square
            if looked is None:
                found = [empty_cube_map(2, 2) for _ in part]
            else:
                found = list(pool.map(lambda f, at=looked: embedder.embed(f[1], at, f[0]), part))
            square = _around(found[-1])
            yield from ((name, image, c) for (name, image), c in zip(part, found, strict=True))


def _around(cube_map: CubeMap) -> Square | None:
    """Where to look for the head next; None where it was not seen."""
    y, x = np.nonzero(cube_map.mask)
    if len(x) < _FEW:
        return None
    affine = cube_map.image_from_map
    low = affine[:, :2] @ [x.min(), y.min()] + affine[:, 2]
    high = affine[:, :2] @ [x.max() + 1, y.max() + 1] + affine[:, 2]
    middle = 0.5 * (low + high)
    side = _MARGIN * float(np.abs(high - low).max())
    return Square((float(middle[0]), float(middle[1])), side)


def fit_maps(
    cube_maps: Iterable[CubeMap],
    camera: Camera,
    model: HeadModel,
    options: VideoOptions | None = None,
    *,
    knows_focal: bool = True,
) -> Fit:
    """Fit a head to the cube maps of a video's frames.

    Args:
        cube_maps: one per frame, in order; frames that show no head go from the one shown before
            to the one shown after.
        camera: pinhole, of all frames.
        model: what is fitted.
        options: see ``VideoOptions``.
        knows_focal: whether the camera's focal length holds.

    Raises:
        ReconstructionError: if no frame shows a head.
    """
    options = options or VideoOptions()
    observer = Observer(model, options.fit.observe)
    seen = [observer.observe(cube_map, camera) for cube_map in cube_maps]
    return _fit_seen(seen, camera, model, options, knows_focal)


def _fit_seen(
    seen: Sequence[Observation],
    camera: Camera,
    model: HeadModel,
    options: VideoOptions,
    knows_focal: bool,
) -> Fit:
    shown = [t for t, view in enumerate(seen) if shows_head(view)]
    if not shown:
        raise ReconstructionError("no frame shows a head", _LARGER)
    chosen = choose_keyframes([seen[t] for t in shown], options.keyframes)
    keys = _fit_keyframes([seen[shown[k]] for k in chosen], model, options, knows_focal)
    states, confidence = _follow(seen, shown, keys[0], model, options)
    lost = len(seen) - len(shown)
    warnings = (f"{lost} of {len(seen)} frames show no head; they follow the others",)
    return Fit(
        model,
        states[0].shape.identity,
        np.stack([state.shape.expression for state in states]),
        np.stack([state.shape.joints for state in states]),
        tuple(state.world_from_model for state in states),
        tuple((zoomed(camera, keys[0]),) for _ in states),
        tuple((f"{t:06d}",) for t in range(len(states))),
        confidence,
        warnings if lost else (),
    )


def choose_keyframes(seen: Sequence[Observation], n: int) -> list[int]:
    """Frames that show the head from directions far from each other, the one that shows most first.

    Args:
        seen: what each frame shows.
        n: at most so many.
    """
    worth = np.array([view.weight.sum() for view in seen])
    turned = np.stack([_direction(view) for view in seen])
    chosen = [int(worth.argmax())]
    away = np.linalg.norm(turned - turned[chosen[0]], axis=1)
    while len(chosen) < min(n, len(seen)):
        score = np.where(worth >= 0.5 * np.median(worth), away, -1.0)
        score[chosen] = -2.0
        chosen.append(int(score.argmax()))
        away = np.minimum(away, np.linalg.norm(turned - turned[chosen[-1]], axis=1))
    return chosen


def _direction(view: Observation) -> np.ndarray:
    """Where a frame sees the head from, (3,) in the head's frame."""
    place = place_in_view(view, view.places.model.unit_m)
    return np.asarray(-place.rotation[2])


def _fit_keyframes(
    seen: Sequence[Observation], model: HeadModel, options: VideoOptions, knows_focal: bool
) -> list[State]:
    """States of some frames with one identity and one focal length."""
    how, n = options.fit, len(seen)
    energies = [
        Energy(model, [view], how, knows_scale=True, knows_focal=knows_focal, n_frames=n)
        for view in seen
    ]
    states = []
    for energy, view in zip(energies, seen, strict=True):
        state = start_state(model, place_in_view(view, model.unit_m))
        energy.look(state, how.bound)
        box = energy.box(*SHAPE, "zoom")
        states.append(minimise(energy.rows, state, box, how.solve).state)
    boxes = [energy.box() for energy in energies]
    shared = np.zeros(states[0].size, np.bool_)
    for group in ("identity", "zoom"):
        shared[columns(model)[group]] = True
    for bound in np.geomspace(how.bound, how.final_bound, how.stages):
        for energy, state in zip(energies, states, strict=True):
            energy.look(state, float(bound))
        states = minimise_frames(energies, states, boxes, shared, how.solve)[0]
    return states


def _follow(
    seen: Sequence[Observation],
    shown: Sequence[int],
    key: State,
    model: HeadModel,
    options: VideoOptions,
) -> tuple[list[State], FloatArray]:
    """States of all frames with the identity of a keyframe, and the vertices' confidence."""
    how = options.fit
    views = {t: seen[t] for t in shown}
    # What a network is wrong by is partly the same in all frames, see ``fit_capture.shared``.
    n = round(len(shown) / (1 + how.views_alike * (len(shown) - 1)))
    energies = [
        Energy(model, view, how, knows_scale=True, knows_focal=True, n_frames=max(n, 1))
        for view in ([views[t]] if t in views else [] for t in range(len(seen)))
    ]
    turn = options.turn_change
    spread = (options.expression_change, turn, turn, options.move_change)
    loose = (spread[0], _LOOSER * turn, _LOOSER * turn, _LOOSER * options.move_change)
    found: dict[int, State] = {}
    for t, view in views.items():
        # What was not followed may be anywhere by now.
        beside = tuple(found[k] for k in (t - 1,) if k in found)
        energies[t].beside, energies[t].beside_sd = beside, loose
        start = next(reversed(found.values()), _at_rest(key))
        found[t] = _fit_frame(energies[t], view, start, how)
        energies[t].forget()
    for energy in energies:
        energy.beside = ()
    states = [_between(found, t) for t in range(len(seen))]
    links = [_loosened(a, b, spread) for a, b in pairwise(states)]
    shared = np.zeros(key.size, np.bool_)
    shared[columns(model)["identity"]] = True
    states, _ = minimise_chain(energies, states, energies[0].box(), shared, links, options.joint)
    confidence = np.zeros((len(states), len(model.topology.coords)), np.float32)
    for t in shown:
        confidence[t] = vertex_confidence(energies[t], states[t], model)
        energies[t].forget()
    return states, confidence


def _between(found: Mapping[int, State], t: int) -> State:
    """The state of a frame, which may be one between those found, or beyond them."""
    before = max((k for k in found if k <= t), default=min(found))
    after = min((k for k in found if k >= t), default=max(found))
    if after <= before:
        return found[before]
    first, last, part = found[before], found[after], (t - before) / (after - before)
    place, goal = first.world_from_model, last.world_from_model
    turn = rotation_of(part * vector_of(goal.rotation @ place.rotation.T))
    shift = place.translation + part * (goal.translation - place.translation)
    values = first.vector() + part * (last.vector() - first.vector())
    return replace(
        first.with_vector(values),
        world_from_model=Similarity(place.scale, turn @ place.rotation, shift),
    )


def _loosened(first: State, second: State, spread: Deviations) -> Deviations:
    """Deviations of the head's motion no smaller than what was found; it may move fast."""
    pose = change(second, first, spread, False)[0][-6:]
    factor = max(1.0, float(np.linalg.norm(pose)))
    return spread[0], spread[1], factor * spread[2], factor * spread[3]


def _at_rest(key: State) -> State:
    """A keyframe's head without its expression."""
    values = key.vector()
    values[key.shape.identity.size :] = 0.0
    return key.with_vector(values)


def _fit_frame(energy: Energy, view: Observation, start: State, options: FitOptions) -> State:
    """One frame, from the one before it; found anew where that one shows no head."""
    state = start
    if not energy.beside:
        place = place_in_view(view, start.world_from_model.scale)
        energy.look(State(start.shape, place, start.zoom), options.bound)
        state = State(start.shape, place, start.zoom)
        state = minimise(energy.rows, state, energy.box(*SHAPE), options.solve).state
    for bound in (options.bound, options.final_bound):
        energy.look(state, bound)
        state = minimise(energy.rows, state, energy.box("identity"), options.solve).state
    return state
